//! `authgear_token_cache`.

use std::num::NonZeroUsize;

use super::Mistake;

const DEFAULT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// 2 GiB in each worker.
const MOST: usize = 1 << 20;

/// How many verified tokens each worker remembers.
#[derive(Debug, Default)]
pub struct TokenCacheConf {
    /// `Some(None)` is off.
    said: Option<Option<NonZeroUsize>>,
}

impl TokenCacheConf {
    /// Reads a number, or `off`.
    pub fn configure(&mut self, word: &str) -> Result<(), Mistake> {
        if self.said.is_some() {
            return Err("is duplicate; one number serves all projects".into());
        }
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        let number = word
            .parse()
            .ok()
            .filter(|&number| is_number && number <= MOST);
        self.said = Some(match (word, number.map(NonZeroUsize::new)) {
            ("off", _) => None,
            (_, Some(Some(number))) => Some(number),
            (_, Some(None)) => {
                return Err("cannot be 0; write \"authgear_token_cache off;\"".into());
            }
            (_, None) => {
                return Err(format!(
                    "must be a number of tokens from 1 to {MOST}, or \"off\", not \"{word}\""
                )
                .into());
            }
        });
        Ok(())
    }

    /// The number; `None` when nothing is to be remembered.
    pub fn capacity(&self) -> Option<NonZeroUsize> {
        self.said.unwrap_or(Some(DEFAULT))
    }
}
