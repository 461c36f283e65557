//! The last good key set of a source as a file, so that a cold start survives an unreachable endpoint.
//!
//! Blocking, and meant for the thread that fetches. Write access to the folder is the right to name
//! keys, hence what [`check_folder`] and each use check.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{DocumentError, KeySet, MAX_DOCUMENT};
pub use crate::folder::check as check_folder;
use crate::folder::Folder;

/// A key set that was saved by an earlier process.
#[derive(Debug)]
pub struct Saved {
    /// The JWKS document, byte for byte.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// The time since it was saved.
    pub age: Duration,
}

/// The reason for which a saved key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or may not be trusted.
    #[error("cannot read \"{path}\": {cause}", path = .path.display())]
    Read {
        /// The file, or the folder.
        path: PathBuf,
        /// The system's error, or the mistake in it.
        cause: io::Error,
    },
    /// It holds no usable key set.
    #[error("ignored \"{path}\": {cause}", path = .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The mistake in it.
        cause: DocumentError,
    },
}

/// Reads the document that [`save`] wrote for the source `id`; `Ok(None)` when there is none.
///
/// # Errors
///
/// [`LoadError`] when there is a file, but no usable key set in it, or when somebody else may have
/// written it.
pub fn load(folder: &Path, id: &[u8; 32], now: SystemTime) -> Result<Option<Saved>, LoadError> {
    let name = name(id);
    let opened = match Folder::open(folder) {
        Ok(opened) => opened,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => {
            let path = folder.into();
            return Err(LoadError::Read { path, cause });
        }
    };
    opened.remove_strays(&name);
    let path = folder.join(&name);
    let (document, saved_at) = match opened.read(&name, MAX_DOCUMENT) {
        Ok(read) => read,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(LoadError::Read { path, cause }),
    };
    match KeySet::parse(&document) {
        Ok((keys, _)) => Ok(Some(Saved {
            document,
            keys,
            // A clock that was set back makes it new, not old.
            age: now.duration_since(saved_at).unwrap_or_default(),
        })),
        Err(cause) => Err(LoadError::Parse { path, cause }),
    }
}

/// Replaces the saved document of the source `id` atomically: a reader finds the old document or
/// the new one.
///
/// # Errors
///
/// The system's error, or the mistake in the folder; the old document is still there then.
pub fn save(folder: &Path, id: &[u8; 32], document: &[u8]) -> io::Result<()> {
    let name = name(id);
    let opened = Folder::open(folder)?;
    opened.remove_strays(&name);
    opened.write(&name, document)
}

const ENDING: &str = ".json";

fn name(id: &[u8; 32]) -> String {
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    name + ENDING
}

#[cfg(test)]
mod tests;
