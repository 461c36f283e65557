//! The revocation stream: one worker of the node, chosen by lease, reads it on a thread of its own.

use core::cell::{Cell, RefCell};
use core::mem::{self, ManuallyDrop};
use core::time::Duration;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use authgear_core::revocation::stream::{Address, Link, LinkError, Message};
use authgear_core::revocation::{Delivery, State};
use authgear_tables::revocations::Merged;
use nginx_sys::{
    ngx_cycle_t, ngx_exiting, ngx_process, NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN,
    NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER,
};
use ngx::http::HttpModuleMainConf;
use ngx::log::ngx_cycle_log;
use ngx::ngx_log_error;

use super::saver::save;
use super::webhook::{record, store, EVICTED, NO_ROOM};
use crate::conf::{AuthgearModule, MainConf};
use crate::nginx::{spawn, update_time, Timer};
use crate::worker;

/// How often a worker looks for messages, and for the lease, in milliseconds.
const TICK: usize = 50;
/// The lease of the worker that reads, in milliseconds.
const LEASE: u64 = 1_500;
/// The time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(300);

/// A report of the thread to the event loop.
enum Told {
    /// All that counts.
    Learned(Vec<Message>),
    /// New messages, as some node received them.
    News(Vec<Message>),
    /// The connection broke.
    Broken(String),
}

/// The threads' reports, each under the thread's number, until the event loop reads them.
static TOLD: Mutex<Vec<(u64, Told)>> = Mutex::new(Vec::new());

/// A thread that reads.
struct Thread {
    number: u64,
    address: Arc<Address>,
    stop: Arc<AtomicBool>,
}

struct Stream {
    timer: Cell<Option<Timer>>,
    /// The number of this worker's lease, and the thread that it runs.
    lease: Cell<Option<u64>>,
    thread: RefCell<Option<Thread>>,
    last_thread: Cell<u64>,
}

thread_local! {
    // Only the event loop's thread uses it.
    static STREAM: ManuallyDrop<Stream> = const {
        ManuallyDrop::new(Stream {
            timer: Cell::new(None),
            lease: Cell::new(None),
            thread: RefCell::new(None),
            last_thread: Cell::new(0),
        })
    };
}

/// Has a worker take its part in the stream.
pub fn start(cycle: &ngx_cycle_t) {
    // SAFETY: written before the worker starts.
    let process = unsafe { ngx_process } as u32;
    let is_worker = process == NGX_PROCESS_SINGLE || process == NGX_PROCESS_WORKER;
    let main = AuthgearModule::main_conf(cycle);
    if is_worker && main.is_some_and(|main| main.stream.address().is_some()) {
        STREAM.with(|stream| {
            let timer = stream.timer.get();
            let timer = timer.unwrap_or_else(|| Timer::new(tick).cancelable());
            stream.timer.set(Some(timer));
            timer.set(1);
        });
    }
}

/// Takes or renews the lease, and takes in what the thread told. The handler of the timer.
fn tick() {
    STREAM.with(|stream| {
        let main = worker::main_conf();
        let address = main.and_then(|main| main.stream.address());
        // SAFETY: the event loop reads what its signal handlers wrote.
        let is_ending = unsafe { ngx_exiting } != 0;
        let (Some(main), Some(address), false) = (main, address, is_ending) else {
            stop(stream);
            return;
        };
        let lease = worker::take_stream_lease(stream.lease.get(), LEASE);
        stream.lease.set(lease);
        // Without a master process, a reload may name another stream.
        let is_of = |thread: &Thread| Arc::ptr_eq(&thread.address, address);
        let is_running = stream.thread.borrow().as_ref().is_some_and(is_of);
        if lease.is_none() || !is_running {
            stop(stream);
        }
        if lease.is_some() && !is_running {
            run_thread(stream, address);
        }
        let told = mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
        let current = stream.thread.borrow().as_ref().map(|thread| thread.number);
        for (number, told) in told {
            if Some(number) == current {
                take_in(main, told);
            }
        }
        super::saver::retry(address, lease.is_some());
        if let Some(timer) = stream.timer.get() {
            timer.set(TICK);
        }
    });
}

fn stop(stream: &Stream) {
    if let Some(thread) = stream.thread.take() {
        thread.stop.store(true, Ordering::Relaxed);
    }
}

