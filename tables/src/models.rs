//! Models of loom: every order of what threads do, as far as the memory model allows it.
//!
//! loom 0.7 remembers one access of an atomic to find out which orders differ. A thread's own load hides that of
//! another then, and orders are left out. So the atomics here have a second one that every access changes, without
//! any ordering; and who holds the lock reads its own words without one.

use core::cell::Cell;
use core::sync::atomic::Ordering;
use std::sync::Arc;

use loom::sync::atomic as loom_atomic;

loom::thread_local! {
    static IS_WRITING: Cell<bool> = Cell::new(false);
}

/// Lets a thread change words that nobody else does meanwhile.
pub fn write<T>(change: impl FnOnce() -> T) -> T {
    IS_WRITING.with(|writing| writing.set(true));
    let changed = change();
    IS_WRITING.with(|writing| writing.set(false));
    changed
}

macro_rules! atomic {
    ($name:ident, $value:ty $(, $t:ident)?) => {
        #[derive(Debug)]
        pub struct $name$(<$t>)? {
            value: loom_atomic::$name$(<$t>)?,
            order: loom_atomic::AtomicU64,
        }

        impl$(<$t>)? Default for $name$(<$t>)? {
            fn default() -> Self {
                Self {
                    value: Default::default(),
                    order: Default::default(),
                }
            }
        }

        impl$(<$t>)? $name$(<$t>)? {
            fn order(&self) {
                self.order.fetch_add(0, Ordering::Relaxed);
            }

            pub fn load(&self, ordering: Ordering) -> $value {
                if IS_WRITING.with(Cell::get) {
                    // SAFETY: this thread alone writes; loom checks that.
                    return unsafe { self.value.unsync_load() };
                }
                self.order();
                self.value.load(ordering)
            }

            pub fn store(&self, value: $value, ordering: Ordering) {
                self.order();
                self.value.store(value, ordering);
            }
        }
    };
}

atomic!(AtomicU64, u64);
atomic!(AtomicU32, u32);
atomic!(AtomicPtr, *mut T, T);

impl AtomicU64 {
    pub fn compare_exchange(
        &self,
        expected: u64,
        value: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.order();
        self.value
            .compare_exchange(expected, value, success, failure)
    }

    pub fn fetch_add(&self, number: u64, ordering: Ordering) -> u64 {
        self.order();
        self.value.fetch_add(number, ordering)
    }
}

impl<T> AtomicPtr<T> {
    pub fn new(pointer: *mut T) -> AtomicPtr<T> {
        AtomicPtr {
            value: loom_atomic::AtomicPtr::new(pointer),
            order: Default::default(),
        }
    }
}

/// Runs a model in every order, and prints how many there were.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    bounded(None, model);
}

/// Runs a model in every order with at most so many preemptions, and prints how many there were.
pub fn bounded(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(core::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current()
        .name()
        .unwrap_or_default()
        .to_string();
    let executions = executions.load(Ordering::Relaxed);
    assert!(executions > 1, "nothing runs beside another");
    println!("model {name}: {executions} executions");
}
