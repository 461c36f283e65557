//! A JWKS document (RFC 7517, section 5) and the keys in it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::jwk::{Jwk, KeyId};
use super::parameters::SkippedKey;
use crate::algorithm::Algorithm;
use crate::reason::Reason;

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;

/// The most entries that a document may have, usable or not.
pub const MAX_KEYS: usize = 64;

/// The most keys of one `kid` for one algorithm: a token costs a signature check for each.
pub const MAX_OF_KID: usize = 4;

/// The usable keys of one document, parsed.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Jwk>,
}

/// The reason for which a whole document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Over [`MAX_DOCUMENT`].
    #[error("key set of more than {} KiB", MAX_DOCUMENT / 1024)]
    TooLarge,
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 before the first character of a line.
        column: usize,
    },
    /// JSON, but no object with an array `keys`.
    #[error("no key set: a JSON object with an array \"keys\" is needed")]
    NotAKeySet,
    /// Over [`MAX_KEYS`].
    #[error("key set of {0} keys, at most {MAX_KEYS} are allowed")]
    TooManyKeys(usize),
    /// No key can be used; holds why each was skipped.
    #[error("no usable key in the key set{}", first(.0))]
    NoUsableKey(Vec<SkippedKey>),
}

fn first(skipped: &[SkippedKey]) -> String {
    match skipped {
        [] => String::new(),
        [only] => format!(": {only}"),
        [first, rest @ ..] => format!(": {first}, and {} more skipped", rest.len()),
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a document. Unusable keys are skipped and reported; entries are judged one
    /// by one, so that a broken one does not cost the others. An entry that says the same as an
    /// earlier one is dropped.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] when the document breaks a limit, is no key set, or holds no usable key.
    /// Nothing of it may be used then.
    pub fn parse(json: &[u8]) -> Result<(KeySet, Vec<SkippedKey>), DocumentError> {
        if json.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLarge);
        }
        let document: Document = serde_json::from_slice(json).map_err(|error| {
            if error.is_data() {
                DocumentError::NotAKeySet
            } else {
                DocumentError::NotJson {
                    line: error.line(),
                    column: error.column(),
                }
            }
        })?;
        if document.keys.len() > MAX_KEYS {
            return Err(DocumentError::TooManyKeys(document.keys.len()));
        }
        let (mut keys, mut skipped): (Vec<Jwk>, _) = (Vec::new(), Vec::new());
        for (index, entry) in document.keys.iter().enumerate() {
            match Jwk::parse(entry.get(), index) {
                Ok(key) if keys.iter().any(|earlier| earlier.id() == key.id()) => {}
                Ok(key)
                    if keys.iter().filter(|earlier| earlier.is_rival(&key)).count()
                        >= MAX_OF_KID =>
                {
                    skipped.push(key.crowded(index, MAX_OF_KID));
                }
                Ok(key) => keys.push(key),
                Err(why) => skipped.push(why),
            }
        }
        if keys.is_empty() {
            return Err(DocumentError::NoUsableKey(skipped));
        }
        Ok((KeySet { keys }, skipped))
    }

    /// The number of usable keys; at least one.
    #[allow(clippy::len_without_is_empty)] // A set without a usable key does not exist.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// About how many bytes the set takes in memory once each key has been used for each of its
    /// algorithms, for a store that is bounded by memory. A key is parsed for an algorithm only
    /// when a token asks for it, so it may be much less.
    pub fn size(&self) -> usize {
        size_of::<KeySet>() + self.keys.iter().map(Jwk::size).sum::<usize>()
    }

    /// The `kid` of each key, and the algorithms that it may be used for.
    pub fn describe(&self) -> impl Iterator<Item = (Option<&str>, Vec<Algorithm>)> {
        self.keys.iter().map(|key| (key.kid(), key.algorithms()))
    }

    /// Tells whether that very key is in the set, with the same `kid`, material and algorithms.
    pub fn contains(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|key| key.id() == id)
    }

    /// Tells whether a usable key of that `kid` is in the set.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// Tells whether exactly one key can have signed a token without a `kid`.
    pub(crate) fn has_one_for(&self, algorithm: Algorithm) -> bool {
        self.fitting(None, algorithm).count() == 1
    }

    /// The keys that a token with that header may have been signed by.
    fn fitting<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Jwk> {
        self.keys
            .iter()
            .filter(move |key| kid.is_none() || key.kid() == kid)
            .filter(move |key| key.fits(algorithm))
    }

    /// Finds the key that made the signature over the message; keys are tried in the order of the document.
    pub(crate) fn check_signature(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<KeyId, Reason> {
        let is_known = match kid {
            Some(kid) => self.has_kid(kid),
            None => self.has_one_for(algorithm),
        };
        if !is_known {
            return Err(Reason::UnknownKey);
        }
        let mut fitting = self.fitting(kid, algorithm).peekable();
        if fitting.peek().is_none() {
            return Err(Reason::UnsupportedAlgorithm);
        }
        fitting
            .find(|key| key.is_signed(algorithm, message, signature))
            .map(|key| *key.id())
            .ok_or(Reason::BadSignature)
    }
}
