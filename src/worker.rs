//! The state of one worker process between requests.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::mem::{self, ManuallyDrop};
use core::ptr::{self, NonNull};
use std::collections::BTreeMap;

use authgear_core::digest::{Digest, Digester, Kind};
use authgear_core::keys::freshness::Need;
use authgear_core::keys::slots::{Slots, Standing};
use authgear_core::token::{SignedBy, TokenCache};
use authgear_core::{AlgorithmSet, Reason};
use authgear_tables::resolver_cache::{Key, Table};
use nginx_sys::{
    ngx_connection_t, ngx_cycle_t, ngx_event_t, ngx_handle_read_event, ngx_http_block_reading,
    ngx_http_core_run_phases, ngx_http_finalize_request, ngx_http_post_request,
    ngx_http_request_empty_handler, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_http_test_reading, ngx_int_t, ngx_posted_events, ngx_process, NGX_AGAIN,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_LOG_INFO, NGX_OK, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};
use ngx::http::HttpModuleMainConf;
use ngx::ngx_log_error;
use smallvec::SmallVec;

use crate::conf::{AuthgearModule, Keys, MainConf, Remote};
use crate::keys::refresh::{self, Answer};
use crate::keys::KeyStore;
pub use crate::nginx::now;
use crate::nginx::{fields, guard, Request};
use crate::request::context::{Context, Stage};
use crate::shm::{Id, SharedZone};

/// How often a worker looks for news while it waits for some, in milliseconds.
const POLL: usize = 15;

/// Lines of the log that are counted together: the project's number, and a word.
pub type Topic = (usize, &'static str);

/// A suspended request's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(u64);

struct Waiter {
    request: NonNull<ngx_http_request_t>,
    awaited: Awaited,
}

/// The event that a request waits for.
enum Awaited {
    Keys {
        source: Id,
        /// The source's last change when the request began to wait.
        since: u64,
    },
    /// A slot for the fetch of its keys, until then.
    Slot {
        source: Id,
        since: u64,
        standing: Standing,
        until: u64,
    },
    /// The resolver's answer to another request with the same question.
    Answer(Key),
}

/// A signature that keys back, at one millisecond and with nothing published since.
struct Backed {
    now: u64,
    /// The zone's.
    generation: u64,
    source: Id,
    by: SignedBy,
    allowed: AlgorithmSet,
}

struct Worker {
    zone: Cell<Option<SharedZone>>,
    /// The last that was asked for: most tokens are signed by one key.
    backed: RefCell<Option<Backed>>,
    store: RefCell<Option<KeyStore>>,
    /// `Some(None)` where `authgear_token_cache` is `off`.
    tokens: RefCell<Option<Option<TokenCache>>>,
    digester: Cell<Option<Digester>>,
    waiters: RefCell<BTreeMap<WaiterId, Waiter>>,
    next_waiter: Cell<u64>,
    /// Fetches under way in this worker.
    slots: Cell<Slots>,
    timer: Cell<Option<NonNull<ngx_event_t>>>,
    /// For each topic of the log: the second of its last line, and how many were held back since.
    logged: RefCell<BTreeMap<Topic, (u64, u64)>>,
}

thread_local! {
    // Only the event loop's thread uses it. It is ready from the start and never dropped, so that no
    // request has to ask whether it is there: pools are still destroyed when the process exits.
    static WORKER: ManuallyDrop<Worker> = const { ManuallyDrop::new(Worker::new()) };
}

/// The zone of the newest configuration: that of an older one may be gone after a reload
/// without a master process.
fn zone() -> Option<SharedZone> {
    WORKER.with(|worker| {
        let zone = worker.zone.get();
        zone.or_else(|| {
            let zone = newest().and_then(|main| main.zone.zone());
            worker.zone.set(zone);
            zone
        })
    })
}

/// The newest configuration.
fn newest() -> Option<&'static MainConf> {
    // SAFETY: inside a callback the current cycle is live.
    AuthgearModule::main_conf(unsafe { &*nginx_sys::ngx_cycle })
}

/// Forgets what depends on the configuration: it is being replaced. Without a master process this
/// process will go on with the new one.
pub fn renew() {
    WORKER.with(|worker| {
        worker.zone.set(None);
        worker.backed.replace(None);
        worker.store.replace(None);
        worker.tokens.replace(None);
        worker.digester.set(None);
    });
}

