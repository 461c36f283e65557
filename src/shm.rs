//! The shared memory zone: key-set documents, counters, and the tables of `authgear_tables`.

mod breakers;
mod counting;
mod early;
mod entry;
mod locked;
mod outbox;
mod outgoing;
mod setup;
mod zone;

pub use counting::project_digest;
pub use entry::{Id, SourceEntry};
pub use setup::ZoneSetup;
pub use zone::SharedZone;
