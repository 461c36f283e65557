//! RSA keys kept in the state folder, so that a second start finds them made.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::{Error, Key, KeyType};

/// A folder of private keys, each under a name and made on first use.
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// Opens the folder, making it when it is missing.
    ///
    /// # Errors
    ///
    /// Any error of making the folder.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The RSA 2048 key called `name`. One that cannot be kept on disk is used all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when none can be made.
    pub fn rsa(&self, name: &str) -> Result<Key, Error> {
        let path = self.folder.join(file_name(name));
        if let Some(key) = read(&path) {
            return Ok(key);
        }
        let key = Key::generate(KeyType::Rsa(2048))?;
        // Two processes may share the folder: the first to write wins.
        match keep(&path, key.private_pem()?.as_bytes(), 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(read(&path).unwrap_or(key))
            }
            _ => Ok(key),
        }
    }
}

fn file_name(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    let safe = name
        .chars()
        .map(|letter| if plain(letter) { letter } else { '-' });
    format!("key-{}.pem", String::from_iter(safe))
}

fn read(path: &Path) -> Option<Key> {
    let der = PrivatePkcs8KeyDer::from_pem_file(path).ok()?;
    Key::rsa_from_pkcs8(der.secret_pkcs8_der()).ok()
}

/// Writes a file of this mode that must not exist yet; a reader sees all of it or nothing.
///
/// # Errors
///
/// `AlreadyExists` when it does, or any other error of writing it.
pub(crate) fn keep(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)?;
    let written = file
        .write_all(content)
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path().join("keys")).unwrap();
        let first = store.rsa("../a:1").unwrap();
        assert_eq!(store.rsa("../a:1").unwrap().kid, first.kid);
        assert!(folder.path().join("keys/key-..-a-1.pem").exists());
    }
}
