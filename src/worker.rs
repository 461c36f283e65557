//! The state of one worker process that depends on the configuration: the zone, key sets, remembered
//! tokens. It knows no request.

use core::cell::{Cell, RefCell};
use core::hint::black_box;
use core::mem::ManuallyDrop;
use core::ptr;

use authgear_core::credential::MAX_TOKEN;
use authgear_core::digest::{Digester, Kind, TokenDigests};
use authgear_core::keys::freshness::Need;
use authgear_core::keys::slots::Slots;
use authgear_core::status::{Cause, Count};
use authgear_core::token::{SignedBy, TokenCache};
use authgear_core::AlgorithmSet;
use authgear_tables::counters::Counters;
use authgear_tables::early::Slip;
use authgear_tables::judgements::{Key, Known, Text, Writer};
use nginx_sys::ngx_cycle_t;
use ngx::http::HttpModuleMainConf;
use smallvec::SmallVec;

use crate::conf::{AuthgearModule, MainConf, Project};
use crate::keys::{refresh, AwaitedKeys, Fetches, KeySource, KeyStatus, KeyStore, Keys};
use crate::nginx::{now, serves_requests, update_time, Timer};
use crate::shm::{Id, SharedZone};

mod counting;
mod questions;
mod revocation;

pub use questions::*;
pub use revocation::*;

/// How often a worker looks for finished fetches and answers while it waits for some, in milliseconds.
const POLL: usize = 15;

/// The last key check that succeeded; valid within the same millisecond and zone generation.
struct CheckedKey {
    now: u64,
    generation: u64,
    source: Id,
    by: SignedBy,
    allowed: AlgorithmSet,
}

struct Worker {
    /// The newest cycle with this module. It is compared, never followed.
    cycle: Cell<*const ngx_cycle_t>,
    zone: Cell<Option<SharedZone>>,
    /// One is enough: most tokens are signed by one key.
    checked_key: RefCell<Option<CheckedKey>>,
    store: RefCell<Option<KeyStore>>,
    /// `Some(None)` where this worker keeps none; see [`with_tokens`].
    tokens: RefCell<Option<Option<TokenCache>>>,
    digester: Cell<Option<Digester>>,
    user_digester: Cell<Option<Digester>>,
    /// Fetches under way in this worker.
    fetches: RefCell<Fetches>,
    /// Runs while keys are fetched or requests wait.
    timer: Cell<Option<Timer>>,
}

thread_local! {
    // Only the event loop's thread uses it. It is ready from the start and never dropped, so that no
    // request has to ask whether it is there: pools are still destroyed when the process exits.
    static WORKER: ManuallyDrop<Worker> = const { ManuallyDrop::new(Worker::new()) };
}

/// The zone of the newest configuration, for the status page.
pub fn shared_zone() -> Option<SharedZone> {
    zone()
}

/// The zone of the newest configuration: that of an older one may be gone after a reload
/// without a master process.
fn zone() -> Option<SharedZone> {
    let cycle = current_cycle()?;
    WORKER.with(|worker| {
        let zone = worker.zone.get();
        zone.or_else(|| {
            let zone = AuthgearModule::main_conf(cycle).and_then(|main| main.zone.zone());
            worker.zone.set(zone);
            zone
        })
    })
}

/// nginx's current cycle; `None` if it is one without this module, whose requests may outlive a reload
/// that no longer loads it.
fn current_cycle() -> Option<&'static ngx_cycle_t> {
    // SAFETY: inside a callback the current cycle is live.
    let cycle: &'static ngx_cycle_t = unsafe { &*nginx_sys::ngx_cycle };
    WORKER.with(|worker| ptr::eq(worker.cycle.get(), cycle).then_some(cycle))
}

/// Drops what depends on the configuration, which is being replaced. Without a master process this
/// process will go on with the new one, which is `cycle`.
pub fn reset(cycle: *const ngx_cycle_t) {
    WORKER.with(|worker| {
        worker.cycle.set(cycle);
        worker.zone.set(None);
        worker.checked_key.replace(None);
        worker.store.replace(None);
        worker.tokens.replace(None);
        worker.digester.set(None);
        worker.user_digester.set(None);
    });
    counting::reset();
}

