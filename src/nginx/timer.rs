//! A timer of the event loop.

use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_connection_t, ngx_event_t, ngx_posted_events};

use super::{fields, guard};

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
