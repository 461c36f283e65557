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
use nginx_sys::{
    ngx_cycle_t, ngx_http_finalize_request, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_int_t, NGX_HTTP_NO_CONTENT, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_LOG_ERR, NGX_LOG_WARN,
};
use ngx::http::HttpModuleMainConf;
use ngx::ngx_log_error;

use crate::conf::AuthgearModule;
use crate::log::log_limited;
use crate::nginx::{guard, spawn, Failed, Request, Timer};
use crate::worker;

/// How often a worker looks whether its thread has ended, in milliseconds.
const POLL: usize = 5;

/// An event to be saved.
#[derive(Debug)]
pub struct Save {
    /// The folder of its project.
    pub folder: Arc<Path>,
    /// What was heard.
    pub record: Record,
    /// Unix seconds.
    pub now: u64,
    /// How long a revocation is kept, in seconds.
    pub keep: u64,
}

/// Webhooks whose event a thread has saved, or not.
struct Ended {
    ids: Vec<u64>,
    error: Option<String>,
}

/// What this process' threads have ended, until the event loop reads it.
static ENDED: Mutex<Vec<Ended>> = Mutex::new(Vec::new());

struct Saver {
    last_id: Cell<u64>,
    queued: RefCell<Vec<(u64, Save)>>,
    is_running: Cell<bool>,
    /// Webhooks to be answered, with the number of their project.
    waiting: RefCell<BTreeMap<u64, (NonNull<ngx_http_request_t>, usize)>>,
    timer: Cell<Option<Timer>>,
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
        })
    };
}

/// Saves what a webhook told, and answers it then: 204, or 503 when it could not be saved.
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

/// Runs when a webhook's request is over, answered or not.
unsafe extern "C" fn forget(id: *mut c_void) {
    guard((), || {
        // SAFETY: nginx calls this once, with the number that `save_and_answer` allocated.
        let id = unsafe { *id.cast::<u64>() };
        SAVER.with(|saver| saver.waiting.borrow_mut().remove(&id));
    });
}

/// Starts the thread, unless it runs or has nothing to do.
fn start(saver: &Saver) {
    if saver.is_running.get() || saver.queued.borrow().is_empty() {
        return;
    }
    let work = mem::take(&mut *saver.queued.borrow_mut());
    let ids: Vec<u64> = work.iter().map(|(id, _)| *id).collect();
    let of_thread = ids.clone();
    let run = move || {
        let panicked = || vec![(of_thread.clone(), Some("the thread panicked".to_string()))];
        let ended = catch_unwind(AssertUnwindSafe(|| run(work))).unwrap_or_else(|_| panicked());
        let mut messages = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        messages.extend(ended.into_iter().map(|(ids, error)| Ended { ids, error }));
    };
    saver.is_running.set(true);
    if let Err(error) = spawn(run) {
        let error = Some(format!("cannot start a thread: {error}"));
        let mut messages = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push(Ended { ids, error });
    }
    let timer = saver.timer.get().unwrap_or_else(|| Timer::new(poll));
    saver.timer.set(Some(timer));
    timer.set(POLL);
}

/// The body of the thread: saves folder by folder.
fn run(work: Vec<(u64, Save)>) -> Vec<(Vec<u64>, Option<String>)> {
    let mut folders: BTreeMap<Arc<Path>, Vec<(u64, Save)>> = BTreeMap::new();
    for (id, save) in work {
        let folder = Arc::clone(&save.folder);
        folders.entry(folder).or_default().push((id, save));
    }
    let save = |(folder, work): (Arc<Path>, Vec<(u64, Save)>)| {
        let now = work.iter().map(|(_, save)| save.now).max().unwrap_or(0);
        let keep = work.iter().map(|(_, save)| save.keep).max().unwrap_or(0);
        let (ids, records): (Vec<u64>, Vec<Record>) =
            work.into_iter().map(|(id, save)| (id, save.record)).unzip();
        let saved = journal::append(&folder, &records, now, keep);
        (ids, saved.err().map(|error| error.to_string()))
    };
    folders.into_iter().map(save).collect()
}

/// Answers the webhooks whose thread has ended, and starts the next one. The handler of the timer.
fn poll() {
    let ended = mem::take(&mut *ENDED.lock().unwrap_or_else(PoisonError::into_inner));
    SAVER.with(|saver| {
        if !ended.is_empty() {
            saver.is_running.set(false);
        }
        for Ended { ids, error } in ended {
            for id in ids {
                // Answering one may end others, which are forgotten then: each is looked for again.
                let waiting = saver.waiting.borrow_mut().remove(&id);
                if let Some((request, project)) = waiting {
                    // SAFETY: a request that goes away is forgotten, so this one is live.
                    guard((), || unsafe { answer(request, project, error.as_deref()) });
                }
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
            format_args!(
                "webhook of project \"{name}\": cannot be saved in \"state_path\": {error}"
            ),
        );
        status = NGX_HTTP_SERVICE_UNAVAILABLE;
    }
    // SAFETY: the connection is looked up before the request may end.
    unsafe {
        let connection = (*request.as_ptr()).connection;
        ngx_http_finalize_request(request.as_ptr(), status as ngx_int_t);
        ngx_http_run_posted_requests(connection);
    }
}

/// Reads what was saved into a table that is new, before the workers start.
pub fn restore(cycle: &ngx_cycle_t) {
    let main = AuthgearModule::main_conf(cycle);
    let Some(main) = main.filter(|main| main.zone.has_new_revocations()) else {
        return;
    };
    let Some(zone) = main.zone.zone() else {
        return;
    };
    let (now, keep) = (
        nginx_sys::ngx_timeofday().sec as u64,
        main.revocation_keep(),
    );
    let of_webhooks = main
        .projects
        .iter()
        .filter(|project| project.webhook_secrets.is_some());
    let mut folders: Vec<&Arc<Path>> = of_webhooks
        .filter_map(|project| project.state.as_ref())
        .collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
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