/// Fetches the keys of every fixed endpoint and makes room for tokens, so that the first request finds
/// both. `poll` is called every 15 milliseconds while keys are fetched or [`poll_soon`] asks for it.
pub fn start(cycle: &ngx_cycle_t, poll: fn()) {
    if !serves_requests() {
        return;
    }
    let Some(main) = AuthgearModule::main_conf(cycle) else {
        return;
    };
    WORKER.with(|worker| worker.timer.set(Some(Timer::new(poll))));
    if main
        .projects
        .iter()
        .any(|project| project.resolve_request.is_some())
    {
        keep_heap();
    }
    if !main.projects.is_empty() {
        with_tokens(|_| ());
    }
    for tenant in main
        .projects
        .iter()
        .filter_map(|project| project.fixed_tenant())
    {
        if let Keys::Remote(source) = &tenant.keys {
            ask(source, Need::Keys);
        }
    }
}

/// Makes glibc keep up to 2 MiB of free heap: after a mapped block is freed it keeps twice that block's size
/// (mallopt(3), `M_MMAP_THRESHOLD`). Without this the heap grows and shrinks with the buffers of questions to the
/// resolver, 96 KiB each.
fn keep_heap() {
    drop(black_box(Vec::<u8>::with_capacity(1 << 20)));
}

/// Asks for the keys of a source; see [`refresh::ask`].
pub fn ask(source: &KeySource, need: Need) -> KeyStatus {
    let asked = with_store(|store, fetches, _| refresh::ask(store, source, need, fetches, now()));
    if is_fetching() {
        poll_soon();
    }
    asked.unwrap_or(KeyStatus::Unavailable(1))
}

/// True when the key of a signature is in a set that may be used now; `None` when there is no such set.
/// Starts a fetch as [`ask`] does.
pub fn is_backed(source: &KeySource, by: &SignedBy, allowed: AlgorithmSet) -> Option<bool> {
    let (now, generation) = (now(), zone()?.generation());
    let is_known = WORKER.with(|worker| {
        worker.checked_key.borrow().as_ref().is_some_and(|known| {
            known.now == now
                && known.generation == generation
                && known.allowed == allowed
                && known.by == *by
                && known.source == source.id
        })
    });
    if is_known {
        return Some(true);
    }
    let KeyStatus::Keys(keys) = ask(source, Need::Keys) else {
        return None;
    };
    let is_backed = by.is_backed_by(&keys, allowed);
    if is_backed {
        let checked = CheckedKey {
            now,
            generation,
            source: source.id,
            by: *by,
            allowed,
        };
        WORKER.with(|worker| worker.checked_key.replace(Some(checked)));
    }
    Some(is_backed)
}

/// The judgements under a key; their text is copied into `text`, if given.
pub fn judgement(key: &Key, text: Option<&mut Text>) -> Known {
    let Some(zone) = zone() else {
        return Known::default();
    };
    let known = zone.read(key, now(), text);
    counting::count_lookup(&known, zone);
    known
}

/// Counts a question that a client's network causes before any limit; `None` where it has asked as often as it
/// may.
pub fn take_early_question(network: &[u8]) -> Option<Slip> {
    // The event loop's clock may be late by all that it has done since, and the second would end too early.
    update_time();
    zone()?.take_early_question(network, now())
}

/// Counts such a question no more, which ended with a yes or was not asked.
pub fn give_back_early_question(slip: Slip) {
    if let Some(zone) = zone() {
        zone.give_back_early_question(slip);
    }
}

/// Changes the table of judgements at the current time; `None` when there is none.
pub fn change_judgements<T>(change: impl FnOnce(&mut Writer<'_>, u64) -> T) -> Option<T> {
    let now = now();
    zone()?.change(|writer| change(writer, now))
}

/// The key of a tenant's question in the table of judgements.
pub fn question_key(tenant: &Id, parts: &[&[u8]]) -> Option<Key> {
    let mut all: SmallVec<[&[u8]; 16]> = SmallVec::new();
    all.push(tenant);
    all.extend_from_slice(parts);
    Some(Key {
        tenant: *tenant,
        digest: digester()?.of(Kind::Question, &all),
    })
}

/// The digests of a token for a tenant; `None` when the text is too long for a token or has no dot.
pub fn token_digests(tenant: &Id, token: &[u8]) -> Option<TokenDigests> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    digester()?.of_token(tenant, token)
}

/// Makes the digests of the table of judgements.
fn digester() -> Option<Digester> {
    WORKER.with(|worker| {
        let digester = worker.digester.get();
        digester.or_else(|| {
            let digester = Digester::with(zone()?.judgements()?.digest_key());
            worker.digester.set(Some(digester));
            Some(digester)
        })
    })
}

