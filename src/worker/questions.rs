//! Questions to resolvers: those under way in this worker, and the suspension of a resolver that gives no
//! response.

use core::cell::RefCell;
use core::mem::ManuallyDrop;

use authgear_core::share::{self, Accepted, Questions, Subject};
use authgear_tables::breaker::{Breaker, Silence};
use authgear_tables::judgements::Key;

use super::{counters, zone};
use crate::conf::Project;
use crate::nginx::now;
use crate::shm::Id;

thread_local! {
    // Never dropped, as the worker's other state: pools, which have places, are destroyed when the process
    // exits.
    static QUESTIONS: ManuallyDrop<RefCell<Questions>> = ManuallyDrop::default();
    static ACCEPTED: ManuallyDrop<RefCell<Accepted>> = ManuallyDrop::default();
}

/// The place of a question that is under way. It is given back when this is dropped.
#[derive(Debug)]
pub struct Place(share::Place);

impl Drop for Place {
    fn drop(&mut self) {
        QUESTIONS.with(|questions| questions.borrow_mut().leave(&self.0));
    }
}

/// Takes a place for a question.
pub fn enter(project: &Project, tenant: &Id, subject: Subject) -> Option<Place> {
    // SAFETY: inside a callback the current cycle is live.
    let connections = unsafe { (*nginx_sys::ngx_cycle).connection_n };
    let tenant = project.fixed_tenant().is_none().then_some(*tenant);
    let place = QUESTIONS.with(|questions| {
        let mut questions = questions.borrow_mut();
        questions.enter(project.digest, tenant, subject, connections)
    });
    place.map(Place)
}

/// Notes that the resolver has accepted a credential.
pub fn note_yes(key: &Key) {
    ACCEPTED.with(|accepted| accepted.borrow_mut().note(&key.digest));
}

/// True for a credential that the resolver has accepted, as far as this worker remembers.
pub fn had_yes(key: &Key) -> bool {
    ACCEPTED.with(|accepted| accepted.borrow().has(&key.digest))
}

/// Hands the breaker of a tenant's resolver to `read`, if anything is remembered of it.
fn read<T>(project: &Project, tenant: &Id, read: impl FnOnce(&Breaker) -> T) -> Option<T> {
    match project.fixed_tenant() {
        Some(_) => counters(project).map(|counters| read(counters.breaker())),
        None => zone()?.read_breaker(tenant, read),
    }
}

/// True while nobody waits for a tenant's resolver.
pub fn is_suspended(project: &Project, tenant: &Id) -> bool {
    read(project, tenant, Breaker::is_suspended).unwrap_or(false)
}

/// Takes the turn to probe a tenant's resolver.
pub fn take_probe(project: &Project, tenant: &Id) -> bool {
    read(project, tenant, |breaker| breaker.take_probe(now())).unwrap_or(false)
}

/// Notes a response of a tenant's resolver; returns for how many milliseconds it was suspended, if that ends.
pub fn note_response(project: &Project, tenant: &Id) -> Option<u64> {
    let since = read(project, tenant, |breaker| breaker.note_response(now()))??;
    Some(now().saturating_sub(since))
}

/// Notes that a question that was asked at `asked_at`, or a probe, got no response.
pub fn note_silence(project: &Project, tenant: &Id, asked_at: u64, is_probe: bool) -> Silence {
    let now = now();
    let note = |breaker: &Breaker| match is_probe {
        true => breaker.note_silent_probe(asked_at, now),
        false => breaker.note_silence(asked_at, now),
    };
    let noted = match project.fixed_tenant() {
        Some(_) => counters(project).map(|counters| note(counters.breaker())),
        None => zone().map(|zone| zone.change_breaker((tenant, project.digest), now, note)),
    };
    noted.unwrap_or(Silence::Counted)
}

/// The time since which the project's resolver, or that of one of its tenants, is suspended.
pub fn suspended_since(project: &Project) -> Option<u64> {
    match project.fixed_tenant() {
        Some(_) => counters(project)?.breaker().suspended_since(),
        None => zone()?.tenants_suspended_since(project.digest),
    }
}
