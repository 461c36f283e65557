//! Revocations in `state_path`: saved on a thread, and read at the start.
//!
//! One thread at a time saves for a worker, all that came meanwhile at once. The webhook is answered when
//! its event is on the disk.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::mem::{self, ManuallyDrop};
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use authgear_core::revocation::journal::{self, Record};
use authgear_core::revocation::stream::Address;
use authgear_core::status::{Count, Received};
use nginx_sys::{
    ngx_cycle_t, ngx_http_finalize_request, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_int_t, NGX_HTTP_NO_CONTENT, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_LOG_ERR, NGX_LOG_WARN,
};
use ngx::http::HttpModuleMainConf;
use ngx::log::ngx_cycle_log;
use ngx::ngx_log_error;

use super::shared::{folders, tell, Shared};
use crate::conf::AuthgearModule;
use crate::log::log_limited;
use crate::nginx::{guard, now, spawn, Failed, Request, Timer};
use crate::worker;

/// How often a worker looks whether its thread has ended, in milliseconds.
const POLL: usize = 5;
/// How long JWTs wait at most, after a start, for what the stream has told so far, in milliseconds.
const LEARNING: u64 = 5_000;
/// The time between two attempts to tell other nodes, in milliseconds.
const RETRY: u64 = 300;

/// The number under which no webhook waits.
const NOBODY: u64 = 0;

/// An event to be saved, or shared with other nodes.
#[derive(Debug)]
pub struct Save {
    /// The folder of its project, and what was heard.
    pub journal: Option<(Arc<Path>, Record)>,
    /// The webhook.
    pub shared: Option<Shared>,
    /// Unix seconds.
    pub now: u64,
    /// How long a revocation is kept, in seconds.
    pub keep: u64,
}

impl Save {
    fn shared_alone(shared: Shared) -> Save {
        Save {
            journal: None,
            shared: Some(shared),
            now: nginx_sys::ngx_timeofday().sec as u64,
            keep: 0,
        }
    }
}

/// A webhook whose event a thread has saved and shared, or not.
struct Ended {
    id: u64,
    error: Option<String>,
    /// The webhook, and whether other nodes were told.
    shared: Option<(Shared, bool)>,
}

/// Results of this process' threads, until the event loop reads them.
static ENDED: Mutex<Vec<Ended>> = Mutex::new(Vec::new());

struct Saver {
    last_id: Cell<u64>,
    queued: RefCell<Vec<(u64, Save)>>,
    is_running: Cell<bool>,
    /// Webhooks to be answered, with the number of their project.
    waiting: RefCell<BTreeMap<u64, (NonNull<ngx_http_request_t>, usize)>>,
    timer: Cell<Option<Timer>>,
    /// Webhooks that other nodes do not have yet and the zone has no room for; `tried_at` is when they were last sent.
    unsent: RefCell<Vec<Shared>>,
    tried_at: Cell<u64>,
}

thread_local! {
    // Only the event loop's thread uses it. It is never dropped, since pools are still destroyed when
    // the process exits.
    static SAVER: ManuallyDrop<Saver> = const {
        ManuallyDrop::new(Saver {
            last_id: Cell::new(0),
            queued: RefCell::new(Vec::new()),
            is_running: Cell::new(false),
            waiting: RefCell::new(BTreeMap::new()),
            timer: Cell::new(None),
            unsent: RefCell::new(Vec::new()),
            tried_at: Cell::new(0),
        })
    };
}

/// Saves and shares what a webhook told, and answers it then: 204, or 503 if either failed.
pub fn save_and_answer(r: &Request, project: usize, save: Save) -> Result<(), Failed> {
    SAVER.with(|saver| {
        let id = saver.last_id.get() + 1;
        saver.last_id.set(id);
        // SAFETY: `forget` takes the number of a webhook, to which nothing refers.
        unsafe { r.pool().alloc_with_cleanup(id, forget)? };
        saver
            .waiting
            .borrow_mut()
            .insert(id, (r.as_non_null(), project));
        saver.queued.borrow_mut().push((id, save));
        start(saver);
        Ok(())
    })
}

