//! Models of loom: every order of what threads do, as far as the memory model allows it.
//!
//! loom tries every schedule where several threads write ([`check`]). It remembers one access of an atomic to find out
//! which schedules differ (0.7): a thread's own load hides that of another, and schedules are left out. So each
//! word has a second atomic that every access changes, without any ordering; and who holds the lock reads its own
//! words without one.
//!
//! One schedule is enough where one thread writes and another only reads ([`check_reader`]). The writer does the
//! same whenever the reader runs, so it runs first. Each load of the reader then returns every value in turn that
//! the memory model allows, as if it ran at any other time.

use core::cell::Cell;
use core::sync::atomic::Ordering;
use std::sync::Arc;

use loom::sync::atomic as loom_atomic;

/// Values of a word that loom remembers, the newest ones.
const HISTORY: u32 = 7;

/// The use that a thread makes of words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It reads and writes, and so do others.
    Any,
    /// It has them alone, or holds the lock that all others take.
    Alone,
    /// It writes them, and another reads them.
    Writer,
    /// It reads them, and another writes them.
    Reader,
}

loom::thread_local! {
    static ROLE: Cell<Role> = Cell::new(Role::Any);
}

fn role() -> Role {
    ROLE.with(Cell::get)
}

fn in_role<T>(role: Role, program: impl FnOnce() -> T) -> T {
    let before = ROLE.with(|own| own.replace(role));
    let value = program();
    ROLE.with(|own| own.set(before));
    value
}

/// Lets a thread change words that nobody else changes meanwhile: it holds the lock, or is alone.
pub fn write<T>(change: impl FnOnce() -> T) -> T {
    match role() {
        Role::Writer => change(),
        _ => in_role(Role::Alone, change),
    }
}

/// Lets this thread change words while another reads them; returns the result of the latter.
pub fn beside<T: 'static>(change: impl FnOnce(), read: impl FnOnce() -> T + 'static) -> T {
    let reader = loom::thread::spawn(|| in_role(Role::Reader, read));
    in_role(Role::Writer, change);
    reader.join().unwrap()
}

macro_rules! atomic {
    ($name:ident, $value:ty $(, $t:ident)?) => {
        #[derive(Debug)]
        pub struct $name$(<$t>)? {
            value: loom_atomic::$name$(<$t>)?,
            order: loom_atomic::AtomicU64,
            stores: core::sync::atomic::AtomicU32,
        }

        impl$(<$t>)? Default for $name$(<$t>)? {
            fn default() -> Self {
                Self {
                    value: Default::default(),
                    order: Default::default(),
                    stores: Default::default(),
                }
            }
        }

        impl$(<$t>)? $name$(<$t>)? {
            fn order(&self) {
                self.order.fetch_add(0, Ordering::Relaxed);
            }

            pub fn load(&self, ordering: Ordering) -> $value {
                match role() {
                    // SAFETY: this thread alone writes; loom checks that.
                    Role::Alone | Role::Writer => unsafe { self.value.unsync_load() },
                    Role::Reader => self.value.load(ordering),
                    Role::Any => {
                        self.order();
                        self.value.load(ordering)
                    }
                }
            }

            pub fn store(&self, value: $value, ordering: Ordering) {
                self.before_store();
                self.value.store(value, ordering);
            }

            fn before_store(&self) {
                match role() {
                    // Older values are nobody's to read.
                    Role::Alone => return,
                    Role::Reader => panic!("a reader stores"),
                    Role::Any => self.order(),
                    Role::Writer => {}
                }
                let stores = self.stores.fetch_add(1, Ordering::Relaxed) + 1;
                assert!(stores < HISTORY, "loom forgets the first value");
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
        self.before_store();
        self.value
            .compare_exchange(expected, value, success, failure)
    }

    pub fn fetch_add(&self, number: u64, ordering: Ordering) -> u64 {
        self.before_store();
        self.value.fetch_add(number, ordering)
    }
}

impl<T> AtomicPtr<T> {
    pub fn new(pointer: *mut T) -> AtomicPtr<T> {
        AtomicPtr {
            value: loom_atomic::AtomicPtr::new(pointer),
            order: Default::default(),
            stores: Default::default(),
        }
    }
}

/// Runs a model in every order, and prints how many there were and how long they took.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    bounded(None, model);
}

/// Runs a model of one writer and one reader ([`beside`]) in every order, as [`check`] does.
pub fn check_reader(model: impl Fn() + Send + Sync + 'static) {
    bounded(Some(0), model);
}

fn bounded(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(core::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 10_000;
    let start = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let executions = executions.load(Ordering::Relaxed);
    assert!(executions > 1, "nothing runs beside another");
    let seconds = start.elapsed().as_secs_f64();
    println!("model {name}: {executions} orders, {seconds:.1} s");
}
