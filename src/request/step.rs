//! The next step of a judgement, as plain data.

use core::ptr::NonNull;

use authgear_core::Reason;
use authgear_tables::judgements::Key;

use crate::request::outcome::Outcome;
use crate::request::question::{Ask, Asked};
use crate::shm::Id;

/// The next step of a judgement.
pub enum Step<'a> {
    /// The judgement is complete.
    Done(Outcome),
    /// Wait until keys of that source were fetched.
    WaitForKeys(Id),
    /// Wait until another request has the resolver's answer to the same question.
    WaitForAnswer(Key),
    /// Wait until another request of the same client request has the answer to this question.
    Join(NonNull<Asked>),
    /// Ask the resolver and wait for its answer.
    Ask(Box<Ask<'a>>),
}

impl Step<'_> {
    /// Refuses the credential.
    pub fn refused(reason: Reason) -> Self {
        Self::Done(Outcome::Refused(reason))
    }

    /// Reports that the resolver gave no verdict.
    pub fn resolver_unavailable() -> Self {
        /// Seconds until another question to a resolver that failed is worth while.
        const RETRY_AFTER: u64 = 1;
        Self::Done(Outcome::Unavailable(
            Reason::ResolverUnavailable,
            RETRY_AFTER,
        ))
    }

    /// Reports that no keys can be had for so many seconds.
    pub fn keys_unavailable(seconds: u64) -> Self {
        Self::Done(Outcome::Unavailable(Reason::KeysUnavailable, seconds))
    }
}
