//! Fetching of keys: when, and on which thread.
//!
//! A fetch runs on a short-lived thread that owns plain data and never touches nginx's memory.
//! While one is under way, or a request waits for one of another worker, the worker's timer looks for
//! finished ones; it holds a graceful stop back until the waiting requests are answered.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem;
use std::collections::hash_map::DefaultHasher;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use authgear_core::keys::fetch::{self, FetchError, Fetched};
use authgear_core::keys::freshness::{Advice, Need};
use authgear_core::keys::saved::{self, LoadError, Saved};
use authgear_core::keys::slots::{Slots, Standing, QUICK_TIME};
use authgear_core::keys::KeySet;
use authgear_core::status::{self, Count, FetchResult};
use nginx_sys::{ngx_random, NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN};
use ngx::log::ngx_cycle_log;
use ngx::ngx_log_error;

use super::source::KeySource;
use super::store::{Change, FetchLease, KeyStore, Published};
use crate::log::log_limited_in;
use crate::nginx;

/// The keys of a source as they are now, or the way to have them.
pub enum KeyStatus {
    /// Judge the token by these.
    Keys(Rc<KeySet>),
    /// Somebody is fetching.
    Wait,
    /// It is time to fetch, but too many others are being fetched.
    Queue,
    /// No keys before so many seconds have passed.
    Unavailable(u64),
    /// The token's `kid` is in no set that may be had now.
    Unknown,
}

/// A message of a fetching thread to the event loop.
enum Message {
    /// The set that an earlier process saved, or why it cannot be used.
    Saved(Result<Saved, LoadError>),
    /// The fetch has ended, after that time.
    Fetched(Result<Fetched, FetchError>, Duration),
    /// The set has been saved, or why not.
    Kept(io::Result<()>),
    /// The thread has nothing more to do, and gives its slot back.
    Over(Standing),
}

/// The fetches of a worker.
#[derive(Debug, Default)]
pub struct Fetches {
    /// The slots that they take.
    slots: Slots,
    /// Those that are not slow, or for which there is no slot of slow ones, with their begin.
    quick: Vec<(FetchLease, Standing, u64)>,
}

impl Fetches {
    /// None is under way.
    pub const fn new() -> Fetches {
        Fetches {
            slots: Slots::new(),
            quick: Vec::new(),
        }
    }

    /// The slots that are taken.
    pub fn slots(&self) -> Slots {
        self.slots
    }

    /// Gives the slots of those that take long to others.
    fn slow_down(&mut self, now: u64) {
        let slots = &mut self.slots;
        self.quick.retain(|(_, standing, began)| {
            now.saturating_sub(*began) < QUICK_TIME || !slots.slow_down(*standing)
        });
    }

    /// Gives the slot of a fetch back that is over.
    fn end(&mut self, lease: FetchLease, standing: Standing) {
        let place = self.quick.iter().position(|(quick, ..)| *quick == lease);
        if let Some(place) = place {
            self.quick.remove(place);
        }
        self.slots.give_back(standing, place.is_none());
    }
}

/// Messages of the threads that the event loop has not read yet.
static MESSAGES: Mutex<Vec<(Arc<KeySource>, FetchLease, Message)>> = Mutex::new(Vec::new());

/// The result of an attempt to start a fetch.
#[derive(PartialEq, Eq)]
enum Start {
    Started,
    /// Every slot that it may have is taken.
    NoSlot,
    /// Somebody else has the lease, or it cannot be had.
    No,
}

