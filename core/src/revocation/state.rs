//! The state of one user, which is all that was heard of that user.

use core::cmp::Reverse;

use smallvec::SmallVec;

use super::event::{Effect, Event};

/// The most events that a state keeps beside its instant.
pub const MARKS: usize = 3;

/// An event that still matters to plans: it calls off each plan of a lower `seq` whose time is after
/// its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// `seq`, which no two events of a user share.
    pub seq: u64,
    /// Its time in Unix seconds, or the state's instant if that is later; 0 for no mark.
    pub at: u64,
    /// The time from which its plan counts; 0 for none, or for one that was called off.
    pub plan: u64,
}

/// All that was heard of one user: the latest instant up to which sessions have ended, and the events
/// that decide about plans.
///
/// States are a join-semilattice: [`State::merge`] is commutative, associative and idempotent, so nodes
/// that have heard the same events agree, whatever the order. The one limit is [`MARKS`]: where more
/// events than that matter at once (each later than every instant, and each without effect or a plan), the
/// oldest is given up, and if its plan had taken effect, the plan's time becomes the instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Unix seconds; 0 for none.
    ended_at: u64,
    /// From the highest `seq` to the lowest. Their times fall strictly, and no plan in them was called
    /// off.
    marks: [Mark; MARKS],
}

impl State {
    /// The state after one event.
    #[must_use]
    pub fn of(event: &Event) -> State {
        let mark = |plan| Mark {
            seq: event.seq,
            at: event.at,
            plan,
        };
        match event.effect {
            Effect::Ends => State::normal(event.at, &[mark(0)]),
            Effect::EndsLater(time) => State::normal(0, &[mark(time)]),
            Effect::Nothing => State::normal(0, &[mark(0)]),
        }
    }

    /// The state of a node that has heard what two have heard.
    #[must_use]
    pub fn merge(&self, other: &State) -> State {
        let mut marks = [Mark::default(); 2 * MARKS];
        marks[..MARKS].copy_from_slice(&self.marks);
        marks[MARKS..].copy_from_slice(&other.marks);
        State::normal(self.ended_at.max(other.ended_at), &marks)
    }

    /// The least that says the same about every event that may yet come.
    fn normal(mut ended_at: u64, marks: &[Mark]) -> State {
        let mut all: SmallVec<[Mark; 2 * MARKS]> = marks.into();
        all.sort_unstable_by_key(|mark| Reverse(*mark));
        loop {
            let mut kept: SmallVec<[Mark; 2 * MARKS]> = SmallVec::new();
            let mut earliest = u64::MAX;
            for mark in all.iter().filter(|mark| mark.at > 0) {
                // A plan up to the instant is of no interest, so earlier times all call off the same.
                let at = mark.at.max(ended_at);
                let stands = mark.plan > ended_at && mark.plan <= earliest;
                if at < earliest {
                    earliest = at;
                    kept.push(Mark {
                        seq: mark.seq,
                        at,
                        plan: if stands { mark.plan } else { 0 },
                    });
                }
            }
            if kept.len() <= MARKS {
                let mut marks = [Mark::default(); MARKS];
                marks[..kept.len()].copy_from_slice(&kept);
                return State { ended_at, marks };
            }
            if let Some(oldest) = kept.pop() {
                ended_at = ended_at.max(oldest.plan);
            }
            all = kept;
        }
    }

    /// The instant that counts at `now`; both in Unix seconds. Sessions that began up to it have ended.
    #[must_use]
    pub fn instant(&self, now: f64) -> Option<u64> {
        let plans = self.marks.iter().map(|mark| mark.plan);
        let instant = plans
            .filter(|plan| *plan as f64 <= now)
            .fold(self.ended_at, u64::max);
        (instant > 0).then_some(instant)
    }

    /// Tells whether a token is revoked at `now`: it was issued, or its user logged in, at or before the
    /// instant, or it does not say when it was issued. All in Unix seconds.
    #[must_use]
    pub fn is_revoked(&self, iat: Option<f64>, auth_time: Option<f64>, now: f64) -> bool {
        self.instant(now).is_some_and(|instant| {
            let is_before = |time: f64| time <= instant as f64;
            iat.is_none_or(is_before) || auth_time.is_some_and(is_before)
        })
    }

    /// Tells whether an answer of the resolver is void at `now`: it was asked for before the instant came
    /// to this node, at `came_at`, or before the time of a plan that has taken effect. All in Unix seconds.
    #[must_use]
    pub fn is_answer_void(&self, asked_at: f64, came_at: f64, now: f64) -> bool {
        let is_late = |plan: u64| plan > 0 && plan as f64 <= now && asked_at <= plan as f64;
        (self.ended_at > 0 && asked_at <= came_at)
            || self.marks.iter().any(|mark| is_late(mark.plan))
    }

    /// Tells whether the event that made `other` voids answers that were asked for before: it ended
    /// sessions, and not earlier than all others heard of.
    #[must_use]
    pub fn is_renewed_by(&self, other: &State) -> bool {
        other.ended_at > 0 && other.ended_at >= self.ended_at
    }

    /// The earliest time after `now` from which a plan counts; both in Unix seconds.
    #[must_use]
    pub fn next_plan(&self, now: f64) -> Option<u64> {
        let plans = self.marks.iter().map(|mark| mark.plan);
        plans.filter(|plan| *plan as f64 > now).min()
    }

    /// The last time that the state says anything about, in Unix seconds: it is kept until `revocation_keep`
    /// after it.
    #[must_use]
    pub fn last_time(&self) -> u64 {
        let times = self.marks.iter().map(|mark| mark.at.max(mark.plan));
        times.fold(self.ended_at, u64::max)
    }

    /// The last time up to which sessions end, in Unix seconds; 0 for none.
    #[must_use]
    pub fn last_instant(&self) -> u64 {
        let plans = self.marks.iter().map(|mark| mark.plan);
        plans.fold(self.ended_at, u64::max)
    }

    /// The instant without plans, 0 for none, and the marks, for storing them.
    #[must_use]
    pub fn parts(&self) -> (u64, [Mark; MARKS]) {
        (self.ended_at, self.marks)
    }

    /// The state of [`State::parts`] that were stored.
    #[must_use]
    pub fn from_parts(ended_at: u64, marks: [Mark; MARKS]) -> State {
        State { ended_at, marks }
    }
}
