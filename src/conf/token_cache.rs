//! `authgear_token_cache`.

use std::num::NonZeroUsize;

use super::mistake::Mistake;
use super::value::OrOff;

const DEFAULT: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// 2 GiB in each worker.
const MOST: usize = 1 << 20;

/// The number of verified tokens that each worker remembers.
#[derive(Debug, Default)]
pub struct TokenCacheConf {
    capacity: Option<OrOff<NonZeroUsize>>,
}

impl TokenCacheConf {
    /// Reads a number, or `off`.
    pub fn configure(&mut self, word: &str) -> Result<(), Mistake> {
        if self.capacity.is_some() {
            return Err("is duplicate; one number serves all projects".into());
        }
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        let number = word
            .parse()
            .ok()
            .filter(|&number| is_number && number <= MOST);
        self.capacity = Some(match (word, number.map(NonZeroUsize::new)) {
            ("off", _) => OrOff::Off,
            (_, Some(Some(number))) => OrOff::On(number),
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
        self.capacity.map_or(Some(DEFAULT), OrOff::on)
    }
}
