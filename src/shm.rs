//! The shared memory zone: key-set documents, counters, and the tables of `authgear_tables`.

mod counting;
mod early;
mod entry;
mod locked;
mod setup;
mod zone;

pub use counting::project_digest;
pub use entry::{Id, SourceEntry};
pub use setup::ZoneSetup;
pub use zone::SharedZone;
