//! A folder for what is to survive a restart.
//!
//! Plain files in a folder in which nobody but its owner may write, and which the process' user or root
//! owns. That is checked at each use, and nothing is opened that is no regular file of such an owner, so
//! neither a link nor a FIFO does harm.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{self as unix, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat};

/// Checks an existing folder while the configuration is read. The owner is not checked, since nginx gives
/// the folder to its workers' user. A folder that cannot be examined passes: nginx will report it.
///
/// # Errors
///
/// It is no folder, or group or others may write in it.
pub fn check(folder: &Path) -> io::Result<()> {
    match unix::stat(folder) {
        Ok(stat) => only_its_owner_writes(&stat, FileType::Directory),
        Err(_) => Ok(()),
    }
}

/// The age from which a draft is taken for one whose writer was killed: a quarter of a megabyte is
/// written much faster.
pub(crate) const STRAY: Duration = Duration::from_secs(60);

/// A folder that may be trusted. All operations use its descriptor, so a changed path has no effect.
pub(crate) struct Folder {
    folder: OwnedFd,
    owner: u32,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
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

    /// The content of a file, cut off behind `most` bytes and one, and when it was written.
    pub(crate) fn read(&self, name: &str, most: usize) -> io::Result<(Vec<u8>, SystemTime)> {
        let file = self.open_file(name, OFlags::RDONLY)?;
        let saved_at = file.metadata()?.modified()?;
        let mut document = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut document)?;
        Ok((document, saved_at))
    }

    /// Opens a file to append to it, made if it is not there, and locks it. No other process has it
    /// open so, or replaces it, until it is closed.
    pub(crate) fn lock(&self, name: &str) -> io::Result<File> {
        loop {
            let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
            let file = self.open_file(name, flags)?;
            unix::flock(&file, FlockOperation::LockExclusive)?;
            let (own, there) = (
                unix::fstat(&file)?,
                unix::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?,
            );
            // It may have been replaced while the lock was awaited.
            if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino) {
                return Ok(file);
            }
        }
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Without NONBLOCK, opening a FIFO would block.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match unix::openat(&self.folder, name, flags, mode) {
            Err(rustix::io::Errno::LOOP) => return Err(refused("it is a symbolic link")),
            opened => opened?,
        };
        let stat = unix::fstat(&file)?;
        only_its_owner_writes(&stat, FileType::RegularFile)?;
        belongs_to(&stat, self.owner)?;
        Ok(File::from(file))
    }

    pub(crate) fn write(&self, name: &str, document: &[u8]) -> io::Result<()> {
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
    pub(crate) fn remove_strays(&self, name: &str) {
        let Ok(entries) = Dir::read_from(&self.folder) else {
            return;
        };
        let stem = name.split('.').next().unwrap_or(name);
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
