//! The last good key set of a source as a file, so that a cold start survives an unreachable endpoint.
//!
//! Blocking, and meant for the thread that fetches. Plain files in a folder that belongs to the
//! workers' user alone: whoever can write there can name keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{DocumentError, KeySet, MAX_DOCUMENT};

/// A key set that was saved by an earlier process.
#[derive(Debug)]
pub struct Saved {
    /// The JWKS document, byte for byte.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// How long ago it was saved.
    pub age: Duration,
}

/// Why a saved key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read \"{path}\": {cause}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It holds no usable key set.
    #[error("ignored \"{path}\": {cause}", path = .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: DocumentError,
    },
}

/// Reads what [`save`] wrote for the source `id`; `Ok(None)` when it never did.
///
/// # Errors
///
/// When there is a file, but no usable key set in it.
pub fn load(folder: &Path, id: &[u8; 32], now: SystemTime) -> Result<Option<Saved>, LoadError> {
    let path = file(folder, id);
    let read = || -> io::Result<(Vec<u8>, SystemTime)> {
        let file = File::open(&path)?;
        let saved_at = file.metadata()?.modified()?;
        let mut document = Vec::new();
        file.take(MAX_DOCUMENT as u64 + 1)
            .read_to_end(&mut document)?;
        Ok((document, saved_at))
    };
    let (document, saved_at) = match read() {
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

/// Replaces what is saved for the source `id`, at once and whole: a reader finds the old document or
/// the new one. `unique` tells this writer from every other of its time.
///
/// # Errors
///
/// What the system says; the old document is still there then.
pub fn save(folder: &Path, id: &[u8; 32], document: &[u8], unique: u64) -> io::Result<()> {
    let path = file(folder, id);
    let draft = path.with_extension(format!("{unique:x}.tmp"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(document)?;
        file.sync_data()?;
        fs::rename(&draft, &path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })?;
    remove_strays(folder, &path);
    Ok(())
}

/// How old a draft is whose writer was killed: no fetch, and so no writer, lives as long.
const STRAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes drafts of this file that their writers left behind. One that cannot be removed does no
/// harm, so nothing is said of it.
fn remove_strays(folder: &Path, path: &Path) {
    let Some(stem) = path.file_stem() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let draft = entry.path();
        let is_draft = draft.extension().is_some_and(|end| end == "tmp")
            && Path::new(draft.file_stem().unwrap_or_default()).file_stem() == Some(stem);
        let is_old = || {
            let written = entry.metadata().and_then(|data| data.modified()).ok()?;
            Some(written.elapsed().ok()? > STRAY)
        };
        if is_draft && is_old().unwrap_or(false) {
            let _ = fs::remove_file(draft);
        }
    }
}

fn file(folder: &Path, id: &[u8; 32]) -> PathBuf {
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(name + ".json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ID: [u8; 32] = [0xab; 32];
    const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("authgear-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_is_saved_is_loaded_with_its_age() {
        let folder = folder("saved");
        assert!(load(&folder, &ID, SystemTime::now()).unwrap().is_none());
        save(&folder, &ID, b"older", 1).unwrap();
        save(&folder, &ID, SET, 2).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        let saved = load(&folder, &ID, later).unwrap().unwrap();
        assert_eq!(saved.document, SET);
        assert!(saved.keys.has_kid("a"));
        assert!(saved.age >= Duration::from_secs(3599));
        let names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(names, [file(&folder, &ID)], "no draft is left behind");
        let mode = fs::metadata(&names[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_draft_of_a_writer_that_was_killed_is_removed_by_a_later_one() {
        let folder = folder("stray");
        let draft = |id: &[u8; 32], unique: u64| {
            let draft = file(&folder, id).with_extension(format!("{unique:x}.tmp"));
            fs::write(&draft, b"half").unwrap();
            draft
        };
        let old = |draft: PathBuf| {
            let file = OpenOptions::new().write(true).open(&draft).unwrap();
            file.set_modified(SystemTime::now() - STRAY - Duration::from_secs(60))
                .unwrap();
            draft
        };
        let (stray, current) = (old(draft(&ID, 1)), draft(&ID, 2));
        let of_another = old(draft(&[0xcd; 32], 1));
        save(&folder, &ID, SET, 3).unwrap();
        assert!(!stray.exists());
        assert!(current.exists() && of_another.exists());
        assert_eq!(fs::read(file(&folder, &ID)).unwrap(), SET);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_file_is_told_and_not_used() {
        let folder = folder("damaged");
        for content in [
            &b""[..],
            b"{\"keys\":[",
            b"{\"keys\":[]}",
            &[b' '; MAX_DOCUMENT + 1],
        ] {
            fs::write(file(&folder, &ID), content).unwrap();
            let error = load(&folder, &ID, SystemTime::now()).unwrap_err();
            assert!(matches!(error, LoadError::Parse { .. }), "{error}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        assert!(save(Path::new("/nonexistent/authgear"), &ID, SET, 1).is_err());
    }
}
