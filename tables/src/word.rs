//! Words of shared memory whose stores keep the order of the program.
//!
//! A store is a release and a load an acquire. No store is moved before an earlier one, and none is
//! removed: another process that sees one sees all that came before it. So memory that a killed
//! process leaves behind is what its program had stored up to some point.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A number of 64 bits. Zeroed memory is 0.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// 0.
    #[must_use]
    pub const fn new() -> Word {
        Word(AtomicU64::new(0))
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Stores a value, after all earlier stores.
    #[inline]
    pub fn set(&self, value: u64) {
        before_store();
        self.0.store(value, Ordering::Release);
    }

    /// Stores a value if the present one is `expected`; returns whether it was. Of several processes that
    /// try it at the same time, one succeeds.
    #[inline]
    pub fn replace(&self, expected: u64, value: u64) -> bool {
        before_store();
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.0
            .compare_exchange(expected, value, success, failure)
            .is_ok()
    }

    /// Adds 1 and returns the new value.
    #[inline]
    pub fn increment(&self) -> u64 {
        before_store();
        self.0.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }
}

/// A number of 32 bits. Zeroed memory is 0.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct HalfWord(AtomicU32);

impl HalfWord {
    /// The value.
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Stores a value, after all earlier stores.
    #[inline]
    pub fn set(&self, value: u32) {
        before_store();
        self.0.store(value, Ordering::Release);
    }
}

/// A pointer into the shared memory. Zeroed memory is null.
#[derive(Debug)]
#[repr(transparent)]
pub struct Link<T>(AtomicPtr<T>);

impl<T> Link<T> {
    /// A null pointer.
    #[must_use]
    pub const fn null() -> Link<T> {
        Link(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The pointer.
    #[inline]
    pub fn get(&self) -> *mut T {
        self.0.load(Ordering::Acquire)
    }

    /// Stores a pointer, after all earlier stores: what it points to is complete.
    #[inline]
    pub fn set(&self, pointer: *mut T) {
        before_store();
        self.0.store(pointer, Ordering::Release);
    }
}

#[cfg(not(test))]
#[inline]
fn before_store() {}

#[cfg(test)]
use kill::before_store;

/// Ends the program of a test before one of its stores, as a signal ends a process.
#[cfg(test)]
pub(crate) mod kill {
    use std::cell::Cell;
    use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};

    struct Killed;

    thread_local! {
        static STORES_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn before_store() {
        STORES_LEFT.with(|left| match left.get() {
            Some(0) => panic_any(Killed),
            Some(stores) => left.set(Some(stores - 1)),
            None => {}
        });
    }

    /// Runs a program up to its store number `stores`, counted from 0; returns whether it ended by
    /// itself before.
    pub(crate) fn before(stores: usize, program: impl FnOnce()) -> bool {
        STORES_LEFT.with(|left| left.set(Some(stores)));
        let ended = catch_unwind(AssertUnwindSafe(program));
        STORES_LEFT.with(|left| left.set(None));
        match ended {
            Ok(()) => true,
            Err(panic) if panic.is::<Killed>() => false,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
