//! The queue of suspended requests.
//!
//! A request waits for keys, or for the resolver's answer to another request. A timer looks for finished
//! fetches and answers while any waits. A request whose keys or answer have come runs its phases again.

use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use std::collections::BTreeMap;

use authgear_tables::judgements::Key;
use nginx_sys::{
    ngx_handle_read_event, ngx_http_block_reading, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_post_request, ngx_http_request_empty_handler,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK,
};

use crate::keys::AwaitedKeys;
use crate::nginx::{guard, Failed, Request};
use crate::shm::Id;
use crate::worker;

/// A suspended request's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(u64);

struct Waiter {
    request: NonNull<ngx_http_request_t>,
    awaited: Awaited,
}

/// The event that a request waits for.
enum Awaited {
    Keys(AwaitedKeys),
    /// The resolver's answer to another request with the same question, of the project of that number.
    Answer(Key, usize),
}

struct Queue {
    waiters: RefCell<BTreeMap<WaiterId, Waiter>>,
    next: Cell<u64>,
}

thread_local! {
    // Only the event loop's thread uses it. It is never dropped, since pools are still destroyed when
    // the process exits, and their requests leave the queue.
    static QUEUE: ManuallyDrop<Queue> = const {
        ManuallyDrop::new(Queue {
            waiters: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
        })
    };
}

/// Suspends a request until its keys change. With `queued_until`, it waits until then for its
/// turn to have them fetched.
pub fn wait_for_keys(
    r: &Request,
    source: Id,
    queued_until: Option<u64>,
) -> Result<WaiterId, Failed> {
    let awaited = worker::await_keys(source, queued_until).ok_or(Failed)?;
    wait(r, Awaited::Keys(awaited))
}

/// Suspends a request until another has an answer to the same question, or the resolver of that project is
/// suspended.
pub fn wait_for_answer(r: &Request, key: Key, project: usize) -> Result<WaiterId, Failed> {
    wait(r, Awaited::Answer(key, project))
}

fn wait(r: &Request, awaited: Awaited) -> Result<WaiterId, Failed> {
    if r.is_main() {
        // SAFETY: the request and its connection are live. Of a subrequest nginx itself asks
        // nothing while it waits; the client's own request watches the connection.
        unsafe {
            let request = r.raw();
            if ngx_handle_read_event((*(*request).connection).read, 0) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            (*request).read_event_handler = Some(ngx_http_test_reading);
            (*request).write_event_handler = Some(ngx_http_request_empty_handler);
        }
    }
    let request = r.as_non_null();
    let id = QUEUE.with(|queue| {
        let id = WaiterId(queue.next.get());
        queue.next.set(id.0 + 1);
        let waiter = Waiter { request, awaited };
        queue.waiters.borrow_mut().insert(id, waiter);
        id
    });
    count();
    worker::poll_soon();
    Ok(id)
}

/// True while a request is in the queue.
pub fn is_waiting(id: WaiterId) -> bool {
    QUEUE.with(|queue| queue.waiters.borrow().contains_key(&id))
}

/// Removes a request that waits no more: its client has left, or it is answered.
pub fn forget(id: WaiterId) {
    if QUEUE
        .with(|queue| queue.waiters.borrow_mut().remove(&id))
        .is_some()
    {
        count();
    }
}

/// Says how many requests wait.
fn count() {
    worker::set_waiting(QUEUE.with(|queue| queue.waiters.borrow().len()));
}

fn is_empty() -> bool {
    QUEUE.with(|queue| queue.waiters.borrow().is_empty())
}

/// Resumes the requests that wait for what has just come, before the event loop sleeps again.
pub fn wake_waiters() {
    if !is_empty() {
        worker::poll_now();
    }
}

/// Takes in what has come, and resumes the requests that it concerns, the first to wait first. The
/// handler of the worker's timer.
pub fn poll() {
    let found = worker::collect(|finished| {
        QUEUE.with(|queue| {
            let waiters = queue.waiters.borrow();
            // In the order in which they came: each that is resumed for a slot will take it.
            let woken = waiters.iter().filter(|(_, waiter)| match &waiter.awaited {
                Awaited::Keys(keys) => finished.has_keys(keys),
                Awaited::Answer(key, project) => finished.has_answer(key, *project),
            });
            woken.map(|(id, _)| *id).collect::<Vec<_>>()
        })
    });
    // After a reload without a master process there may be no zone: then nothing will come.
    let has_zone = found.is_some();
    let woken = found.unwrap_or_else(all_waiters);
    // Resuming one request may end others, which leave the queue then: each is looked for again.
    for id in woken {
        let waiter = QUEUE.with(|queue| queue.waiters.borrow_mut().remove(&id));
        if let Some(waiter) = waiter {
            count();
            // SAFETY: a request that goes away leaves the queue, so this one is live, and `wait`
            // suspended it.
            guard((), || unsafe { resume(waiter.request) });
        }
    }
    if has_zone && worker::is_fetching() || !is_empty() {
        worker::poll_soon();
    }
}

/// The requests in the queue, in the order in which they came.
fn all_waiters() -> Vec<WaiterId> {
    QUEUE.with(|queue| queue.waiters.borrow().keys().copied().collect())
}

/// Runs a request's phases again, and the requests that this posts. Called from the event loop alone.
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
