//! Tenants, and the sources of their keys.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::keys::fetch::Source;
use authgear_core::keys::freshness::Timing;
use authgear_core::keys::KeySet;
use authgear_core::Reason;

use crate::shm::Id;

/// A project at one endpoint.
#[derive(Debug)]
pub struct Tenant {
    /// Differs from that of every other tenant of any project.
    pub id: Id,
    /// The endpoint's origin, or the issuer without an endpoint: what a token for the project
    /// itself names as its audience.
    pub origin: Box<str>,
    /// Any of them must be `iss`; never empty.
    pub issuers: Vec<Box<str>>,
    /// Any of them must be in `aud`.
    pub audience: Vec<Box<str>>,
    /// The keys that sign its tokens.
    pub keys: Keys,
    /// Fingerprints of the names under which its users are revoked: the origin, and the issuers that are
    /// others. Tenants that share one share revocations.
    pub names: Rc<[Id]>,
    /// The judgement of its sessions where no other audience is asked for, made once.
    pub sessions: OnceCell<Result<(), Reason>>,
}

/// The keys of a tenant.
#[derive(Debug)]
pub enum Keys {
    /// `jwks_file`, read by the master.
    File(Rc<KeySet>),
    /// Fetched, and shared by all workers.
    Remote(Box<KeySource>),
}

/// A source of keys that are fetched. Projects and tenants with the same one share keys and fetches.
#[derive(Debug, Clone)]
pub struct KeySource {
    /// Differs from that of every other source, and stays across reloads.
    pub id: Id,
    /// The document to fetch.
    pub from: Source,
    /// A request names it, by the variables of the project's endpoint: clients can make such up.
    pub is_of_request: bool,
    /// When to fetch it.
    pub timing: Timing,
    /// Digest of the name of the project whose fetches they are: of several the first.
    pub project: u64,
    /// The folders that keep the last good set for the next start.
    pub states: Vec<Arc<Path>>,
}

impl KeySource {
    /// Shares it with a project of those settings: the shortest times count, and each folder is written.
    pub fn join(&mut self, timeout: Duration, timing: &Timing, state: Option<&Arc<Path>>) {
        self.from.timeout = self.from.timeout.min(timeout);
        self.timing = Timing {
            refresh: self.timing.refresh.min(timing.refresh),
            stale: self.timing.stale.min(timing.stale),
            min_interval: self.timing.min_interval.min(timing.min_interval),
        };
        let added = state.filter(|state| !self.states.contains(state)).cloned();
        self.states.extend(added);
    }
}
