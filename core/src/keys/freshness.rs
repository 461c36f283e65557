//! Decides whether the current keys may be used and whether to fetch. Pure functions; the caller passes
//! the time.
//!
//! All times are milliseconds of one monotonic clock.

/// The times that decide when a key set is fetched, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A set older than this is fetched again (`jwks_refresh`).
    pub refresh: u64,
    /// The time after that for which it may still be used (`jwks_stale`).
    pub stale: u64,
    /// The least time between any fetch and the next one that an unknown `kid` causes (`jwks_min_interval`).
    pub min_interval: u64,
}

/// The state of a project's key set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The time at which the set at hand was fetched; `None` when there is none.
    pub fetched_at: Option<u64>,
    /// The time at which the last attempt ended, well or badly.
    pub attempted_at: Option<u64>,
    /// The number of attempts that have failed since the last that succeeded.
    pub failures: u32,
    /// Before this time no attempt follows a failed one.
    pub next_try: u64,
    /// Until this time somebody is fetching; 0 when nobody is.
    pub lease_until: u64,
}

/// The need of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any set that may be used.
    Keys,
    /// A set newer than the one at hand, which lacks the token's `kid`.
    NewKey,
}

/// The advice to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Use the set at hand.
    Use,
    /// Use the set at hand, and let somebody fetch a newer one.
    UseAndFetch,
    /// Fetch, and wait for the result.
    FetchAndWait,
    /// Somebody is fetching: wait.
    Wait,
    /// No set can be had before so many milliseconds have passed.
    Unavailable {
        /// Until the next attempt.
        retry_after: u64,
    },
    /// The set is as new as it may be, and the `kid` is not in it.
    Unknown,
}

/// Decides the next step of a request with that need at the time `now`.
pub fn advise(record: &Record, timing: &Timing, need: Need, now: u64) -> Advice {
    let fetching = now < record.lease_until;
    let failing = record.failures > 0;
    let may_retry = !failing || now >= record.next_try;
    let unavailable = Advice::Unavailable {
        retry_after: record.next_try.saturating_sub(now),
    };

    match need {
        Need::Keys => {
            let usable = record.fetched_at.map(|at| now.saturating_sub(at));
            match usable {
                Some(age) if age < timing.refresh => Advice::Use,
                Some(age) if age < timing.refresh.saturating_add(timing.stale) => {
                    if !fetching && may_retry {
                        Advice::UseAndFetch
                    } else {
                        Advice::Use
                    }
                }
                _ if fetching => Advice::Wait,
                _ if may_retry => Advice::FetchAndWait,
                _ => unavailable,
            }
        }
        Need::NewKey if fetching => Advice::Wait,
        Need::NewKey if failing && may_retry => Advice::FetchAndWait,
        Need::NewKey if failing => unavailable,
        Need::NewKey => match record.attempted_at {
            Some(at) if now.saturating_sub(at) < timing.min_interval => Advice::Unknown,
            _ => Advice::FetchAndWait,
        },
    }
}

/// The time to wait after `failures` failed attempts in a row, in milliseconds.
///
/// It doubles from 1 s up to `min_interval`, and varies by a quarter either way so that many servers do not fall into
/// step. While requests have no keys to be judged by, it stays at 1 s: they are refused until an attempt succeeds.
/// `jitter` is from 0 to 1.
pub fn back_off(failures: u32, timing: &Timing, has_keys: bool, jitter: f64) -> u64 {
    const FIRST: u64 = 1000;
    let doublings = if has_keys {
        failures.saturating_sub(1).min(16)
    } else {
        0
    };
    let most = timing.min_interval.max(FIRST);
    let pause = (FIRST << doublings).min(most);
    (pause as f64 * (0.75 + 0.5 * jitter.clamp(0.0, 1.0))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        refresh: 600_000,
        stale: 3_600_000,
        min_interval: 30_000,
    };

    fn fetched(at: u64) -> Record {
        Record {
            fetched_at: Some(at),
            attempted_at: Some(at),
            ..Record::default()
        }
    }

    #[test]
    fn a_set_is_fresh_then_stale_then_expired() {
        let record = fetched(1_000);
        let at = |age: u64| advise(&record, &TIMING, Need::Keys, 1_000 + age);
        assert_eq!(at(0), Advice::Use);
        assert_eq!(at(599_999), Advice::Use);
        assert_eq!(at(600_000), Advice::UseAndFetch);
        assert_eq!(at(4_199_999), Advice::UseAndFetch);
        assert_eq!(at(4_200_000), Advice::FetchAndWait);
    }

    #[test]
    fn nobody_fetches_beside_a_lease_and_a_lease_runs_out() {
        let none = Record {
            lease_until: 5_000,
            ..Record::default()
        };
        assert_eq!(advise(&none, &TIMING, Need::Keys, 4_999), Advice::Wait);
        assert_eq!(
            advise(&none, &TIMING, Need::Keys, 5_000),
            Advice::FetchAndWait
        );
        let stale = Record {
            lease_until: 700_000,
            ..fetched(0)
        };
        assert_eq!(advise(&stale, &TIMING, Need::Keys, 650_000), Advice::Use);
        assert_eq!(advise(&stale, &TIMING, Need::NewKey, 650_000), Advice::Wait);
    }

    #[test]
    fn failures_are_retried_only_after_their_pause() {
        let failed = Record {
            attempted_at: Some(1_000),
            failures: 1,
            next_try: 2_000,
            ..Record::default()
        };
        assert_eq!(
            advise(&failed, &TIMING, Need::Keys, 1_500),
            Advice::Unavailable { retry_after: 500 }
        );
        assert_eq!(
            advise(&failed, &TIMING, Need::Keys, 2_000),
            Advice::FetchAndWait
        );
        let stale = Record {
            failures: 1,
            next_try: 700_000,
            ..fetched(0)
        };
        assert_eq!(advise(&stale, &TIMING, Need::Keys, 650_000), Advice::Use);
        assert_eq!(
            advise(&stale, &TIMING, Need::Keys, 700_000),
            Advice::UseAndFetch
        );
    }

    #[test]
    fn an_unknown_kid_fetches_at_most_once_per_interval() {
        let record = fetched(1_000);
        assert_eq!(
            advise(&record, &TIMING, Need::NewKey, 30_999),
            Advice::Unknown
        );
        assert_eq!(
            advise(&record, &TIMING, Need::NewKey, 31_000),
            Advice::FetchAndWait
        );
    }

    #[test]
    fn an_unknown_kid_is_no_verdict_while_fetches_fail() {
        let record = Record {
            failures: 2,
            next_try: 5_000,
            attempted_at: Some(4_000),
            ..fetched(0)
        };
        assert_eq!(
            advise(&record, &TIMING, Need::NewKey, 4_500),
            Advice::Unavailable { retry_after: 500 }
        );
        assert_eq!(
            advise(&record, &TIMING, Need::NewKey, 5_000),
            Advice::FetchAndWait
        );
    }

    #[test]
    fn the_pause_doubles_to_the_interval_and_stays_short_without_keys() {
        assert_eq!(back_off(1, &TIMING, true, 0.5), 1_000);
        assert_eq!(back_off(4, &TIMING, true, 0.5), 8_000);
        assert_eq!(back_off(40, &TIMING, true, 0.5), 30_000);
        assert_eq!(back_off(40, &TIMING, false, 0.5), 1_000);
        assert_eq!(back_off(1, &TIMING, true, 0.0), 750);
        assert_eq!(back_off(1, &TIMING, true, 1.0), 1_250);
    }
}
