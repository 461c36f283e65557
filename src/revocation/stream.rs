//! The revocation stream: one worker of the node, chosen by lease, reads it on a thread of its own.

use core::cell::{Cell, RefCell};
use core::mem::{self, ManuallyDrop};
use core::time::Duration;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use authgear_core::revocation::stream::{Address, Link, LinkError, Message};
use authgear_core::revocation::untold;
use authgear_core::revocation::{Delivery, State, MOST_BODY};
use authgear_tables::revocations::Merged;
use nginx_sys::{ngx_cycle_t, ngx_exiting, NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_LOG_WARN};
use ngx::http::HttpModuleMainConf;
use ngx::log::ngx_cycle_log;

use super::saver::save;
use super::shared::folders;
use super::webhook::{record, store, EVICTED, NO_ROOM};
use crate::conf::{AuthgearModule, MainConf};
use crate::log::log_limited_in;
use crate::nginx::{serves_requests, spawn, update_time, Timer};
use crate::worker;

/// How often a worker looks for messages, and for the lease, in milliseconds.
const TICK: usize = 50;
/// The lease of the worker that reads, in milliseconds.
const LEASE: u64 = 1_500;
/// The time after which the thread looks whether the event loop has read what it told.
const PAUSE: Duration = Duration::from_millis(5);
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
    /// A fault in `state_path`.
    Complaint(String),
}

/// The threads' reports, each under the thread's number, until the event loop reads them.
static TOLD: Mutex<Vec<(u64, Told)>> = Mutex::new(Vec::new());

/// A thread that reads.
struct Thread {
    number: u64,
    address: Arc<Address>,
    stop: Arc<AtomicBool>,
    held: Held,
}

