//! The suspension of a resolver that gives no response: a circuit breaker for each project, and for each tenant
//! of a project with many.
//!
//! After three questions in a row without a response nobody asks but a probe a second, until there is a
//! response. All words are atomics that are complete one by one: a process that is killed between two of them
//! leaves a breaker that is closed, or one that the next probe closes.

use crate::layout_number;
use crate::word::Word;

#[cfg(all(test, feature = "loom"))]
mod models;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

/// Questions in a row without a response that suspend a resolver.
pub const MOST_SILENT: u64 = 3;
/// The least time between two probes, in milliseconds.
pub const PROBE_PAUSE: u64 = 1_000;
/// How long clients' questions alone do not suspend a resolver that answered within [`PROBE_PAUSE`] after
/// they did, in milliseconds.
const TRUST: u64 = 10_000;

/// The state of one resolver. Zeroed memory is one that is not suspended. Times are milliseconds of the clock
/// that the processes share; 0 stands for none.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Breaker {
    /// Questions in a row without a response.
    silent: Word,
    /// Since when it is suspended.
    since: Word,
    /// When the last probe was sent.
    probed_at: Word,
    /// When a response last ended a row. A question from before it is none of the next row.
    cleared_at: Word,
    /// Until then clients' questions do not suspend it.
    trusted_until: Word,
}

/// The consequence of a question without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// None yet, or none any more.
    Counted,
    /// The resolver is to be probed, and suspended if the probe gets no response: it answered a moment ago when
    /// clients' questions got none, as those that a filter before it drops.
    Doubtful,
    /// The resolver is suspended from now on.
    Suspended,
}

impl Breaker {
    /// True while nobody waits for the resolver.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.since.get() != 0
    }

    /// The time since which it is suspended.
    #[must_use]
    pub fn suspended_since(&self) -> Option<u64> {
        Some(self.since.get()).filter(|since| *since != 0)
    }

    /// Notes that a question of a client, asked at `asked_at`, got no response.
    pub fn note_silence(&self, asked_at: u64, now: u64) -> Silence {
        if asked_at < self.cleared_at.get()
            || self.silent.increment() < MOST_SILENT
            || self.is_suspended()
        {
            return Silence::Counted;
        }
        if now < self.trusted_until.get() {
            return Silence::Doubtful;
        }
        self.suspend(now)
    }

    /// Notes that a probe got no response.
    pub fn note_silent_probe(&self, asked_at: u64, now: u64) -> Silence {
        if asked_at < self.cleared_at.get() {
            return Silence::Counted;
        }
        self.suspend(now)
    }

    fn suspend(&self, now: u64) -> Silence {
        if !self.since.replace(0, now) {
            return Silence::Counted;
        }
        // The first probe follows at once.
        self.probed_at.set(0);
        Silence::Suspended
    }

    /// Notes a response; returns since when the resolver was suspended, if that ends.
    pub fn note_response(&self, now: u64) -> Option<u64> {
        let since = self.since.get();
        // Most find it so, and leave the cache line to the others.
        if since == 0 && self.silent.get() == 0 {
            return None;
        }
        let is_false_alarm = since != 0 && now.saturating_sub(since) < PROBE_PAUSE;
        if is_false_alarm || now < self.trusted_until.get() {
            self.trusted_until.set(now + TRUST);
        }
        self.cleared_at.set(now);
        self.silent.set(0);
        (since != 0 && self.since.replace(since, 0)).then_some(since)
    }

    /// Takes the turn to send a probe, which comes once a second. It is nobody's afterwards: one who dies with
    /// it stops no later one.
    pub fn take_probe(&self, now: u64) -> bool {
        let last = self.probed_at.get();
        let is_due = last == 0 || now.saturating_sub(last) >= PROBE_PAUSE;
        is_due && self.probed_at.replace(last, now)
    }

    /// True when nothing is to be remembered of it.
    fn is_clear(&self) -> bool {
        self.silent.get() == 0 && !self.is_suspended()
    }

    /// Forgets all.
    fn clear(&self) {
        self.since.set(0);
        self.silent.set(0);
        self.probed_at.set(0);
        self.cleared_at.set(0);
        self.trusted_until.set(0);
    }
}

/// Records in each set.
const WAYS: usize = 8;

/// The breakers of the tenants whose resolver gave no response lately, in sets.
///
/// Clients make up tenants: those of which least is to be remembered give way.
#[derive(Debug, Clone, Copy)]
pub struct Breakers<'m>(&'m [Set]);

/// Records of tenants whose digests choose the same set. Zeroed memory is one without any.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Set([Record; WAYS]);

#[derive(Debug, Default)]
#[repr(C)]
struct Record {
    /// A keyed digest of the tenant; 0 for none.
    tenant: Word,
    /// A digest of its project's name.
    project: Word,
    /// When it last was without a response.
    used: Word,
    breaker: Breaker,
}

/// Differs when the tables are laid out in another way.
pub const LAYOUT: u64 = layout_number(&[
    core::mem::size_of::<Breaker>(),
    core::mem::size_of::<Record>(),
    core::mem::size_of::<Set>(),
    WAYS,
]);

impl<'m> Breakers<'m> {
    /// A table of these sets, of which there must be one at least.
    #[must_use]
    pub fn new(sets: &'m [Set]) -> Self {
        Self(sets)
    }

    /// Sets in a zone of so many bytes: a record for 16 KiB of it, and at least 128.
    #[must_use]
    pub fn sets_in(zone: usize) -> usize {
        (zone / (16 << 10)).max(128) / WAYS
    }

    fn set(&self, tenant: u64) -> &'m [Record; WAYS] {
        &self.0[tenant as usize / 2 % self.0.len()].0
    }

    /// The breaker of the tenant with that digest, which is never 0, if anything is remembered of it.
    #[must_use]
    pub fn find(&self, tenant: u64) -> Option<&'m Breaker> {
        let mut set = self.set(tenant).iter();
        let found = set.find(|record| record.tenant.get() == tenant);
        found.map(|record| &record.breaker)
    }

    /// The breaker of a tenant; one that is new takes the place of another. The caller holds a lock.
    pub fn find_or_insert(&self, tenant: u64, project: u64, now: u64) -> &'m Breaker {
        let set = self.set(tenant);
        let own = set.iter().find(|record| record.tenant.get() == tenant);
        let record = own.unwrap_or_else(|| {
            let worth = |record: &&Record| {
                let breaker = &record.breaker;
                let is_free = record.tenant.get() == 0 || breaker.is_clear();
                (!is_free, breaker.is_suspended(), record.used.get())
            };
            let least = set.iter().min_by_key(worth).unwrap_or(&set[0]);
            least.tenant.set(0);
            least.breaker.clear();
            least.project.set(project);
            least.tenant.set(tenant);
            least
        });
        record.used.set(now);
        &record.breaker
    }

    /// The time since which the first suspended tenant of a project is so.
    #[must_use]
    pub fn suspended_since(&self, project: u64) -> Option<u64> {
        let own = self
            .0
            .iter()
            .flat_map(|set| &set.0)
            .filter(|record| record.tenant.get() != 0 && record.project.get() == project);
        own.filter_map(|record| record.breaker.suspended_since())
            .min()
    }
}
