//! Files that directives name, read while the configuration is.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use super::mistake::Mistake;
use crate::nginx::Conf;

/// Reads a regular file whole. Returns its full path and its content.
pub fn read(cf: &Conf, path: &str) -> Result<(String, Vec<u8>), Mistake> {
    let path = cf.full_name(path)?;
    let content = content(&path).map_err(|error| format!("cannot read \"{path}\": {error}"))?;
    Ok((path, content))
}

fn content(path: &str) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let mut open = OpenOptions::new();
    open.read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = open.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}