fn run_thread(stream: &Stream, address: &Arc<Address>) {
    let number = stream.last_thread.get() + 1;
    stream.last_thread.set(number);
    let stop = Arc::new(AtomicBool::new(false));
    let (of_thread, stopped) = (Arc::clone(address), Arc::clone(&stop));
    let run = move || {
        let tell = |told| {
            let mut all = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((number, told));
        };
        let mut held = BTreeSet::new();
        while !stopped.load(Ordering::Relaxed) {
            let session = AssertUnwindSafe(|| session(&of_thread, &stopped, &mut held, &tell));
            match catch_unwind(session) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tell(Told::Broken(error.to_string())),
                Err(_) => tell(Told::Broken("the thread panicked".to_string())),
            }
            thread::sleep(RETRY);
        }
    };
    if spawn(run).is_ok() {
        stream.thread.replace(Some(Thread {
            number,
            address: Arc::clone(address),
            stop,
        }));
    }
}

/// Reads until it is told to stop, or the connection breaks. What a Redis that lost it no longer has is
/// written again.
fn session(
    address: &Address,
    stopped: &AtomicBool,
    held: &mut BTreeSet<Message>,
    tell: &dyn Fn(Told),
) -> Result<(), LinkError> {
    let mut link = Link::open(address)?;
    let now = unix_now();
    let learned = link.learn(now)?;
    held.retain(|message| message.until >= now);
    let known: BTreeSet<&Message> = learned.iter().collect();
    let lost: Vec<Message> = held
        .iter()
        .filter(|message| !known.contains(message))
        .cloned()
        .collect();
    if !lost.is_empty() {
        link.publish(&lost, now)?;
    }
    held.extend(learned.iter().cloned());
    tell(Told::Learned(learned));
    while !stopped.load(Ordering::Relaxed) {
        let news = link.await_news()?;
        if !news.is_empty() {
            held.extend(news.iter().cloned());
            tell(Told::News(news));
        }
    }
    Ok(())
}

fn unix_now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// Takes in what the thread told.
fn take_in(main: &MainConf, told: Told) {
    let log = ngx_cycle_log().as_ptr();
    match told {
        Told::Learned(messages) => {
            accept(main, &messages);
            if let Some(seconds) = worker::stream_is_up() {
                ngx_log_error!(
                    NGX_LOG_NOTICE,
                    log,
                    "authgear: revocation stream: connected again after {seconds} s"
                );
            }
        }
        Told::News(messages) => accept(main, &messages),
        Told::Broken(error) => {
            if worker::stream_is_down() {
                ngx_log_error!(
                    NGX_LOG_ERR,
                    log,
                    "authgear: revocation stream: {error}; other nodes hear of no revocation until it is back"
                );
            }
        }
    }
}

/// Stores what messages say whose signature is right, and saves what is new of it where there is `state_path`.
fn accept(main: &MainConf, messages: &[Message]) {
    update_time();
    let unix_now = nginx_sys::ngx_timeofday().sec as u64;
    let keep = main.revocation_keep();
    let mut refused = 0;
    let mut worst = Merged::Known;
    for message in messages {
        let signed = main.projects.iter().find(|project| {
            let tenant = project.fixed_tenant();
            let secrets = project.webhook_secrets.as_ref();
            tenant.is_some_and(|tenant| *tenant.origin == *message.endpoint)
                && secrets.is_some_and(|secrets| {
                    let signature = message.signature.as_bytes();
                    secrets.verify(&message.body, signature).is_some()
                })
        });
        let Some(project) = signed else {
            refused += 1;
            continue;
        };
        if let Ok(Delivery::Lifecycle(event)) =
            Delivery::read(&message.body, unix_now, project.revocation_keep)
        {
            let state = State::of(&event);
            let merged =
                store(project, &event.user, &state, keep, unix_now).unwrap_or(Merged::Known);
            worst = worst.max(merged);
            if matches!(merged, Merged::Stored | Merged::Evicted) {
                if let Some(record) = record(project, event.user, state) {
                    save(record, unix_now, keep);
                }
            }
        }
    }
    let complaint = match worst {
        Merged::Known | Merged::Renewed | Merged::Stored => None,
        Merged::Evicted => Some(EVICTED),
        Merged::NoRoom => Some(NO_ROOM),
    };
    if let Some(complaint) = complaint {
        let log = ngx_cycle_log().as_ptr();
        ngx_log_error!(NGX_LOG_ERR, log, "authgear: revocation stream: {complaint}");
    }
    if refused > 0 {
        ngx_log_error!(
            NGX_LOG_WARN,
            ngx_cycle_log().as_ptr(),
            "authgear: revocation stream: refused {refused} messages, since no project here has their endpoint \
             and secret"
        );
    }
}