/// Fetches the keys of every fixed endpoint and makes room for tokens, so that the first request finds
/// both.
pub fn start(cycle: &ngx_cycle_t) {
    // SAFETY: written before the worker starts.
    let process = unsafe { ngx_process } as u32;
    if process != NGX_PROCESS_SINGLE && process != NGX_PROCESS_WORKER {
        return;
    }
    let Some(main) = AuthgearModule::main_conf(cycle) else {
        return;
    };
    if !main.projects.is_empty() {
        with_tokens(|_| ());
    }
    for tenant in main
        .projects
        .iter()
        .filter_map(|project| project.fixed_tenant())
    {
        if let Keys::Remote(remote) = &tenant.keys {
            ask(remote, Need::Keys);
        }
    }
}

/// Asks for the keys of a source; see [`refresh::ask`].
pub fn ask(remote: &Remote, need: Need) -> Answer {
    WORKER.with(|worker| {
        let Some(zone) = zone() else {
            return Answer::Unavailable(1);
        };
        let mut slots = worker.slots.get();
        let answer = {
            let mut store = worker.store.borrow_mut();
            let store = store.get_or_insert_with(|| KeyStore::new(zone));
            refresh::ask(store, remote, need, &mut slots, now())
        };
        worker.slots.set(slots);
        if slots.count() > 0 {
            worker.arm();
        }
        answer
    })
}

/// Lets a request wait for a slot in which its keys are fetched, for the time that the fetch may take,
/// counted from when it first had to wait.
pub fn may_queue(context: &Context, remote: &Remote) -> bool {
    let now = now();
    let until = context.queued_until.get().unwrap_or_else(|| {
        let until = now.saturating_add(remote.source.timeout.as_millis() as u64);
        context.queued_until.set(Some(until));
        until
    });
    now < until
}

/// Tells whether keys that may be used now back a signature; `None` when there are none. Starts a
/// fetch as [`ask`] does.
pub fn is_backed(remote: &Remote, by: &SignedBy, allowed: AlgorithmSet) -> Option<bool> {
    let (now, generation) = (now(), zone()?.generation());
    let is_known = WORKER.with(|worker| {
        worker.backed.borrow().as_ref().is_some_and(|known| {
            known.now == now
                && known.generation == generation
                && known.allowed == allowed
                && known.by == *by
                && known.source == remote.id
        })
    });
    if is_known {
        return Some(true);
    }
    let Answer::Keys(keys) = ask(remote, Need::Keys) else {
        return None;
    };
    let is_backed = by.is_backed_by(&keys, allowed);
    if is_backed {
        let backed = Backed {
            now,
            generation,
            source: remote.id,
            by: *by,
            allowed,
        };
        WORKER.with(|worker| worker.backed.replace(Some(backed)));
    }
    Some(is_backed)
}

/// Uses the table of the resolver's answers at the present time; `None` when there is none.
pub fn with_resolver_cache<T>(use_it: impl FnOnce(&mut Table, u64) -> T) -> Option<T> {
    let now = now();
    zone()?.with_resolver_cache(|table| use_it(table, now))
}

/// The key of a tenant's question in the table of the resolver's answers, which is prefetched.
pub fn question_key(tenant: &Id, parts: &[&[u8]]) -> Option<Key> {
    let zone = zone()?;
    let digester = WORKER.with(|worker| {
        let digester = worker.digester.get();
        digester.or_else(|| {
            let digester = Digester::with(zone.resolver_cache_key()?);
            worker.digester.set(Some(digester));
            Some(digester)
        })
    })?;
    let mut all: SmallVec<[&[u8]; 16]> = SmallVec::new();
    all.push(tenant);
    all.extend_from_slice(parts);
    let key = Key {
        tenant: *tenant,
        digest: digester.of(Kind::Question, &all),
    };
    zone.prefetch(&key.digest);
    Some(key)
}

/// Prefetches what the table of the resolver's answers has under a digest.
pub fn prefetch_answer(digest: &Digest) {
    if let Some(zone) = zone() {
        zone.prefetch(digest);
    }
}

/// Counts what `observe` would have refused; see [`Counters::count`](crate::shm::counters::Counters::count).
pub fn count(project: &str, reason: Reason) -> Option<u64> {
    zone()?.counters().count(project, reason)
}

