//! Tables in shared memory, as plain memory: how they are laid out, read and written.
//!
//! Nothing here knows nginx. The caller maps the memory, holds a lock that all processes share while it
//! changes a table, and passes the time in. Readers and counters need no lock.
//!
//! A process can be killed at any instruction while it holds the lock. So every store goes through
//! [`word`], whose stores keep the order of the program, and the tests kill a writer before each of
//! them.

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

pub mod breaker;
pub mod counters;
pub mod early;
pub mod judgements;
pub mod lease;
#[cfg(all(test, feature = "loom"))]
mod models;
pub mod revocations;
pub mod source;
pub mod word;

/// A number that differs for different lists, for checking that two builds of the module lay out memory
/// alike (FNV-1a of 64 bits).
#[must_use]
pub const fn layout_number(numbers: &[usize]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < numbers.len() {
        let bytes = (numbers[at] as u64).to_le_bytes();
        let mut byte = 0;
        while byte < bytes.len() {
            hash = (hash ^ bytes[byte] as u64).wrapping_mul(0x0100_0000_01b3);
            byte += 1;
        }
        at += 1;
    }
    hash
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::layout_number;

    #[test]
    fn the_layout_number_depends_on_each_number_and_its_place() {
        let number = layout_number(&[1, 2, 3]);
        for other in [&[1, 2, 4][..], &[1, 3, 2], &[1, 2], &[1, 2, 3, 0]] {
            assert_ne!(number, layout_number(other), "{other:?}");
        }
    }
}
