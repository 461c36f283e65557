//! The shared memory zone: key-set documents, counters, and the table of `authgear_tables`.

pub mod counters;
mod entry;
mod locked;
mod zone;

pub use entry::{Entry, Id};
pub use zone::{init_zone, SharedZone};