/// Saves what the stream told. Nobody waits for it.
pub fn save(journal: (Arc<Path>, Record), now: u64, keep: u64) {
    SAVER.with(|saver| {
        let save = Save {
            journal: Some(journal),
            shared: None,
            now,
            keep,
        };
        saver.queued.borrow_mut().push((NOBODY, save));
        start(saver);
    });
}

/// Runs when a webhook's request is over, answered or not.
unsafe extern "C" fn forget(id: *mut c_void) {
    guard((), || {
        // SAFETY: nginx calls this once, with the number that `save_and_answer` allocated.
        let id = unsafe { *id.cast::<u64>() };
        SAVER.with(|saver| saver.waiting.borrow_mut().remove(&id));
    });
}

/// Tells other nodes again what could not be told. What the zone keeps, and the worker that received it no longer
/// tells, is told by the one that reads the stream.
pub fn retry(address: &Arc<Address>, is_reader: bool) {
    SAVER.with(|saver| {
        let is_time = now() >= saver.tried_at.get() + RETRY;
        if saver.is_running.get() || !is_time {
            return;
        }
        let mut again = mem::take(&mut *saver.unsent.borrow_mut());
        if is_reader {
            again.extend(Shared::take_kept(address));
        }
        let again = again.into_iter();
        let again = again.map(|shared| (NOBODY, Save::shared_alone(shared)));
        saver.queued.borrow_mut().extend(again);
        start(saver);
    });
}

/// Starts the thread, unless it runs or has nothing to do.
fn start(saver: &Saver) {
    if saver.is_running.get() || saver.queued.borrow().is_empty() {
        return;
    }
    let work = mem::take(&mut *saver.queued.borrow_mut());
    let fail = |ids: &[u64], error: &str| {
        let ended = |id: &u64| Ended {
            id: *id,
            error: Some(error.to_string()),
            shared: None,
        };
        let mut all = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(ids.iter().map(ended));
    };
    let ids: Vec<u64> = work.iter().map(|(id, _)| *id).collect();
    let of_thread = ids.clone();
    let run = move || match catch_unwind(AssertUnwindSafe(|| run(work))) {
        Ok(ended) => {
            let mut all = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(ended);
        }
        Err(_) => fail(&of_thread, "the thread panicked"),
    };
    saver.is_running.set(true);
    saver.tried_at.set(now());
    if let Err(error) = spawn(run) {
        fail(&ids, &format!("cannot start a thread: {error}"));
    }
    let timer = saver.timer.get().unwrap_or_else(|| Timer::new(poll));
    saver.timer.set(Some(timer));
    timer.set(POLL);
}

/// The body of the thread: saves folder by folder, then tells other nodes.
fn run(work: Vec<(u64, Save)>) -> Vec<Ended> {
    let now = work.iter().map(|(_, save)| save.now).max().unwrap_or(0);
    let keep = work.iter().map(|(_, save)| save.keep).max().unwrap_or(0);
    let mut folders: BTreeMap<&Path, Vec<Record>> = BTreeMap::new();
    for (folder, record) in work.iter().filter_map(|(_, save)| save.journal.as_ref()) {
        folders.entry(folder).or_default().push(record.clone());
    }
    let save = |(folder, records): (_, Vec<Record>)| {
        let error = journal::append(folder, &records, now, keep).err()?;
        Some((
            folder,
            format!("cannot be saved in \"state_path\": {error}"),
        ))
    };
    let unsaved: BTreeMap<&Path, String> = folders.into_iter().filter_map(save).collect();
    let shared: Vec<_> = work
        .iter()
        .filter_map(|(_, save)| save.shared.as_ref())
        .collect();
    let unshared = tell(&shared, now);
    let end = |(id, save): &(u64, Save)| {
        let folder = save.journal.as_ref().map(|(folder, _)| &**folder);
        let unsaved = folder.and_then(|folder| unsaved.get(folder));
        let unshared = unshared.as_ref().filter(|_| save.shared.is_some());
        Ended {
            id: *id,
            error: unsaved.or(unshared).cloned(),
            shared: save
                .shared
                .clone()
                .map(|shared| (shared, unshared.is_none())),
        }
    };
    work.iter().map(end).collect()
}

