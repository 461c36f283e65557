//! The result of a change.

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
