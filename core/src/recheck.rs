//! Decides by the resolver's last answer whether a token that verifies still stands.

/// The rule by which valid tokens are confirmed with the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// The least time between two questions about one token, in milliseconds.
    pub interval: u64,
    /// A token that is new, or was not confirmed for two intervals, waits for the answer.
    pub strict: bool,
}

/// The least time between two questions about one token while the resolver fails, in
/// milliseconds.
pub const FAILED_PAUSE: u64 = 1_000;

/// The resolver's last answer about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastAnswer {
    /// It stands.
    Yes,
    /// It does not.
    No,
    /// None: the resolver cannot answer at all.
    Nothing,
    /// An answer that is no verdict, possibly caused by the client.
    Unclear,
}

/// The next step of a request with the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The token stands.
    Stands,
    /// It is refused.
    Refused,
    /// The request waits for the resolver's answer.
    Ask,
    /// The token stands, and the resolver is asked meanwhile.
    AskInBackground,
}

/// The reason why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// The resolver is suspended: it gives no response.
    Suspended,
    /// As many questions are under way as there may be.
    Full,
}

/// The verdict on a token about which the resolver is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The token stands.
    Stands,
    /// It is refused.
    Refused,
    /// There is no verdict.
    Unavailable,
}

impl Unasked {
    /// Decides about a token for which `next` was to be done. A no stays a no. While the resolver cannot
    /// answer, any other token stands; where there are too many questions, only one that need not wait.
    #[must_use]
    pub fn instead(self, next: Next, last: Option<LastAnswer>) -> Instead {
        match (next, last, self) {
            (Next::Refused, ..) | (Next::Ask, Some(LastAnswer::No), _) => Instead::Refused,
            (Next::Ask, _, Unasked::Full) => Instead::Unavailable,
            _ => Instead::Stands,
        }
    }
}

impl Recheck {
    /// Decides by the last answer and its age in milliseconds. `is_asked`: another request is asking
    /// already. `may_be_forgotten`: there may have been no room to keep a no, so that a token without
    /// an answer waits, as with `strict`.
    ///
    /// A refused token stays refused until the resolver accepts it. After an unclear answer a token waits
    /// for a clear one. Any other token is accepted while the resolver is down.
    pub fn next(
        self,
        last: Option<(LastAnswer, u64)>,
        is_asked: bool,
        may_be_forgotten: bool,
    ) -> Next {
        let is_old = last.is_none_or(|(_, age)| age / 2 >= self.interval);
        match last {
            Some((LastAnswer::Yes, age)) if age < self.interval => Next::Stands,
            Some((LastAnswer::No, age)) if age < self.interval || is_asked => Next::Refused,
            Some((LastAnswer::No | LastAnswer::Unclear, _)) => Next::Ask,
            Some((LastAnswer::Nothing, age)) if age < FAILED_PAUSE => Next::Stands,
            None if may_be_forgotten => Next::Ask,
            _ if self.strict && is_old => Next::Ask,
            _ if is_asked => Next::Stands,
            _ => Next::AskInBackground,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_or_falls_by_the_last_answer_and_its_age() {
        use LastAnswer::{No, Nothing, Unclear, Yes};
        use Next::{Ask, AskInBackground, Refused, Stands};
        // The last answer and its age; then what follows, and with strict: while nobody is asking,
        // and while somebody is.
        for (last, [idle, asked], [strict, strict_asked]) in [
            (None, [AskInBackground, Stands], [Ask, Ask]),
            (Some((Yes, 0)), [Stands, Stands], [Stands, Stands]),
            (Some((Yes, 29_999)), [Stands, Stands], [Stands, Stands]),
            (
                Some((Yes, 30_000)),
                [AskInBackground, Stands],
                [AskInBackground, Stands],
            ),
            (
                Some((Yes, 59_999)),
                [AskInBackground, Stands],
                [AskInBackground, Stands],
            ),
            (Some((Yes, 60_000)), [AskInBackground, Stands], [Ask, Ask]),
            (Some((No, 0)), [Refused, Refused], [Refused, Refused]),
            (Some((No, 29_999)), [Refused, Refused], [Refused, Refused]),
            (Some((No, 30_000)), [Ask, Refused], [Ask, Refused]),
            (Some((No, u64::MAX)), [Ask, Refused], [Ask, Refused]),
            (Some((Nothing, 999)), [Stands, Stands], [Stands, Stands]),
            (
                Some((Nothing, 1_000)),
                [AskInBackground, Stands],
                [AskInBackground, Stands],
            ),
            (
                Some((Nothing, u64::MAX)),
                [AskInBackground, Stands],
                [Ask, Ask],
            ),
            (Some((Unclear, 0)), [Ask, Ask], [Ask, Ask]),
            (Some((Unclear, u64::MAX)), [Ask, Ask], [Ask, Ask]),
        ] {
            let next = |strict, is_asked| {
                let interval = 30_000;
                Recheck { interval, strict }.next(last, is_asked, false)
            };
            assert_eq!(
                [next(false, false), next(false, true)],
                [idle, asked],
                "{last:?}"
            );
            assert_eq!(
                [next(true, false), next(true, true)],
                [strict, strict_asked],
                "strict, {last:?}"
            );
        }
    }

    #[test]
    fn a_token_that_is_not_asked_about_stands_while_the_resolver_is_suspended() {
        use LastAnswer::{No, Nothing, Unclear, Yes};
        for last in [None, Some(Yes), Some(Nothing), Some(Unclear), Some(No)] {
            let decided = |why: Unasked, next| why.instead(next, last);
            let waits = |other| match last {
                Some(No) => Instead::Refused,
                _ => other,
            };
            let (suspended, full) = (Unasked::Suspended, Unasked::Full);
            assert_eq!(decided(suspended, Next::Ask), waits(Instead::Stands));
            assert_eq!(decided(full, Next::Ask), waits(Instead::Unavailable));
            for why in [suspended, full] {
                assert_eq!(decided(why, Next::AskInBackground), Instead::Stands);
                assert_eq!(decided(why, Next::Stands), Instead::Stands);
                assert_eq!(decided(why, Next::Refused), Instead::Refused);
            }
        }
    }

    #[test]
    fn a_token_without_an_answer_waits_where_a_no_may_have_found_no_room() {
        for strict in [false, true] {
            let interval = 30_000;
            let next = |last| Recheck { interval, strict }.next(last, false, true);
            assert_eq!(next(None), Next::Ask);
            assert_eq!(next(Some((LastAnswer::Yes, 0))), Next::Stands);
            assert_eq!(next(Some((LastAnswer::No, 0))), Next::Refused);
        }
    }
}
