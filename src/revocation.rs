//! Revocations that Authgear tells of.

mod neighbour;
mod saver;
mod shared;
mod stream;
mod webhook;

pub use webhook::handle as receive_webhook;

use nginx_sys::ngx_cycle_t;

/// Reads what was saved, before the workers start.
pub fn prepare(cycle: &ngx_cycle_t) {
    neighbour::note_old_master();
    saver::restore(cycle);
}

/// Has a worker take its part in the stream, and read what others save.
pub fn start(cycle: &ngx_cycle_t) {
    stream::start(cycle);
    neighbour::start(cycle);
}
