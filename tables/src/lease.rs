//! The right to do something alone, until a deadline.
//!
//! The deadline of a holder that dies passes, and each lease has a number of its own, so that who comes late cannot
//! end another's.

use crate::word::Word;

#[cfg(all(test, feature = "loom"))]
mod models;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

/// A lease in shared memory. Zeroed memory is one that nobody has. Times are milliseconds of the clock that the
/// processes share.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Lease {
    number: Word,
    /// The deadline.
    until: Word,
}

impl Lease {
    /// The number of the newest lease; 0 where there was none.
    pub fn number(&self) -> u64 {
        self.number.get()
    }

    /// The time up to which it counts; 0 if nobody has it.
    pub fn until(&self) -> u64 {
        self.until.get()
    }

    /// True while somebody has it whose number is not `own`.
    pub fn is_others(&self, own: Option<u64>, now: u64) -> bool {
        own != Some(self.number.get()) && now < self.until.get()
    }

    /// Gives it to a new number. The number comes first, so that a deadline that counts never has an older one. The
    /// caller holds a lock.
    pub fn give(&self, number: u64, until: u64) {
        self.number.set(number);
        self.until.set(until);
    }

    /// Sets the deadline of who has it now; 0 ends it. The caller holds a lock.
    pub fn set_until(&self, until: u64) {
        self.until.set(until);
    }

    /// Takes it until a deadline, or renews it for who has the number `own`; `None` while it is another's. `numbers`
    /// is the newest number of all. The caller holds a lock.
    pub fn take_or_renew(
        &self,
        numbers: &Word,
        own: Option<u64>,
        until: u64,
        now: u64,
    ) -> Option<u64> {
        if self.is_others(own, now) {
            return None;
        }
        if own == Some(self.number.get()) {
            self.until.set(until);
        } else {
            self.give(numbers.increment(), until);
        }
        Some(self.number.get())
    }
}
