//! `authgear_token_cache`.

use std::num::NonZeroUsize;

use super::mistake::Mistake;
use super::value::OrOff;

/// 2 GiB in each worker.
const MOST: usize = 1 << 20;

/// The number of verified tokens that each worker keeps, beside those in the shared zone.
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

    /// The number; `None` when workers keep none of their own, as they do without the directive: the shared
    /// zone has all of them, and costs 0.2 µs more than memory of a worker's own.
    pub fn capacity(&self) -> Option<NonZeroUsize> {
        self.capacity.and_then(OrOff::on)
    }
}