/// Wakes those who wait for what has just come, before the event loop sleeps again.
pub fn announce() {
    WORKER.with(|worker| {
        if !worker.waiters.borrow().is_empty() {
            worker.arm();
            if let Some(timer) = worker.timer.get() {
                // SAFETY: the event is never freed. It may stand in the queue of posted events and
                // among the timers at the same time.
                unsafe {
                    fields::post_event(timer.as_ptr(), ptr::addr_of_mut!(ngx_posted_events));
                }
            }
        }
    });
}

/// Logs a line at most once a second for each topic of each project, and more of them at level `info`:
/// no client can fill the log. The next line says how many there were, if they were many.
pub fn log_limited(r: &Request, level: u32, topic: Topic, line: fmt::Arguments<'_>) {
    const MANY: u64 = 10;
    let second = now() / 1000;
    let more = WORKER.with(|worker| {
        let mut logged = worker.logged.borrow_mut();
        let (last, more) = logged.entry(topic).or_insert((0, 0));
        if *last == second {
            *more += 1;
            return None;
        }
        *last = second;
        Some(mem::take(more))
    });
    let (level, more) = match more {
        None => (NGX_LOG_INFO, 0),
        Some(more) => (level, more),
    };
    if more < MANY {
        ngx_log_error!(level, r.log(), "authgear: {line}");
    } else {
        ngx_log_error!(
            level,
            r.log(),
            "authgear: {line}, and {more} like it before, logged at level info"
        );
    }
}

/// Suspends a request until there is news of its keys.
pub fn wait_for_keys(r: &Request, context: &Context, source: Id) -> ngx_int_t {
    let Some(zone) = zone() else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    let now = now();
    let awaited = WORKER.with(|worker| {
        let mut store = worker.store.borrow_mut();
        let store = store.get_or_insert_with(|| KeyStore::new(zone));
        let since = store.last_change(&source, now);
        match context.queued_until.get() {
            Some(until) if !store.is_fetched(&source, now) => Awaited::Slot {
                source,
                since,
                standing: store.standing(&source, now),
                until,
            },
            _ => Awaited::Keys { source, since },
        }
    });
    wait(r, &context.stage, awaited)
}

/// Uses the cache of verified tokens; `None` when `authgear_token_cache` is `off`.
pub fn with_tokens<T>(use_it: impl FnOnce(&mut TokenCache) -> T) -> Option<T> {
    WORKER.with(|worker| {
        let mut tokens = worker.tokens.borrow_mut();
        let tokens =
            tokens.get_or_insert_with(|| TokenCache::new(newest()?.token_cache.capacity()?).ok());
        tokens.as_mut().map(use_it)
    })
}

/// Suspends a request until another has an answer to the same question.
pub fn wait_for_answer(r: &Request, context: &Context, key: Key) -> ngx_int_t {
    if context.waiting_since.get().is_none() {
        context.waiting_since.set(Some(now()));
    }
    wait(r, &context.stage, Awaited::Answer(key))
}

fn wait(r: &Request, stage: &Cell<Stage>, awaited: Awaited) -> ngx_int_t {
    WORKER.with(|worker| {
        if r.is_main() {
            // SAFETY: the request and its connection are live. Of a subrequest nginx itself asks
            // nothing while it waits; the client's own request watches the connection.
            unsafe {
                let request = r.raw();
                if ngx_handle_read_event((*(*request).connection).read, 0) != NGX_OK as ngx_int_t {
                    return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
                }
                (*request).read_event_handler = Some(ngx_http_test_reading);
                (*request).write_event_handler = Some(ngx_http_request_empty_handler);
            }
        }
        let id = WaiterId(worker.next_waiter.get());
        worker.next_waiter.set(id.0 + 1);
        let request = r.as_non_null();
        worker
            .waiters
            .borrow_mut()
            .insert(id, Waiter { request, awaited });
        stage.set(Stage::Waiting(id));
        worker.arm();
        NGX_AGAIN as ngx_int_t
    })
}

/// Tells a request that still waits.
pub fn is_waiting(id: WaiterId) -> bool {
    WORKER.with(|worker| worker.waiters.borrow().contains_key(&id))
}

/// The request waits no more: its client has left, or it is answered.
pub fn forget(id: WaiterId) {
    WORKER.with(|worker| worker.waiters.borrow_mut().remove(&id));
}

