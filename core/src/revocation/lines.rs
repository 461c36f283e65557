//! Files of a JSON document a line, in a folder that outlives a restart.
//!
//! Several workers add to a file, each under its lock. Who reads it leaves out a line that it cannot read, such as
//! that of a writer that was killed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;

use crate::folder::Folder;

/// The longest file that is read, in bytes.
const MOST: usize = 1 << 31;

/// A file that no other process adds to or replaces.
pub(super) struct Locked {
    folder: Folder,
    name: &'static str,
    file: File,
}

impl Locked {
    /// Makes the file if it is not there.
    pub(super) fn open(folder: &Path, name: &'static str) -> io::Result<Locked> {
        let folder = Folder::open(folder)?;
        let file = folder.lock(name)?;
        Ok(Locked { folder, name, file })
    }

    /// Adds lines, and returns the size before when they are on the disk.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<u64> {
        let size = self.file.seek(SeekFrom::End(0))?;
        let mut text = String::new();
        if size > 0 && !self.ends_a_line()? {
            // Of a writer that was killed.
            text.push('\n');
        }
        text.push_str(lines);
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        Ok(size)
    }

    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut all)?;
        Ok(all)
    }

    /// Puts another text in its place. The file is locked meanwhile, so no line is lost.
    pub(super) fn replace(self, text: &str) -> io::Result<()> {
        self.folder.remove_strays(self.name);
        self.folder.write(self.name, text.as_bytes())
    }

    fn ends_a_line(&mut self) -> io::Result<bool> {
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

/// The text of a file, without its lock; nothing where there is no file.
pub(super) fn load(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    load_most(folder, name, MOST)
}

/// Tells whether there is no file, or nothing in it.
pub(super) fn is_empty(folder: &Path, name: &str) -> io::Result<bool> {
    Ok(load_most(folder, name, 0)?.is_empty())
}

fn load_most(folder: &Path, name: &str, most: usize) -> io::Result<Vec<u8>> {
    let text = Folder::open(folder).and_then(|folder| folder.read(name, most));
    match text {
        Ok((text, _)) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The lines of a text that hold something.
pub(super) fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty())
}

/// A document as a line.
pub(super) fn json(document: &impl Serialize) -> String {
    // Numbers and texts alone, which always have a JSON form.
    serde_json::to_string(document).unwrap_or_default() + "\n"
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::Deref;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::{env, fs, process};

    /// A new folder as `state_path` has it, which is removed with this value.
    pub struct Temporary(PathBuf);

    impl Temporary {
        /// A folder with that word in its name.
        pub fn new(name: &str) -> Temporary {
            let path = env::temp_dir().join(format!("authgear-{}-{name}", process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            Temporary(path)
        }
    }

    impl Deref for Temporary {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
