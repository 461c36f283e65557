//! Revocations that other nginx processes of this host save in `state_path` while this nginx begins to serve.
//!
//! After an upgrade on the fly (nginx's USR2) the old nginx serves too until it is told to quit, and for a moment
//! after a reload with another zone the old workers do. A webhook reaches one of them alone. So one worker reads
//! what is saved again, as long as it may grow.

use core::cell::{Cell, RefCell};
use core::mem::{self, ManuallyDrop};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use authgear_core::revocation::journal::{self, Record, Stamp};
use nginx_sys::{ngx_cycle_t, ngx_exiting, ngx_inherited, ngx_parent, ngx_worker};
use ngx::http::HttpModuleMainConf;

use super::shared::folders;
use crate::conf::{AuthgearModule, MainConf};
use crate::nginx::{is_process_alive, now, serves_requests, spawn, Timer};
use crate::worker;

/// How often the worker reads, in milliseconds.
const INTERVAL: usize = 500;
/// How long it reads at least, in milliseconds. Old workers are told to quit 100 ms after new ones have begun.
const LEAST: u64 = 2_000;
/// How long it reads at most: an old nginx that is there longer is not about to quit.
const MOST: u64 = 3_600_000;
/// How many records it takes in at a time.
const BATCH: usize = 1_000;
/// The time between two batches, in milliseconds.
const PAUSE: usize = 5;

/// The master of the nginx that started this one in its place, or 0.
static OLD_MASTER: AtomicU64 = AtomicU64::new(0);

/// The files as they were last read.
type Stamps = BTreeMap<Arc<Path>, Option<Stamp>>;

/// The result of the thread, until the event loop takes it in.
static READ: Mutex<Option<(Stamps, Vec<Record>)>> = Mutex::new(None);

struct Neighbour {
    timer: Cell<Option<Timer>>,
    until: Cell<u64>,
    stamps: RefCell<Stamps>,
    records: RefCell<VecDeque<Record>>,
    is_reading: Cell<bool>,
    /// Nobody else adds to the files any more: what is read now is the last.
    is_last: Cell<bool>,
}

thread_local! {
    // Only the event loop's thread uses it.
    static NEIGHBOUR: ManuallyDrop<Neighbour> = const {
        ManuallyDrop::new(Neighbour {
            timer: Cell::new(None),
            until: Cell::new(0),
            stamps: RefCell::new(BTreeMap::new()),
            records: RefCell::new(VecDeque::new()),
            is_reading: Cell::new(false),
            is_last: Cell::new(false),
        })
    };
}

/// Remembers the nginx that started this one. Called by the master, before there are workers.
pub fn note_old_master() {
    // SAFETY: nginx writes both before it reads the configuration; workers see their own master in `ngx_parent`.
    let (is_upgrade, parent) = unsafe { (ngx_inherited != 0, ngx_parent) };
    // Sockets may also be inherited from what starts services.
    if is_upgrade && parent > 1 && OLD_MASTER.load(Ordering::Relaxed) == 0 {
        OLD_MASTER.store(parent as u64, Ordering::Relaxed);
    }
}

/// True while the nginx that started this one is there.
fn is_old_master_there() -> bool {
    let old_master = OLD_MASTER.load(Ordering::Relaxed);
    old_master != 0 && is_process_alive(old_master)
}

/// Has the first worker read what others save, where this nginx may not know all of it.
pub fn start(cycle: &ngx_cycle_t) {
    // SAFETY: written before the worker starts.
    let number = unsafe { ngx_worker };
    let may_lack = |main: &MainConf| {
        (main.zone.has_new_revocations() || is_old_master_there()) && !folders(main).is_empty()
    };
    if serves_requests() && number == 0 && AuthgearModule::main_conf(cycle).is_some_and(may_lack) {
        NEIGHBOUR.with(|neighbour| {
            neighbour.until.set(now() + LEAST);
            neighbour.is_last.set(false);
            let timer = neighbour.timer.get();
            let timer = timer.unwrap_or_else(|| Timer::new(tick).cancelable());
            neighbour.timer.set(Some(timer));
            timer.set(INTERVAL);
        });
    }
}

/// Takes in what was read, and reads again. The handler of the timer.
fn tick() {
    // SAFETY: the event loop reads what its signal handlers wrote.
    if unsafe { ngx_exiting } != 0 {
        return;
    }
    NEIGHBOUR.with(|neighbour| {
        let read = mem::take(&mut *READ.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some((stamps, records)) = read {
            neighbour.is_reading.set(false);
            if stamps.len() < worker::main_conf().map_or(0, |main| folders(main).len()) {
                neighbour.is_last.set(false);
            }
            neighbour.stamps.replace(stamps);
            neighbour.records.borrow_mut().extend(records);
        }
        let is_more = take_in(&mut neighbour.records.borrow_mut());
        let is_over = neighbour.is_last.get() && !neighbour.is_reading.get();
        if !is_more && !is_over && !neighbour.is_reading.get() {
            read_again(neighbour);
        }
        if let Some(timer) = neighbour.timer.get().filter(|_| is_more || !is_over) {
            timer.set(if is_more { PAUSE } else { INTERVAL });
        }
    });
}

/// Stores a part of the records; true while some are left.
fn take_in(records: &mut VecDeque<Record>) -> bool {
    let Some(main) = worker::main_conf() else {
        return false;
    };
    let (now, keep) = (
        nginx_sys::ngx_timeofday().sec as u64,
        main.revocation_keep(),
    );
    let batch = records.len().min(BATCH);
    for record in records.drain(..batch) {
        for name in &record.names {
            worker::revoke(name, &record.user, &record.state, keep, now);
        }
    }
    !records.is_empty()
}

/// Has a thread read the files that changed.
fn read_again(neighbour: &Neighbour) {
    let Some(main) = worker::main_conf() else {
        return;
    };
    let until = neighbour.until.get();
    let is_last = now() >= until && (now() >= until + MOST || !is_old_master_there());
    let (folders, known) = (folders(main), neighbour.stamps.borrow().clone());
    let (unix_now, keep) = (
        nginx_sys::ngx_timeofday().sec as u64,
        main.revocation_keep(),
    );
    let run = move || {
        let read = || read_changed(folders, &known, unix_now, keep);
        let read = catch_unwind(AssertUnwindSafe(read));
        let read = read.unwrap_or_else(|_| (known.clone(), Vec::new()));
        *READ.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    };
    let is_reading = spawn(run).is_ok();
    neighbour.is_reading.set(is_reading);
    neighbour.is_last.set(is_last && is_reading);
}

/// The body of the thread. A file that cannot be read is tried again; the start has said why.
fn read_changed(
    folders: Vec<Arc<Path>>,
    known: &Stamps,
    now: u64,
    keep: u64,
) -> (Stamps, Vec<Record>) {
    let (mut stamps, mut records) = (Stamps::new(), Vec::new());
    for folder in folders {
        let stamp = journal::stamp(&folder);
        if stamp.is_some() && known.get(&folder) != Some(&stamp) {
            match journal::load(&folder, now, keep) {
                Ok(loaded) => records.extend(loaded.records),
                Err(_) => continue,
            }
        }
        stamps.insert(folder, stamp);
    }
    (stamps, records)
}