impl Worker {
    const fn new() -> Worker {
        Worker {
            zone: Cell::new(None),
            backed: RefCell::new(None),
            store: RefCell::new(None),
            tokens: RefCell::new(None),
            digester: Cell::new(None),
            waiters: RefCell::new(BTreeMap::new()),
            next_waiter: Cell::new(0),
            slots: Cell::new(Slots::new()),
            timer: Cell::new(None),
            logged: RefCell::new(BTreeMap::new()),
        }
    }

    /// Sets the timer unless it is set.
    fn arm(&self) {
        let event = self.timer.get().unwrap_or_else(|| {
            let event = new_timer();
            self.timer.set(Some(event));
            event
        });
        // SAFETY: the event was made by `new_timer` and is never freed; its log is that of the
        // newest configuration.
        unsafe {
            (*event.as_ptr()).log = (*nginx_sys::ngx_cycle).log;
            if !fields::event::timer_set(event.as_ref()) {
                fields::add_timer(event.as_ptr(), POLL);
            }
        }
    }

    /// Takes in what has come, and resumes the requests that it concerns, the first to wait first.
    /// Resuming one may end others: each is looked for again in the queue, which a request leaves
    /// when it ends.
    fn poll(&self) {
        let Some(zone) = zone() else {
            return;
        };
        let now = now();
        let woken: Vec<WaiterId> = {
            let mut store = self.store.borrow_mut();
            let store = store.get_or_insert_with(|| KeyStore::new(zone));
            let mut slots = self.slots.get();
            refresh::collect(store, &mut slots, now);
            self.slots.set(slots);
            let waiters = self.waiters.borrow();
            // In the order in which they came: each that is resumed for a slot will take it.
            let mut has_news = |waiter: &Waiter| match &waiter.awaited {
                Awaited::Keys { source, since } => store.has_news(source, *since, now),
                Awaited::Slot {
                    source,
                    since,
                    standing,
                    until,
                } => {
                    now >= *until
                        || store.last_change(source, now) != *since
                        || store.is_fetched(source, now)
                        || slots.take(*standing)
                }
                Awaited::Answer(key) => zone
                    .with_resolver_cache(|table| !table.look_up(key, now).is_asked)
                    .unwrap_or(true),
            };
            let woken = waiters.iter().filter(|(_, waiter)| has_news(waiter));
            woken.map(|(id, _)| *id).collect()
        };
        for id in woken {
            let waiter = self.waiters.borrow_mut().remove(&id);
            if let Some(waiter) = waiter {
                // SAFETY: a request that goes away leaves the queue, so this one is live.
                unsafe { resume(waiter.request) };
            }
        }
        if self.slots.get().count() > 0 || !self.waiters.borrow().is_empty() {
            self.arm();
        }
    }
}

/// Runs a request's phases again, and whatever that sets going. Called from the event loop alone.
///
/// # Safety
///
/// The request must be live and suspended by `wait`.
unsafe fn resume(request: NonNull<ngx_http_request_t>) {
    // SAFETY: the caller vouches for the request; its connection is looked up before it may end.
    unsafe {
        let request = request.as_ptr();
        let connection = (*request).connection;
        let is_main = (*request).main == request;
        if is_main {
            if ngx_handle_read_event((*connection).read, 0) != NGX_OK as ngx_int_t {
                ngx_http_finalize_request(request, NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t);
                ngx_http_run_posted_requests(connection);
                return;
            }
            (*request).read_event_handler = Some(ngx_http_block_reading);
        }
        (*request).write_event_handler = Some(ngx_http_core_run_phases);
        if ngx_http_post_request(request, ptr::null_mut()) == NGX_OK as ngx_int_t {
            ngx_http_run_posted_requests(connection);
        }
    }
}

/// A timer event that lives as long as the process.
fn new_timer() -> NonNull<ngx_event_t> {
    // SAFETY: all-zero is how nginx makes both structures. nginx's debug log reads the number of
    // the connection behind an event, so there is one.
    unsafe {
        let connection: &'static mut ngx_connection_t = Box::leak(Box::new(mem::zeroed()));
        connection.fd = -1;
        let event: &'static mut ngx_event_t = Box::leak(Box::new(mem::zeroed()));
        event.data = ptr::from_mut(connection).cast();
        event.handler = Some(on_timer);
        NonNull::from(event)
    }
}

unsafe extern "C" fn on_timer(_: *mut ngx_event_t) {
    guard((), || WORKER.with(|worker| worker.poll()));
}
