//! A project's keys over time: published, dropped, and never published.

use std::sync::Arc;

use serde_json::{json, Value};

use super::{Alg, Error, Key, KeyStore, KeyType};

/// The key that signs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The first published key that fits the algorithm.
    Current,
    /// The newest fitting key older than the current one, published or dropped.
    Previous,
    /// A key that is in no set.
    Stranger,
    /// The key of this name, published or dropped.
    Kid(String),
}

impl From<&str> for Which {
    fn from(text: &str) -> Self {
        match text {
            "current" => Self::Current,
            "previous" => Self::Previous,
            "stranger" => Self::Stranger,
            kid => Self::Kid(kid.to_owned()),
        }
    }
}

struct Entry {
    key: Arc<Key>,
    published: bool,
}

/// The keys of one project, newest first. The first is made when it is first asked for.
pub struct KeyRing {
    store: Arc<KeyStore>,
    project: String,
    made: usize,
    entries: Vec<Entry>,
    strangers: Vec<Arc<Key>>,
}

impl KeyRing {
    /// A ring without keys yet, whose RSA keys are kept under the project's name.
    pub fn new(store: Arc<KeyStore>, project: &str) -> Self {
        let (entries, strangers) = (Vec::new(), Vec::new());
        Self {
            store,
            project: project.to_owned(),
            made: 0,
            entries,
            strangers,
        }
    }

    fn make(&mut self) -> Result<(), Error> {
        let key = self.store.rsa(&format!("{}-{}", self.project, self.made))?;
        self.made += 1;
        self.push(key);
        Ok(())
    }

    fn ready(&mut self) -> Result<(), Error> {
        if self.made == 0 {
            self.make()?;
        }
        Ok(())
    }

    fn push(&mut self, key: Key) {
        self.entries.insert(
            0,
            Entry {
                key: Arc::new(key),
                published: true,
            },
        );
    }

    /// The published keys, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when the first key cannot be made.
    pub fn published(&mut self) -> Result<Vec<Arc<Key>>, Error> {
        self.ready()?;
        let published = self.entries.iter().filter(|entry| entry.published);
        Ok(published.map(|entry| Arc::clone(&entry.key)).collect())
    }

    /// The published keys as a JWKS.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::published`].
    pub fn jwks(&mut self) -> Result<Value, Error> {
        let keys: Vec<Value> = self.published()?.iter().map(|key| key.jwk()).collect();
        Ok(json!({ "keys": keys }))
    }

    /// Puts a new RSA key in front; without `keep_old` it is the only one left.
    ///
    /// # Errors
    ///
    /// [`Error::Crypto`] when it cannot be made.
    pub fn rotate(&mut self, keep_old: bool) -> Result<String, Error> {
        self.ready()?;
        if !keep_old {
            self.entries
                .iter_mut()
                .for_each(|entry| entry.published = false);
        }
        self.make()?;
        Ok(self.entries[0].key.kid.clone())
    }

    /// Puts a key of the caller's own making in front.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::published`].
    pub fn add(&mut self, key: Key) -> Result<String, Error> {
        self.ready()?;
        let kid = key.kid.clone();
        self.push(key);
        Ok(kid)
    }

    /// Takes a key out of the published set. It can still sign.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchKey`] when no published key has that name.
    pub fn withdraw(&mut self, kid: &str) -> Result<(), Error> {
        self.ready()?;
        let wanted = |entry: &&mut Entry| entry.published && entry.key.kid == kid;
        let entry = self.entries.iter_mut().find(wanted);
        entry
            .ok_or_else(|| Error::NoSuchKey(kid.to_owned()))?
            .published = false;
        Ok(())
    }

    /// The key that signs with `alg`, and the `kid` to name in the header.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchKey`] when the ring holds none that fits.
    pub fn find(&mut self, which: &Which, alg: Alg) -> Result<(Arc<Key>, String), Error> {
        self.ready()?;
        let key = match which {
            Which::Current => self
                .current(alg)
                .map(|at| Arc::clone(&self.entries[at].key)),
            Which::Previous => {
                let after = self.current(alg).map_or(0, |at| at + 1);
                let mut older = self.entries[after..].iter().map(|entry| &entry.key);
                older.find(|key| alg.fits(key.kind)).cloned()
            }
            Which::Kid(kid) => {
                let mut all = self.entries.iter().map(|entry| &entry.key);
                all.find(|key| key.kid == *kid).cloned()
            }
            Which::Stranger => {
                let stranger = self.stranger(alg)?;
                let current = self.current(alg).map(|at| self.entries[at].key.kid.clone());
                let kid = current.unwrap_or_else(|| stranger.kid.clone());
                return Ok((stranger, kid));
            }
        };
        let key = key.ok_or_else(|| Error::NoSuchKey(format!("{which:?} for {}", alg.name())))?;
        let kid = key.kid.clone();
        Ok((key, kid))
    }

    /// Prefers a key that names this very algorithm to one that merely could sign with it.
    fn current(&self, alg: Alg) -> Option<usize> {
        let position = |named: bool| {
            self.entries.iter().position(|Entry { key, published }| {
                let fits = !named || key.alg.as_deref().is_none_or(|own| own == alg.name());
                *published && fits && alg.fits(key.kind)
            })
        };
        position(true).or_else(|| position(false))
    }

    fn stranger(&mut self, alg: Alg) -> Result<Arc<Key>, Error> {
        if let Some(key) = self.strangers.iter().find(|key| alg.fits(key.kind)) {
            return Ok(Arc::clone(key));
        }
        let key = match alg.key_type() {
            KeyType::Rsa(_) => self.store.rsa("stranger")?,
            other => Key::generate(other)?,
        };
        let key = Arc::new(key);
        self.strangers.push(Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(folder: &tempfile::TempDir) -> KeyRing {
        let store = KeyStore::open(folder.path().to_owned()).unwrap();
        KeyRing::new(Arc::new(store), "test")
    }

    #[test]
    fn rotation_puts_the_new_key_in_front() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = ring(&folder);
        let old = ring.published().unwrap()[0].kid.clone();
        let new = ring.rotate(true).unwrap();
        let kids: Vec<_> = ring
            .published()
            .unwrap()
            .iter()
            .map(|key| key.kid.clone())
            .collect();
        assert_eq!(kids, [new.clone(), old.clone()]);
        assert_eq!(ring.find(&Which::Current, Alg::Rs256).unwrap().1, new);
        assert_eq!(ring.find(&Which::Previous, Alg::Rs256).unwrap().1, old);

        ring.withdraw(&old).unwrap();
        assert_eq!(ring.published().unwrap().len(), 1);
        assert_eq!(
            ring.find(&Which::Kid(old.clone()), Alg::Rs256).unwrap().1,
            old
        );
        let (stranger, kid) = ring.find(&Which::Stranger, Alg::Rs256).unwrap();
        assert_eq!(kid, new);
        assert_ne!(stranger.kid, new);
    }

    #[test]
    fn a_key_is_chosen_by_its_algorithm() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = ring(&folder);
        assert!(ring.find(&Which::Current, Alg::Es256).is_err());
        let ec = ring.add(Key::generate(KeyType::P256).unwrap()).unwrap();
        assert_eq!(ring.find(&Which::Current, Alg::Es256).unwrap().1, ec);
        assert_ne!(ring.find(&Which::Current, Alg::Rs256).unwrap().1, ec);
    }
}
