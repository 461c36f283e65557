//! The last good key set of a source as a file, so that a cold start survives an unreachable endpoint.
//!
//! Blocking, and meant for the thread that fetches. Plain files in a folder in which nobody but its
//! owner may write, and which the process' user or root owns: write access is the right to name keys.
//! That is checked at each use, and nothing is opened that is no regular file of such an owner, so
//! neither a link nor a FIFO does harm.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{self as unix, AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::{DocumentError, KeySet, MAX_DOCUMENT};

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

/// Checks an existing folder while the configuration is read. The owner is not checked, since nginx gives
/// the folder to its workers' user. A folder that cannot be examined passes: nginx will report it.
///
/// # Errors
///
/// It is no folder, or group or others may write in it.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    match unix::stat(folder) {
        Ok(stat) => only_its_owner_writes(&stat, FileType::Directory),
        Err(_) => Ok(()),
    }
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
    let (document, saved_at) = match opened.read(&name) {
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

/// The age from which a draft is taken for one whose writer was killed: a quarter of a megabyte is
/// written much faster.
const STRAY: Duration = Duration::from_secs(60);

/// A folder that may be trusted. All operations use its descriptor, so a changed path has no effect.
struct Folder {
    folder: OwnedFd,
    owner: u32,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = unix::open(path, flags, Mode::empty())?;
        let stat = unix::fstat(&folder)?;
        only_its_owner_writes(&stat, FileType::Directory)?;
        let (own, owner) = (rustix::process::geteuid().as_raw(), stat.st_uid);
        // nginx gives the folder to its workers' user. Where root does their work, that user's
        // folder is good enough.
        if own != 0 {
            belongs_to(&stat, own)?;
        }
        Ok(Folder { folder, owner })
    }

    /// The content, cut off behind the longest document there may be, and when it was written.
    fn read(&self, name: &str) -> io::Result<(Vec<u8>, SystemTime)> {
        // Without NONBLOCK, opening a FIFO would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match unix::openat(&self.folder, name, flags | OFlags::NOCTTY, Mode::empty()) {
            Err(rustix::io::Errno::LOOP) => return Err(refused("it is a symbolic link")),
            opened => opened?,
        };
        let stat = unix::fstat(&file)?;
        only_its_owner_writes(&stat, FileType::RegularFile)?;
        belongs_to(&stat, self.owner)?;
        let file = File::from(file);
        let saved_at = file.metadata()?.modified()?;
        let mut document = Vec::new();
        file.take(MAX_DOCUMENT as u64 + 1)
            .read_to_end(&mut document)?;
        Ok((document, saved_at))
    }

    fn write(&self, name: &str, document: &[u8]) -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // No other process has a draft of that name; a file that is there by accident is left alone.
        let draft = format!("{name}.{:016x}.tmp", u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = unix::openat(&self.folder, &*draft, flags | OFlags::CLOEXEC, mode)?;
        let write = || -> io::Result<()> {
            let mut file = File::from(file);
            file.write_all(document)?;
            file.sync_data()?;
            Ok(unix::renameat(&self.folder, &*draft, &self.folder, name)?)
        };
        write().inspect_err(|_| {
            let _ = unix::unlinkat(&self.folder, &*draft, AtFlags::empty());
        })
    }

    /// Removes drafts of this file that their writers left behind. One that cannot be removed does
    /// no harm, so nothing is said of it.
    fn remove_strays(&self, name: &str) {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return;
        };
        let stem = name.trim_end_matches(ENDING);
        for entry in entries.flatten() {
            let entry = entry.file_name();
            let bytes = entry.to_bytes();
            if bytes.starts_with(stem.as_bytes())
                && bytes.ends_with(b".tmp")
                && self.is_stray(OsStr::from_bytes(bytes))
            {
                let _ = unix::unlinkat(&self.folder, entry, AtFlags::empty());
            }
        }
    }

    /// Looks at a link itself, and opens nothing.
    fn is_stray(&self, draft: &OsStr) -> bool {
        let Ok(stat) = unix::statat(&self.folder, draft, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        let written = u64::try_from(stat.st_mtime).unwrap_or_default();
        // A draft dated in the future is abandoned too: the clock was set back.
        now.abs_diff(written) > STRAY.as_secs()
    }
}

/// Refuses another type of file, and one that group or others may write.
fn only_its_owner_writes(stat: &Stat, wanted: FileType) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != wanted {
        return Err(refused(match wanted {
            FileType::Directory => "it is no folder",
            _ => "it is no regular file",
        }));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(refused(&format!(
            "others than its owner may write to it (mode {:04o})",
            stat.st_mode & 0o7777
        )));
    }
    Ok(())
}

/// Refuses a file of any owner but that user and root, who may do anything anyway.
fn belongs_to(stat: &Stat, user: u32) -> io::Result<()> {
    match stat.st_uid {
        0 => Ok(()),
        owner if owner == user => Ok(()),
        owner => Err(refused(&format!(
            "it belongs to the user {owner}, not to {user}"
        ))),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

const ENDING: &str = ".json";

fn name(id: &[u8; 32]) -> String {
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    name + ENDING
}

#[cfg(test)]
mod tests;
