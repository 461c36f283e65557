//! The questions that client addresses caused before any limit (`authgear_early`) in the last second.
//!
//! A keyed digest of the address chooses a bucket, which has the times of its last ten questions. Addresses that
//! share a bucket ask ten times together; nobody outside knows which do.

use crate::layout_number;
use crate::word::HalfWord;

/// The most questions within a second of the addresses that share a bucket.
pub const PER_SECOND: usize = 10;

const BUCKETS: usize = 512;
const SECOND: u32 = 1000;

/// The buckets. Zeroed memory is a table without questions.
///
/// Each bucket holds when its questions were asked, in milliseconds as far as 32 bits hold them; 0 for none. A
/// writer that is killed has stored its question, or has not.
#[derive(Debug)]
#[repr(C)]
pub struct EarlyQuestions([[HalfWord; PER_SECOND]; BUCKETS]);

/// Differs when the table is laid out in another way.
pub const LAYOUT: u64 = layout_number(&[size_of::<EarlyQuestions>(), PER_SECOND]);

/// A question that counts.
#[derive(Debug, Clone, Copy)]
pub struct Slip {
    bucket: usize,
    question: usize,
    asked: u32,
}

impl EarlyQuestions {
    /// Counts a question of the address with that digest at `now`, in milliseconds of the processes' clock; `None`
    /// where its bucket has no more for this second. The caller holds a lock.
    pub fn take(&self, digest: u128, now: u64) -> Option<Slip> {
        let now = (now as u32).max(1);
        let bucket = digest as usize % BUCKETS;
        let mut asked = self.0[bucket].iter();
        let question = asked.position(|asked| !is_recent(asked.get(), now))?;
        self.0[bucket][question].set(now);
        Some(Slip {
            bucket,
            question,
            asked: now,
        })
    }

    /// Counts a question no more, which ended with a yes. The caller holds a lock.
    pub fn give_back(&self, slip: Slip) {
        let asked = &self.0[slip.bucket][slip.question];
        // After a second it may be another's.
        if asked.get() == slip.asked {
            asked.set(0);
        }
    }
}

/// True for a question of less than a second ago, or up to a second ahead: the clocks of processes differ by what
/// each has done since it read its own.
fn is_recent(asked: u32, now: u32) -> bool {
    asked != 0 && now.wrapping_sub(asked).wrapping_add(SECOND) < 2 * SECOND
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::word::kill;

    /// More questions than a second has, and steps between digests. Miri takes long for a thousand.
    const MANY: usize = if cfg!(miri) { 12 } else { 1000 };
    const STEP: usize = if cfg!(miri) { 256 } else { 1 };

    fn table() -> Box<EarlyQuestions> {
        // SAFETY: zeroed memory is a table without questions.
        unsafe { Box::new(core::mem::zeroed()) }
    }

    fn ask(table: &EarlyQuestions, digest: u128, now: u64, times: usize) -> usize {
        let asked = (0..times).filter(|_| table.take(digest, now).is_some());
        asked.count()
    }

    #[test]
    fn an_address_asks_ten_times_in_any_second() {
        let table = table();
        for start in [1, 5_000_000, (1 << 32) - 500, (7 << 32) + 3000] {
            assert_eq!(ask(&table, 1, start, 4), 4, "{start}");
            assert_eq!(ask(&table, 1, start + 400, MANY), 6, "{start}");
            assert_eq!(ask(&table, 1, start + 998, MANY), 0, "{start}");
            assert_eq!(ask(&table, 1, start + 1001, MANY), 4, "{start}");
            assert_eq!(ask(&table, 1, start + 1399, MANY), 0, "{start}");
            assert_eq!(ask(&table, 1, start + 1401, MANY), 6, "{start}");
        }
    }

    #[test]
    fn questions_of_a_process_whose_clock_is_ahead_count() {
        let table = table();
        for start in [5_000, (1 << 32) + 20] {
            assert_eq!(ask(&table, 1, start + 50, 6), 6, "{start}");
            assert_eq!(ask(&table, 1, start, MANY), 4, "{start}");
            assert_eq!(ask(&table, 1, start + 51, MANY), 0, "{start}");
            assert_eq!(ask(&table, 1, start + 1051, MANY), 10, "{start}");
            assert_eq!(ask(&table, 1, start + 90, MANY), 0, "{start}");
        }
    }

    #[test]
    fn a_yes_is_not_counted() {
        let table = table();
        for _ in 0..MANY {
            let slips: Vec<_> = (0..10).map(|_| table.take(5, 77).unwrap()).collect();
            assert!(table.take(5, 77).is_none(), "under way they count");
            slips.into_iter().for_each(|slip| table.give_back(slip));
        }
        // One that comes late takes nothing from others.
        let late = table.take(5, 77).unwrap();
        assert_eq!(ask(&table, 5, 2000, MANY), 10);
        table.give_back(late);
        assert!(table.take(5, 2001).is_none());
    }

    #[test]
    fn addresses_of_one_bucket_ask_ten_times_together() {
        let table = table();
        for digest in (0..512).step_by(STEP) {
            assert_eq!(ask(&table, digest, 50, MANY), 10, "{digest}");
        }
        for digest in (512..2000).step_by(STEP) {
            assert_eq!(ask(&table, digest, 1049, MANY), 0, "{digest}");
        }
    }

    impl kill::Shared for Box<EarlyQuestions> {
        fn words(&self) -> Vec<u64> {
            kill::words_of(&**self)
        }
    }

    #[test]
    fn a_killed_writer_leaves_a_table_that_counts() {
        let five = || {
            let table = table();
            ask(&table, 1, 500, 5);
            table
        };
        let stores = kill::before_each(
            five,
            |table| {
                let slip = table.take(1, 1000).unwrap();
                table.take(1, 1000).unwrap();
                table.give_back(slip);
            },
            |table, stores| {
                let left = [5, 4, 3, 4][stores];
                assert_eq!(ask(&table, 1, 1100, MANY), left, "{stores}");
                assert_eq!(ask(&table, 1, 2100, MANY), 10, "{stores}");
                assert_eq!(ask(&table, 2, 2100, MANY), 10, "another bucket, {stores}");
            },
        );
        assert_eq!(stores, 3);
    }
}
