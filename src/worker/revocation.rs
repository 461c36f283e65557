//! The table of revocations, and the stream that fills it, for this worker.

use authgear_core::digest::{Digester, Kind};
use authgear_core::revocation::State;
use authgear_tables::revocations::{self, Merged};

use super::{zone, WORKER};
use crate::nginx::now as clock;
use crate::shm::{Id, SharedZone};

/// A user's revocation under any of the names, if it counts at `now`, in Unix seconds. While there are
/// no revocations, this reads one word of the zone.
pub fn revocation(names: &[Id], user: &str, now: u64) -> Option<revocations::Entry> {
    let zone = zone()?;
    let reader = zone.revocations().filter(|reader| !reader.is_empty(now))?;
    let entries = names
        .iter()
        .filter_map(|name| reader.look_up(&user_key(&reader, name, user), now));
    entries.reduce(|one, other| revocations::Entry {
        state: one.state.merge(&other.state),
        came_at: one.came_at.max(other.came_at),
        until: one.until.max(other.until),
    })
}

/// Takes or renews the right to read the revocation stream for so many milliseconds.
pub fn take_stream_lease(own: Option<u64>, milliseconds: u64) -> Option<u64> {
    zone()?.take_stream_lease(own, clock() + milliseconds, clock())
}

/// Notes that the stream works; returns for how many seconds it did not.
pub fn stream_is_up() -> Option<u64> {
    Some(clock().saturating_sub(zone()?.stream_is_up()?) / 1000)
}

/// Notes that the stream is broken; true if that is new.
pub fn stream_is_down() -> bool {
    zone().is_some_and(|zone| zone.stream_is_down(clock()))
}

/// Keeps a webhook of which this worker tells other nodes before `until`; its number, or `None` where the zone has
/// no room.
pub fn keep_outgoing(bytes: &[u8], until: u64) -> Option<u64> {
    zone()?.keep_outgoing(bytes, until)
}

/// The kept webhooks that no worker is about to tell, with their numbers, for this one to tell before `until`.
pub fn take_outgoing(until: u64) -> Vec<(u64, Vec<u8>)> {
    zone().map_or_else(Vec::new, |zone| zone.take_outgoing(clock(), until))
}

/// Lets any worker tell a kept webhook.
pub fn outgoing_is_due(number: u64) {
    if let Some(zone) = zone() {
        zone.outgoing_is_due(number, clock());
    }
}

/// Forgets a kept webhook, which other nodes know.
pub fn forget_outgoing(number: u64) {
    if let Some(zone) = zone() {
        zone.forget_outgoing(number);
    }
}

/// Tells whether JWTs wait for what the revocation stream has told so far.
pub fn is_learning() -> bool {
    zone().is_some_and(|zone| clock() < zone.learning_until())
}

/// The users that are revoked under a name at `now`, in Unix seconds.
pub fn revoked_users(name: &Id, now: u64) -> Option<u64> {
    let zone = zone()?;
    Some(zone.revocations()?.count_revoked(group_of(name), now) as u64)
}

/// The number of changes of revocations so far; `None` where there is no table.
pub fn revocation_changes() -> Option<u64> {
    Some(zone()?.revocations()?.changes())
}

/// Stores what was heard of a user under a name; `None` when there is no table.
pub fn revoke(name: &Id, user: &str, heard: &State, keep: u64, now: u64) -> Option<Merged> {
    revoke_in(zone()?, name, user, heard, keep, now)
}

/// As [`revoke`], in a zone before any worker uses it.
pub fn revoke_in(
    zone: SharedZone,
    name: &Id,
    user: &str,
    heard: &State,
    keep: u64,
    now: u64,
) -> Option<Merged> {
    let key = user_key(&zone.revocations()?, name, user);
    zone.with_revocations(|table| table.merge(&key, heard, keep, now, clock()))
}

fn group_of(name: &Id) -> u64 {
    let mut group = [0; 8];
    group.copy_from_slice(&name[..8]);
    u64::from_ne_bytes(group)
}

/// The key of a user in the table of revocations.
fn user_key(table: &revocations::Reader, name: &Id, user: &str) -> revocations::Key {
    let digester = WORKER.with(|worker| {
        let digester = worker.user_digester.get();
        digester.unwrap_or_else(|| {
            let digester = Digester::with(table.key());
            worker.user_digester.set(Some(digester));
            digester
        })
    });
    revocations::Key {
        group: group_of(name),
        digest: digester.of(Kind::User, &[name, user.as_bytes()]),
    }
}

/// Notes a token that outlives its revocation; true for the first of a project.
pub fn note_long_lived(project: usize) -> bool {
    zone().is_some_and(|zone| zone.note_long_lived(project))
}
