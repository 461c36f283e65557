//! Key sets: their sources, their fetch and their keys.

mod document;
pub mod fetch;
pub mod freshness;
mod host;
mod jwk;
mod material;
mod origin;
mod parameters;
pub mod saved;
pub mod slots;
mod verifier;

pub use document::{DocumentError, KeySet, MAX_DOCUMENT, MAX_KEYS};
pub use jwk::KeyId;
pub use origin::{Origin, OriginError, Url};
pub use parameters::SkippedKey;