/// The counters of a project; `None` where the zone had no room for them, or is gone.
pub fn counters(project: &Project) -> Option<Counters> {
    current_cycle()?;
    counting::counters(project, zone)
}

/// Counts a response that was cut off.
pub fn count_closed(cause: Cause) {
    if let Some(own) = zone().and_then(SharedZone::own_counters) {
        own.count(Count::Closed(cause));
    }
}

/// Counts one more.
pub fn count(project: &Project, count: Count) {
    if let Some(counters) = counters(project) {
        counters.count(count);
    }
}

/// The configuration of the `http` block, if it has this module.
pub fn main_conf() -> Option<&'static MainConf> {
    AuthgearModule::main_conf(current_cycle()?)
}

/// Says how many requests wait in this worker.
pub fn set_waiting(requests: usize) {
    if let Some(zone) = zone() {
        counting::set_waiting(requests, zone);
    }
}

/// Uses the verified tokens that this worker keeps; `None` when `authgear_token_cache` is `off`.
pub fn with_tokens<T>(use_it: impl FnOnce(&mut TokenCache) -> T) -> Option<T> {
    WORKER.with(|worker| {
        let mut tokens = worker.tokens.borrow_mut();
        let tokens = tokens.get_or_insert_with(|| {
            let main = AuthgearModule::main_conf(current_cycle()?)?;
            Some(TokenCache::new(main.token_cache.capacity()?))
        });
        tokens.as_mut().map(use_it)
    })
}

/// Uses the key store and the fetches; `None` when there is no zone.
fn with_store<T>(use_it: impl FnOnce(&mut KeyStore, &mut Fetches, SharedZone) -> T) -> Option<T> {
    let zone = zone()?;
    WORKER.with(|worker| {
        let mut store = worker.store.borrow_mut();
        let store = store.get_or_insert_with(|| KeyStore::new(zone));
        Some(use_it(store, &mut worker.fetches.borrow_mut(), zone))
    })
}

/// The next change of a source's keys; see [`AwaitedKeys::new`].
pub fn await_keys(source: Id, queued_until: Option<u64>) -> Option<AwaitedKeys> {
    with_store(|store, _, _| AwaitedKeys::new(store, source, queued_until, now()))
}

/// Finished fetches and answers, for the requests that wait for them.
pub struct Finished<'a> {
    store: &'a mut KeyStore,
    /// A copy: a slot is kept for each request that is resumed to take it.
    slots: Slots,
    zone: SharedZone,
    now: u64,
}

impl Finished<'_> {
    /// True when a request that waits for these keys should be resumed.
    pub fn has_keys(&mut self, awaited: &AwaitedKeys) -> bool {
        awaited.is_due(self.store, &mut self.slots, self.now)
    }

    /// True when nobody asks the resolver that question any more, or it is suspended.
    pub fn has_answer(&self, key: &Key, project: usize) -> bool {
        let project = main_conf().and_then(|main| main.projects.get(project));
        let is_suspended = project.is_some_and(|project| is_suspended(project, &key.tenant));
        is_suspended || !self.zone.read(key, self.now, None).is_asked
    }
}

/// Processes finished fetches, and calls `look` to find the requests to resume.
pub fn collect<T>(look: impl FnOnce(&mut Finished<'_>) -> T) -> Option<T> {
    let now = now();
    with_store(|store, fetches, zone| {
        refresh::collect(store, fetches, now);
        look(&mut Finished {
            store,
            slots: fetches.slots(),
            zone,
            now,
        })
    })
}

/// True while this worker fetches keys.
pub fn is_fetching() -> bool {
    WORKER.with(|worker| worker.fetches.borrow().slots().count() > 0)
}

/// Looks for finished fetches and answers within 15 milliseconds.
pub fn poll_soon() {
    if let Some(timer) = WORKER.with(|worker| worker.timer.get()) {
        timer.set(POLL);
    }
}

/// Looks for finished fetches and answers before the event loop sleeps again.
pub fn poll_now() {
    poll_soon();
    if let Some(timer) = WORKER.with(|worker| worker.timer.get()) {
        timer.post();
    }
}

impl Worker {
    const fn new() -> Worker {
        Worker {
            cycle: Cell::new(ptr::null()),
            zone: Cell::new(None),
            checked_key: RefCell::new(None),
            store: RefCell::new(None),
            tokens: RefCell::new(None),
            digester: Cell::new(None),
            user_digester: Cell::new(None),
            fetches: RefCell::new(Fetches::new()),
            timer: Cell::new(None),
        }
    }
}