/// Answers a request for the keys of `source`; starts a fetch when it is time, nobody else does
/// and there is a slot for it.
pub fn ask(
    store: &mut KeyStore,
    source: &KeySource,
    need: Need,
    fetches: &mut Fetches,
    now: u64,
) -> KeyStatus {
    // A lease that another worker took first changes the advice, once.
    for _ in 0..2 {
        let (keys, advice) = store.look_up(source, need, now);
        match (advice, keys) {
            (Advice::Use, Some(keys)) => return KeyStatus::Keys(keys),
            (Advice::UseAndFetch, Some(keys)) => {
                start(store, source, need, fetches, now);
                return KeyStatus::Keys(keys);
            }
            (Advice::FetchAndWait, _) => match start(store, source, need, fetches, now) {
                Start::Started => return KeyStatus::Wait,
                Start::NoSlot => return KeyStatus::Queue,
                Start::No => {}
            },
            (Advice::Unavailable { retry_after }, _) => {
                return KeyStatus::Unavailable(retry_after.div_ceil(1000).max(1));
            }
            (Advice::Unknown, _) => return KeyStatus::Unknown,
            (Advice::Wait, _) => return KeyStatus::Wait,
            // Only a set that is at hand is advised to be used.
            (Advice::Use | Advice::UseAndFetch, None) => return KeyStatus::Unavailable(1),
        }
    }
    KeyStatus::Wait
}

/// Starts a fetch if there is a slot and the lease can be had.
fn start(
    store: &mut KeyStore,
    source: &KeySource,
    need: Need,
    fetches: &mut Fetches,
    now: u64,
) -> Start {
    let standing = store.standing(&source.id, now);
    if !fetches.slots.take(standing) {
        return Start::NoSlot;
    }
    let Some(lease) = store.try_lease(source, need, now) else {
        fetches.slots.give_back(standing, false);
        return Start::No;
    };
    fetches.quick.push((lease, standing, now));
    let has_keys = store.look_up(source, need, now).0.is_some();
    if let Err(error) = spawn(Arc::new(source.clone()), lease, standing, has_keys) {
        fetches.end(lease, standing);
        count(store, source, FetchResult::Internal, Duration::ZERO);
        let why = format!("cannot start a thread: {error}");
        failed(store, source, lease, FetchResult::Internal, &why, now);
        return Start::No;
    }
    Start::Started
}

/// Runs one fetch on a thread of its own.
fn spawn(
    source: Arc<KeySource>,
    lease: FetchLease,
    standing: Standing,
    has_keys: bool,
) -> io::Result<()> {
    let run = move || {
        let tell = |message| {
            let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
            messages.push((Arc::clone(&source), lease, message));
        };
        let ran = catch_unwind(AssertUnwindSafe(|| run(&source, has_keys, &tell)));
        if ran.is_err() {
            tell(Message::Fetched(Err(FetchError::Panicked), Duration::ZERO));
        }
        tell(Message::Over(standing));
    };
    nginx::spawn(run)
}

/// The body of the fetching thread.
fn run(source: &KeySource, has_keys: bool, tell: &dyn Fn(Message)) {
    let mut folders = source.states.iter().filter(|_| !has_keys);
    let load = |folder: &Arc<Path>| saved::load(folder, &source.id, SystemTime::now()).transpose();
    if let Some(saved) = folders.find_map(load) {
        tell(Message::Saved(saved));
    }
    let began = Instant::now();
    let fetched = fetch::fetch(&source.from);
    let took = began.elapsed();
    let document = match &fetched {
        Ok(fetched) if !source.states.is_empty() => Some(fetched.document.clone()),
        _ => None,
    };
    tell(Message::Fetched(fetched, took));
    if let Some(document) = document {
        // One that fails does not keep the others from being written.
        let save = |folder: &Arc<Path>| saved::save(folder, &source.id, &document);
        let kept = source.states.iter().map(save).fold(Ok(()), Result::and);
        tell(Message::Kept(kept));
    }
}

