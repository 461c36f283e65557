//! The shared memory zone: key-set documents, counters, and the tables of `authgear_tables`.

mod breakers;
mod counting;
mod early;
mod locked;
mod outbox;
mod outgoing;
mod setup;
mod zone;

pub use counting::project_digest;
pub use setup::ZoneSetup;
pub use zone::SharedZone;

pub use authgear_tables::source::{Id, Publication, SourceEntry};
