//! Users, their entries, and the results of changes.

use authgear_core::digest::Digest;
use authgear_core::revocation::State;

/// A user, as one endpoint or issuer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// A part of the fingerprint of the endpoint or issuer.
    pub group: u64,
    /// The digest of both, under [`Reader::key`](super::Reader::key).
    pub digest: Digest,
}

/// A user's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// All that was heard of the user.
    pub state: State,
    /// When its newest end of sessions came to this node, in milliseconds of the workers' clock; 0 for
    /// none.
    pub came_at: u64,
    /// The last second at which it counts, in Unix time.
    pub until: u64,
}

/// The result of [`Writer::merge`](super::Writer::merge), the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Merged {
    /// The entry holds it, and did before.
    Known,
    /// The entry held it before; it counts longer now.
    Renewed,
    /// The entry holds it now.
    Stored,
    /// The entry holds it now, and an older one that counted gave way.
    Evicted,
    /// It found no room, since all that could give way is newer.
    NoRoom,
}
