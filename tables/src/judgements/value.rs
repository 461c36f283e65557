//! The plain data that goes into the table of judgements, and comes out of it.

use core::slice;

use authgear_core::digest::Digest;

use crate::word::IS_MODEL;

/// Words for the text of a session or a token. Of a longer session only the fact that it is too long is
/// kept, of a longer token only a prefix.
pub(super) const TEXTS: usize = if IS_MODEL { 2 } else { 62 };

/// The key of a judgement. The tenant is compared as it is; the digest covers the tenant too, and the
/// question to its resolver or the signed part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// A digest that identifies the tenant.
    pub tenant: [u8; 32],
    /// The question, or the signed part of the token.
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
pub enum Verdict {
    /// The session is valid. Its record is in the [`Text`].
    Yes,
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
    pub verdict: Verdict,
    /// The record of the session, for [`Verdict::Yes`].
    pub session: &'a [u8],
    /// It is not used from this time on. For [`Verdict::Denied`], when the token is refused for its age
    /// in any case, so `exp` and the leeway.
    pub not_after: u64,
    /// Until this time the answer is in use; later it is evicted before those in use.
    pub live_until: u64,
}

/// A token whose signature was checked.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// A digest that covers the signature as well as the signed part.
    pub digest: Digest,
    /// The token's record.
    pub record: &'a [u8],
    /// How much of the record's beginning is kept of one that is too large.
    pub prefix: usize,
    /// When the token has expired; it is kept until then, if nothing evicts it.
    pub expires_at: u64,
}

/// The judgements under a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The resolver's last answer, and when it came.
    pub verdict: Option<(Verdict, u64)>,
    /// The token whose signature was checked. Its record is in the [`Text`].
    pub token: Option<KnownToken>,
    /// True while somebody is asking.
    pub is_asked: bool,
    /// The last question after a yes to a session that got no verdict.
    pub failure: Option<Failure>,
    /// There is no yes or no, and a no may have been lost for want of room: a token waits for an
    /// answer.
    pub is_crowded: bool,
}

/// A question without a verdict, beside a yes that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// When it ended.
    pub at: u64,
    /// True when the resolver could not answer; false for an answer that is no verdict.
    pub is_outage: bool,
}

/// A token whose signature was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownToken {
    /// A digest that covers the signature: a token with another one is not this one.
    pub digest: Digest,
    /// False when the record was too large, so that only its prefix is there.
    pub is_whole: bool,
}

/// Room for the text of one slot.
#[derive(Debug, Clone)]
pub struct Text {
    pub(super) words: [u64; TEXTS],
    pub(super) length: usize,
}

impl Text {
    /// Room without a text.
    #[must_use]
    pub const fn new() -> Text {
        Text {
            words: [0; TEXTS],
            length: 0,
        }
    }

    /// The text that was read last: a session's record or a token's.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let length = self.length.min(size_of_val(&self.words));
        // SAFETY: so many bytes lie in the words, and any value of a word is one of its bytes.
        unsafe { slice::from_raw_parts(self.words.as_ptr().cast(), length) }
    }
}

impl Default for Text {
    fn default() -> Text {
        Text::new()
    }
}