/// Answers the webhooks whose thread has ended, and starts the next one. The handler of the timer.
fn poll() {
    let ended = mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
    SAVER.with(|saver| {
        if !ended.is_empty() {
            saver.is_running.set(false);
        }
        let of_stream = |ended: &&Ended| ended.id == NOBODY && ended.shared.is_none();
        let unsaved = ended
            .iter()
            .filter(of_stream)
            .find_map(|ended| ended.error.as_deref());
        if let Some(error) = unsaved {
            let log = ngx_cycle_log().as_ptr();
            ngx_log_error!(NGX_LOG_ERR, log, "authgear: revocation stream: {error}");
        }
        for Ended { id, error, shared } in ended {
            match shared {
                Some((shared, true)) => shared.forget(),
                Some((shared, false)) => saver.unsent.borrow_mut().extend(shared.give_back()),
                None => {}
            }
            // Answering one may end others, which are forgotten then: each is looked for again.
            let waiting = saver.waiting.borrow_mut().remove(&id);
            if let Some((request, project)) = waiting {
                // SAFETY: a request that goes away is forgotten, so this one is live.
                guard((), || unsafe { answer(request, project, error.as_deref()) });
            }
        }
        start(saver);
        if let Some(timer) = saver.timer.get().filter(|_| saver.is_running.get()) {
            timer.set(POLL);
        }
    });
}

/// Answers a webhook from the event loop.
///
/// # Safety
///
/// The request must be live, and wait for its answer.
unsafe fn answer(request: NonNull<ngx_http_request_t>, project: usize, error: Option<&str>) {
    // SAFETY: the caller vouches for the request.
    let r = unsafe { Request::from_raw(request.as_ptr()) };
    let mut status = NGX_HTTP_NO_CONTENT;
    if let Some(error) = error {
        let name = &r.main_conf().projects[project].name;
        log_limited(
            &r,
            NGX_LOG_ERR,
            (project, "save"),
            format_args!("webhook of project \"{name}\": {error}"),
        );
        status = NGX_HTTP_SERVICE_UNAVAILABLE;
    }
    let received = if error.is_none() {
        Received::Accepted
    } else {
        Received::Unavailable
    };
    worker::count(&r.main_conf().projects[project], Count::Webhook(received));
    // SAFETY: the connection is looked up before the request may end.
    unsafe {
        let connection = (*request.as_ptr()).connection;
        ngx_http_finalize_request(request.as_ptr(), status as ngx_int_t);
        ngx_http_run_posted_requests(connection);
    }
}

/// Reads what was saved into a table that is new, before the workers start.
pub fn restore(cycle: &ngx_cycle_t) {
    let Some(main) = AuthgearModule::main_conf(cycle) else {
        return;
    };
    let Some(zone) = main.zone.zone() else {
        return;
    };
    let is_new = main.zone.has_new_revocations();
    match main.stream.address() {
        Some(_) if is_new => zone.learn_until(crate::nginx::now() + LEARNING),
        Some(_) => {}
        // A reload may add one.
        None => zone.forget_stream(),
    }
    if !is_new {
        return;
    }
    let (now, keep) = (
        nginx_sys::ngx_timeofday().sec as u64,
        main.revocation_keep(),
    );
    for folder in &folders(main) {
        let path = folder.display();
        let loaded = match journal::load(folder, now, keep) {
            Ok(loaded) => loaded,
            Err(error) => {
                ngx_log_error!(
                    NGX_LOG_ERR,
                    cycle.log,
                    "authgear: saved revocations: cannot read them in \"{path}\": {error}"
                );
                continue;
            }
        };
        if loaded.ignored > 0 {
            let lines = loaded.ignored;
            ngx_log_error!(
                NGX_LOG_WARN,
                cycle.log,
                "authgear: saved revocations: ignored {lines} broken lines in \"{path}\""
            );
        }
        for record in loaded.records {
            for name in &record.names {
                worker::revoke_in(zone, name, &record.user, &record.state, keep, now);
            }
        }
    }
}
