//! The plain data that goes into the table of resolver answers, and comes out of it.

use authgear_core::digest::Digest;
use authgear_core::session::Fields;

/// The key of an answer. The tenant is compared as it is; the digest covers the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// A digest that identifies the tenant whose resolver is asked.
    pub tenant: [u8; 32],
    /// The question.
    pub digest: Digest,
}

/// The result of an attempt to take the right to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryLease {
    /// It is the caller's, under this number.
    Taken(u64),
    /// The table has no room to note it: the caller asks, and so may others.
    Unshared,
    /// Somebody else has it.
    Busy,
}

/// The resolver's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The session is valid.
    Yes(Fields<'a>),
    /// The session is valid, but too large to be kept.
    TooLarge,
    /// The token still stands.
    Confirmed,
    /// The session is not valid.
    No,
    /// The token does not stand. Kept until it has expired.
    Denied,
    /// The resolver cannot answer.
    Failed,
    /// The answer about a token was no verdict, perhaps for a reason of the client's making. Kept until
    /// the token has expired: its requests wait for a verdict.
    Unclear,
}

/// An answer to be kept. Times are in milliseconds of the table's clock.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The resolver's answer.
    pub verdict: Verdict<'a>,
    /// It is not used from this time on. For [`Verdict::Denied`], when the token is refused for its age
    /// in any case, so `exp` and the leeway.
    pub not_after: u64,
    /// Until this time the answer is in use; later it is evicted before those in use.
    pub live_until: u64,
}

/// The table's entry of a key.
#[derive(Debug)]
pub struct Known<'a> {
    /// The resolver's last answer, and when it came.
    pub verdict: Option<(Verdict<'a>, u64)>,
    /// True while somebody is asking.
    pub is_asked: bool,
    /// There is no yes or no, and a no may have been lost for want of room: a token waits for an
    /// answer.
    pub is_crowded: bool,
}