/// The messages that were accepted, to be written again into a Redis that lost them. What Redis says of itself is
/// not kept: it could be without end.
type Held = Arc<Mutex<BTreeSet<Message>>>;

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
    let main = AuthgearModule::main_conf(cycle);
    if serves_requests() && main.is_some_and(|main| main.stream.address().is_some()) {
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
            run_thread(stream, address, folders(main));
        }
        let told = mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(thread) = &*stream.thread.borrow() {
            for (_, told) in told
                .into_iter()
                .filter(|(number, _)| *number == thread.number)
            {
                take_in(main, &thread.held, told);
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

fn run_thread(stream: &Stream, address: &Arc<Address>, folders: Vec<Arc<Path>>) {
    let number = stream.last_thread.get() + 1;
    stream.last_thread.set(number);
    let stop = Arc::new(AtomicBool::new(false));
    let (of_thread, stopped) = (Arc::clone(address), Arc::clone(&stop));
    let held = Held::default();
    let held_by_all = Arc::clone(&held);
    let run = move || {
        let tell = |told| {
            let mut all = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((number, told));
        };
        while !stopped.load(Ordering::Relaxed) {
            let session = || session(&of_thread, &folders, &stopped, &held_by_all, &tell);
            match catch_unwind(AssertUnwindSafe(session)) {
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
            held,
        }));
    }
}

/// Reads until it is told to stop, or the connection breaks. What a Redis that lost it no longer has is
/// written again, and what it had not taken before a restart.
fn session(
    address: &Address,
    folders: &[Arc<Path>],
    stopped: &AtomicBool,
    held: &Held,
    tell: &dyn Fn(Told),
) -> Result<(), LinkError> {
    let mut link = Link::open(address)?;
    let now = unix_now();
    let learned = link.learn(now)?;
    let lost = lost(held, &learned, now);
    if !lost.is_empty() {
        link.publish(&lost, now)?;
    }
    tell(Told::Learned(learned));
    let mut with_untold = folders.to_vec();
    while !stopped.load(Ordering::Relaxed) {
        if !is_taken_in() {
            // Redis may tell faster than the event loop can check signatures.
            thread::sleep(PAUSE);
            continue;
        }
        // A Redis that is full may take it later.
        with_untold.retain(|folder| tell_untold(&mut link, folder, tell).is_err());
        let news = link.await_news()?;
        if !news.is_empty() {
            tell(Told::News(news));
        }
    }
    Ok(())
}

/// Tells other nodes what was kept in a folder since Redis did not take it.
fn tell_untold(link: &mut Link, folder: &Path, tell: &dyn Fn(Told)) -> Result<(), LinkError> {
    let (path, now) = (folder.display(), unix_now());
    let untold::Loaded { messages, ignored } = match untold::load(folder, now) {
        Ok(loaded) => loaded,
        Err(error) => {
            tell(Told::Complaint(format!(
                "revocation stream: cannot read in \"{path}\" what other nodes have yet to be told: {error}"
            )));
            return Ok(());
        }
    };
    if ignored > 0 {
        tell(Told::Complaint(format!(
            "revocation stream: ignored {ignored} broken lines in \"{path}\" of what other nodes have yet to be told"
        )));
    }
    if !messages.is_empty() {
        link.publish(&messages, now)?;
    }
    // What stays in the file is told again, which changes nothing.
    let _ = untold::remove(folder, &messages.iter().collect::<Vec<_>>(), now);
    Ok(())
}

/// The messages that still count at `now`, in Unix seconds, and are not among those that Redis has.
fn lost(held: &Held, learned: &[Message], now: u64) -> Vec<Message> {
    let known: BTreeSet<_> = learned.iter().map(Message::identity).collect();
    let held = held.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = held
        .iter()
        .filter(|message| message.until >= now && !known.contains(&message.identity()));
    lost.cloned().collect()
}

/// True when the event loop has read all that was told.
fn is_taken_in() -> bool {
    let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.is_empty()
}

fn unix_now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// Takes in what the thread told.
fn take_in(main: &MainConf, held: &Held, told: Told) {
    match told {
        Told::Learned(messages) => {
            accept(main, held, messages);
            if let Some(seconds) = worker::stream_is_up() {
                log(
                    NGX_LOG_NOTICE,
                    "up",
                    format_args!("revocation stream: connected again after {seconds} s"),
                );
            }
        }
        Told::News(messages) => accept(main, held, messages),
        Told::Complaint(complaint) => log(NGX_LOG_WARN, "untold", format_args!("{complaint}")),
        Told::Broken(error) => {
            if worker::stream_is_down() {
                log(
                    NGX_LOG_ERR,
                    "down",
                    format_args!("revocation stream: {error}; other nodes hear of no revocation until it is back"),
                );
            }
        }
    }
}

/// Logs a line that Redis can cause as often as it likes.
fn log(level: u32, topic: &'static str, line: core::fmt::Arguments<'_>) {
    log_limited_in(ngx_cycle_log().as_ptr(), level, (0, topic), line);
}

/// Stores what messages say whose signature is right, and saves what is new of it where there is `state_path`.
fn accept(main: &MainConf, held: &Held, messages: Vec<Message>) {
    update_time();
    let unix_now = nginx_sys::ngx_timeofday().sec as u64;
    let keep = main.revocation_keep();
    let mut refused = 0;
    let mut worst = Merged::Known;
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    held.retain(|message| message.until >= unix_now);
    for message in messages
        .into_iter()
        .filter(|message| message.body.len() <= MOST_BODY)
    {
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
            let until = state.last_time().saturating_add(keep);
            held.insert(Message { until, ..message });
        }
    }
    let complaint = match worst {
        Merged::Known | Merged::Renewed | Merged::Stored => None,
        Merged::Evicted => Some(EVICTED),
        Merged::NoRoom => Some(NO_ROOM),
    };
    if let Some(complaint) = complaint {
        log(
            NGX_LOG_ERR,
            "room",
            format_args!("revocation stream: {complaint}"),
        );
    }
    if refused > 0 {
        log(
            NGX_LOG_WARN,
            "refused",
            format_args!(
                "revocation stream: refused {refused} messages, since no project here has their endpoint and secret"
            ),
        );
    }
}
