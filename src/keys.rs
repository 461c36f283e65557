//! The keys of each tenant: their sources, this worker's parsed copy of what the zone holds, and the
//! fetches.

mod awaited;
mod local_copy;
pub mod refresh;
mod source;
mod store;

pub use awaited::AwaitedKeys;
pub use refresh::{Fetches, KeyStatus};
pub use source::{KeySource, Keys, Tenant};
pub use store::KeyStore;
