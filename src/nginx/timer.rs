//! A timer of the event loop.

use core::ffi::c_void;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_connection_t, ngx_event_t, ngx_posted_events};

use super::guard::Failed;
use super::{fields, guard, Pool};

/// A timer that lives as long as the process. Copies of it are the same timer. It holds a graceful
/// stop back while it is set.
#[derive(Debug, Clone, Copy)]
pub struct Timer(NonNull<Block>);

/// The memory of a timer, which is never freed.
#[repr(C)]
struct Block {
    /// nginx's debug log reads the number of the connection behind an event, so there is one, and the
    /// event's `data` points to it. It comes first: a pointer to it is one to the block.
    connection: ngx_connection_t,
    handler: fn(),
    event: ngx_event_t,
}

impl Timer {
    /// A timer that is not set.
    pub fn new(handler: fn()) -> Timer {
        // SAFETY: all-zero is how nginx makes both structures. Nobody else has the block yet.
        unsafe {
            let block = Box::leak(Box::new(Block {
                connection: mem::zeroed(),
                handler,
                event: mem::zeroed(),
            }));
            block.connection.fd = -1;
            block.event.handler = Some(on_timer);
            let block = NonNull::from(block);
            (*block.as_ptr()).event.data = block.as_ptr().cast();
            Timer(block)
        }
    }

    /// The same, but for a graceful stop, which does not wait for it.
    pub fn cancelable(self) -> Timer {
        // SAFETY: the event is never freed, and nobody else refers to it.
        fields::event::set_cancelable(unsafe { &mut *self.event() }, true);
        self
    }

    /// Runs the handler in so many milliseconds, unless the timer is set.
    pub fn set(self, milliseconds: usize) {
        let event = self.event();
        // SAFETY: the event is never freed, and its log is that of the newest configuration.
        unsafe {
            (*event).log = (*nginx_sys::ngx_cycle).log;
            if !fields::event::timer_set(&*event) {
                fields::add_timer(event, milliseconds);
            }
        }
    }

    /// Runs the handler before the event loop sleeps again.
    pub fn post(self) {
        // SAFETY: the event is never freed. It may stand in the queue of posted events and among the
        // timers at the same time.
        unsafe { fields::post_event(self.event(), ptr::addr_of_mut!(ngx_posted_events)) };
    }

    fn event(self) -> *mut ngx_event_t {
        // SAFETY: the block is never freed. No reference is made.
        unsafe { &raw mut (*self.0.as_ptr()).event }
    }
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx hands over the event of a timer, whose `data` is its block.
        let handler = unsafe { (*(*event).data.cast::<Block>()).handler };
        handler();
    });
}

/// A timer with a value, which lives as long as its pool. Copies of it are the same timer. A graceful stop
/// does not wait for it.
#[derive(Debug)]
pub struct PoolTimer<T>(NonNull<Owned<T>>);

impl<T> Clone for PoolTimer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for PoolTimer<T> {}

/// The memory of a timer in a pool.
#[repr(C)]
struct Owned<T> {
    /// As in [`Block`].
    connection: ngx_connection_t,
    handler: fn(PoolTimer<T>),
    event: ngx_event_t,
    value: T,
}

impl<T> PoolTimer<T> {
    /// A timer that is not set. The value is dropped with the pool.
    pub fn new(pool: Pool<'_>, value: T, handler: fn(PoolTimer<T>)) -> Result<Self, Failed> {
        // SAFETY: all-zero is how nginx makes both structures. The block stays where it is, and
        // `drop_timer` takes it out of the timers before it goes.
        unsafe {
            let block = Owned {
                connection: mem::zeroed(),
                handler,
                event: mem::zeroed(),
                value,
            };
            let block = pool.alloc_with_cleanup(block, drop_timer::<T>)?;
            (*block.as_ptr()).connection.fd = -1;
            let event = &raw mut (*block.as_ptr()).event;
            (*event).handler = Some(on_pool_timer::<T>);
            (*event).data = block.as_ptr().cast();
            fields::event::set_cancelable(&mut *event, true);
            Ok(PoolTimer(block))
        }
    }

    /// The timer with a value of that type that was made last in a pool.
    pub fn find(pool: Pool<'_>) -> Option<Self> {
        pool.find_cleanup(drop_timer::<T>).map(PoolTimer)
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// The timer's pool must live.
    pub unsafe fn value<'a>(self) -> &'a T {
        // SAFETY: the caller vouches for the pool.
        unsafe { &(*self.0.as_ptr()).value }
    }

    /// Runs the handler in so many milliseconds, wherever the timer stood before; `None` takes it back.
    ///
    /// # Safety
    ///
    /// The timer's pool must live.
    pub unsafe fn set(self, milliseconds: Option<usize>) {
        // SAFETY: the caller vouches for the pool; the log is that of the newest configuration.
        unsafe {
            let event = &raw mut (*self.0.as_ptr()).event;
            (*event).log = (*nginx_sys::ngx_cycle).log;
            if fields::event::timer_set(&*event) {
                fields::del_timer(event);
            }
            if let Some(milliseconds) = milliseconds {
                fields::add_timer(event, milliseconds);
            }
        }
    }
}

unsafe extern "C" fn on_pool_timer<T>(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx hands over the event of a timer, whose `data` is its block, and whose pool lives.
        let (block, handler) = unsafe {
            let block = NonNull::new_unchecked((*event).data.cast::<Owned<T>>());
            (block, (*block.as_ptr()).handler)
        };
        handler(PoolTimer(block));
    });
}

unsafe extern "C" fn drop_timer<T>(block: *mut c_void) {
    guard((), || {
        // SAFETY: nginx calls this once, with the block that `PoolTimer::new` allocated, and its pool
        // still lives.
        unsafe {
            let block = block.cast::<Owned<T>>();
            PoolTimer(NonNull::new_unchecked(block)).set(None);
            block.drop_in_place();
        }
    });
}
