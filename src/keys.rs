//! The keys of each source: this worker's parsed copy of what the zone holds, and their fetches.

mod local_copy;
pub mod refresh;
mod store;

pub use store::{Change, KeyStore, Lease, Published};
