//! Changes of keys that a request waits for.

use authgear_core::keys::slots::{Slots, Standing};

use super::store::KeyStore;
use crate::shm::Id;

/// The next change of a source's keys, or its turn to be fetched.
#[derive(Debug, Clone, Copy)]
pub struct AwaitedKeys {
    source: Id,
    /// The source's last change when the request began to wait.
    since: u64,
    /// The source waits for a slot for its fetch, until that time.
    slot: Option<(Standing, u64)>,
}

impl AwaitedKeys {
    /// A change from now on. With `queued_until`, a source that nobody fetches waits for a slot until
    /// then.
    pub fn new(store: &mut KeyStore, source: Id, queued_until: Option<u64>, now: u64) -> Self {
        let since = store.last_change(&source, now);
        let slot = queued_until
            .filter(|_| !store.is_fetched(&source, now))
            .map(|until| (store.standing(&source, now), until));
        Self {
            source,
            since,
            slot,
        }
    }

    /// True when the waiting request should be resumed: the keys have changed, nobody fetches them any
    /// more, or one of `slots` is free. That slot is taken from `slots`, since the fetch will need it.
    pub fn is_due(&self, store: &mut KeyStore, slots: &mut Slots, now: u64) -> bool {
        let has_changed = store.last_change(&self.source, now) != self.since;
        let is_fetched = store.is_fetched(&self.source, now);
        match self.slot {
            None => has_changed || !is_fetched,
            Some((standing, until)) => {
                now >= until || has_changed || is_fetched || slots.take(standing)
            }
        }
    }
}
