//! Words of shared memory whose stores keep the order of the program.
//!
//! A store is a release and a load an acquire. No store is moved before an earlier one, and none is
//! removed: another process that sees one sees all that came before it. So memory that a killed
//! process leaves behind is what its program had stored up to some point.

use core::sync::atomic::Ordering;

#[cfg(not(all(test, feature = "loom")))]
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

#[cfg(all(test, feature = "loom"))]
use crate::models::{AtomicPtr, AtomicU32, AtomicU64};

/// A number of 64 bits. Zeroed memory is 0.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
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
    pub fn null() -> Link<T> {
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

/// A number to which any process may add. It orders nothing: no other word depends on it. Zeroed memory is 0.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number, and returns what it was before.
    #[inline]
    pub fn add(&self, count: u64) -> u64 {
        before_store();
        self.0.fetch_add(count, Ordering::Relaxed)
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// True for models of the tables (`make loom`), which are as small as they can be.
pub(crate) const IS_MODEL: bool = cfg!(all(test, feature = "loom"));

/// A hint that another process has to go on before this one can.
pub(crate) fn pause() {
    #[cfg(not(all(test, feature = "loom")))]
    core::hint::spin_loop();
    #[cfg(all(test, feature = "loom"))]
    loom::thread::yield_now();
}

#[cfg(any(not(test), feature = "loom"))]
#[inline]
fn before_store() {}

#[cfg(all(test, not(feature = "loom")))]
use kill::before_store;

/// Ends the program of a test before one of its stores, as a signal ends a process.
#[cfg(all(test, not(feature = "loom")))]
pub(crate) mod kill {
    use core::mem::{align_of_val, size_of_val};
    use core::ptr;
    use core::slice;
    use std::cell::Cell;
    use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

    struct Killed;

    thread_local! {
        static STORES_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn before_store() {
        STORES_LEFT.with(|left| match left.get() {
            Some(0) => resume_unwind(Box::new(Killed)),
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
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Memory that the processes of a test share, and that nobody else has.
    pub(crate) trait Shared {
        /// Its bytes, of which there are whole words.
        fn words(&self) -> Vec<u64>;
    }

    /// The words of a value that consists of [`super`]'s words. Where they are of 32 bits, each is one here.
    pub(crate) fn words_of<T>(value: &T) -> Vec<u64> {
        let halves = ptr::from_ref(value).cast::<u32>();
        assert!(align_of_val(value) >= 4);
        let number = size_of_val(value) / 4;
        // SAFETY: so many lie in the value, all are initialised, and nobody changes them meanwhile.
        let halves = unsafe { slice::from_raw_parts(halves, number) };
        let is_whole = align_of_val(value) >= 8;
        let pieces = halves.chunks(if is_whole { 2 } else { 1 });
        let word = |piece: &[u32]| {
            let halves = piece.iter().rev();
            halves.fold(0, |word, half| word << 32 | u64::from(*half))
        };
        pieces.map(word).collect()
    }

    /// The number of stores that a program makes.
    fn stores_of(program: impl FnOnce()) -> usize {
        STORES_LEFT.set(Some(usize::MAX));
        program();
        usize::MAX - STORES_LEFT.take().unwrap_or(usize::MAX)
    }

    /// Runs a program on new memory, once killed before each of its stores and once to its end, and hands
    /// what is left to `check`, with the number of stores made. Returns the number of all.
    ///
    /// No store may pass [`super`] by: between two kills one word changes at most.
    pub(crate) fn before_each<M: Shared>(
        new: impl Fn() -> M,
        program: impl Fn(&M),
        check: impl Fn(M, usize),
    ) -> usize {
        let all = {
            let memory = new();
            stores_of(|| program(&memory))
        };
        // Miri takes long, and sees no more in all words at once, or after each store.
        let words = |memory: &M| match cfg!(miri) {
            true => Vec::new(),
            false => memory.words(),
        };
        let step = if cfg!(miri) { 48 } else { 1 };
        let mut last = words(&new());
        for stores in (0..all).step_by(step).chain([all]) {
            let memory = new();
            let ended = before(stores, || program(&memory));
            assert_eq!(ended, stores == all, "{stores} of {all} stores");
            let words = words(&memory);
            assert_eq!(words.len(), last.len());
            let changed = words.iter().zip(&last).filter(|(new, old)| new != old);
            let changed = changed.count();
            assert!(changed <= 1, "{changed} words changed by store {stores}");
            last = words;
            check(memory, stores);
        }
        all
    }
}
