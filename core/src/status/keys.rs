//! The state of key sets, from what the zone knows of their sources.

use super::count::FetchResult;
use super::snapshot::{KeyOrigin, KeyState, Keys, LastError};
use crate::keys::freshness::{Record, Timing};

/// The state of a source of keys. Times are those of [`Record`].
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// When it was fetched, and when it may be fetched again.
    pub record: Record,
    /// The number of usable keys.
    pub number: u64,
    /// The origin of its set; `None` without one.
    pub origin: Option<KeyOrigin>,
    /// The stage and the time of the last fetch that failed.
    pub last_error: Option<(FetchResult, u64)>,
}

impl Keys {
    /// The state of one source at the time `now`.
    pub fn of_source(source: &Source, timing: &Timing, now: u64) -> Keys {
        let record = &source.record;
        let seconds = |span: u64| span as f64 / 1000.0;
        let age = record.fetched_at.map(|at| now.saturating_sub(at));
        let limit = timing.refresh.saturating_add(timing.stale);
        let is_usable = age.is_some_and(|age| age < limit);
        let fails = record.failures > 0;
        let overdue = age.and_then(|age| age.checked_sub(timing.refresh));
        let state = match (is_usable, fails) {
            (true, true) if overdue.is_some() => KeyState::Stale,
            (true, _) => KeyState::Fresh,
            (false, true) => KeyState::Missing,
            (false, false) => KeyState::Idle,
        };
        let pause = match (age, fails) {
            (_, true) => record.next_try.saturating_sub(now),
            (Some(age), false) => timing.refresh.saturating_sub(age),
            (None, false) => 0,
        };
        Keys {
            state,
            origin: source.origin,
            number: if is_usable { source.number } else { 0 },
            age: age.map(seconds),
            next_refresh: Some(seconds(pause)),
            stale_for: overdue.filter(|_| fails).map(seconds),
            last_error: source.last_error.map(|(stage, at)| LastError {
                stage,
                age: seconds(now.saturating_sub(at)),
            }),
            ..Keys::default()
        }
    }

    /// The worst of both in each number.
    #[must_use]
    pub fn worst(self, other: Keys) -> Keys {
        let most = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        let is_newer = |one: &LastError, other: &LastError| one.age < other.age;
        Keys {
            state: self.state.max(other.state),
            origin: match (self.origin, other.origin) {
                (Some(KeyOrigin::Saved), _) | (None, _) => self.origin.or(other.origin),
                (_, other) => other,
            },
            number: self.number.min(other.number),
            age: most(self.age, other.age),
            next_refresh: most(
                self.next_refresh.map(|one| -one),
                other.next_refresh.map(|one| -one),
            )
            .map(|pause| pause.abs()),
            stale_for: most(self.stale_for, other.stale_for),
            last_error: match (self.last_error, other.last_error) {
                (Some(one), Some(other)) if is_newer(&one, &other) => Some(one),
                (one, None) => one,
                (_, other) => other,
            },
            ..Keys::default()
        }
    }
}