/// Processes the messages of the threads. Those that have ended give their slots back.
pub fn collect(store: &mut KeyStore, fetches: &mut Fetches, now: u64) {
    let messages = mem::take(&mut *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner));
    for (source, lease, message) in messages {
        let name = &source.from;
        match message {
            Message::Saved(Ok(saved)) => {
                store.offer(&source.id, lease, &saved, now);
            }
            Message::Saved(Err(error)) => {
                if store.complain(&source.id, digest(&error)) {
                    say(
                        &source,
                        NGX_LOG_ERR,
                        "saved",
                        format_args!("saved keys of {name}: {error}"),
                    );
                }
            }
            Message::Fetched(Ok(fetched), took) => {
                count(store, &source, FetchResult::Ok, took);
                succeeded(store, &source, lease, fetched, now);
            }
            Message::Fetched(Err(error), took) => {
                count(store, &source, error.stage(), took);
                failed(store, &source, lease, error.stage(), &error, now);
            }
            Message::Kept(Ok(())) => {
                store.complain(&source.id, 0);
            }
            Message::Kept(Err(error)) => {
                if store.complain(&source.id, digest(&error)) {
                    say(
                        &source,
                        NGX_LOG_ERR,
                        "kept",
                        format_args!("keys of {name}: cannot save them in \"state_path\": {error}"),
                    );
                }
            }
            Message::Over(standing) => fetches.end(lease, standing),
        }
    }
    fetches.slow_down(now);
}

/// Counts a fetch.
fn count(store: &KeyStore, source: &KeySource, result: FetchResult, took: Duration) {
    if let Some(counters) = store.zone().counters(source.project) {
        counters.count(Count::Fetch(result));
        counters.measure(status::Duration::Fetch, took);
    }
}

fn succeeded(
    store: &mut KeyStore,
    source: &KeySource,
    lease: FetchLease,
    fetched: Fetched,
    now: u64,
) {
    let name = &source.from;
    for key in &fetched.skipped {
        say(
            source,
            NGX_LOG_WARN,
            "skipped",
            format_args!("keys of {name}: {key}"),
        );
    }
    let published = store.publish(source, lease, &fetched.document, fetched.keys, now);
    let change = match published {
        Published::Stored(change) | Published::NoRoom(change) => change,
        Published::TooLate => return,
    };
    if change == Change::Recovered {
        let log = ngx_cycle_log().as_ptr();
        ngx_log_error!(
            NGX_LOG_NOTICE,
            log,
            "authgear: keys of {name}: fetched again"
        );
    }
    if let Published::NoRoom(_) = published {
        say(
            source,
            NGX_LOG_ERR,
            "room",
            format_args!(
                "keys of {name}: the shared zone has no room for them; \
                 enlarge \"authgear_shared_zone\""
            ),
        );
    }
}

fn failed(
    store: &mut KeyStore,
    source: &KeySource,
    lease: FetchLease,
    stage: FetchResult,
    error: &dyn core::fmt::Display,
    now: u64,
) {
    let jitter = ngx_random() as f64 / f64::from(i32::MAX);
    let change = store.fail(source, lease, (stage, digest(error)), now, jitter);
    if change == Change::Failing {
        let name = &source.from;
        if store.standing(&source.id, now).had_keys {
            // No client makes up such a one, and each has its line.
            let log = ngx_cycle_log().as_ptr();
            ngx_log_error!(NGX_LOG_ERR, log, "authgear: keys of {name}: {error}");
        } else {
            say(
                source,
                NGX_LOG_ERR,
                "failed",
                format_args!("keys of {name}: {error}"),
            );
        }
    }
}

/// Logs a line about a source. Of those that requests name, a line a second for each topic of a project is enough:
/// neither a client nor a tenant can fill the log.
fn say(source: &KeySource, level: u32, topic: &'static str, line: fmt::Arguments<'_>) {
    let log = ngx_cycle_log().as_ptr();
    if source.is_of_request {
        log_limited_in(log, level, (source.project as usize, topic), line);
    } else {
        ngx_log_error!(level, log, "authgear: {line}");
    }
}

/// A digest of an error, to compare it with another. Never 0.
fn digest(error: &dyn core::fmt::Display) -> u64 {
    let mut digest = DefaultHasher::new();
    error.to_string().hash(&mut digest);
    digest.finish() | 1
}
