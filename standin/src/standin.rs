//! The whole stand-in: its projects, its faults, and how a request finds its project.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::Faults;
use crate::keys::{self, Key, KeyRing, KeyStore};
use crate::listener::Gate;
use crate::origin::Origin;
use crate::project::Project;

/// Settings that are fixed at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The default project's public origin.
    pub origin: Origin,
    /// Authgear's `http.cookie_prefix`.
    pub cookie_prefix: String,
    /// True if every other `Host` is a project too.
    pub tenants: bool,
    /// True if there is a TLS listener.
    pub tls: bool,
    /// The resolver's behaviour at start.
    pub resolver: Behaviour,
}

/// Behaviour in which the resolvers of servers differ.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Say the `amr` of a session. The server of 2026-08 always sends it empty.
    pub amr: bool,
    /// Take a JWT whose `jti` names no grant at its word when the project's key signed it. No
    /// server does.
    pub foreign_tokens: bool,
}

/// Everything that requests share.
pub struct Standin {
    /// Its settings.
    pub settings: Settings,
    /// Opens and closes the public listeners.
    pub gate: Arc<Gate>,
    store: Arc<KeyStore>,
    faults: Mutex<Faults>,
    resolver: Mutex<Behaviour>,
    projects: Mutex<HashMap<String, Arc<Mutex<Project>>>>,
    schemes: Mutex<HashMap<String, bool>>,
}

/// A project and the origin under which it was met.
#[derive(Clone)]
pub struct Met {
    /// The origin, which names issuer and audience.
    pub origin: Origin,
    project: Arc<Mutex<Project>>,
}

impl Met {
    /// The project's state.
    pub fn lock(&self) -> MutexGuard<'_, Project> {
        lock(&self.project)
    }
}

impl Standin {
    /// A stand-in whose projects have no keys and no users yet.
    pub fn new(settings: Settings, store: KeyStore, gate: Arc<Gate>) -> Self {
        Self {
            resolver: Mutex::new(settings.resolver),
            settings,
            gate,
            store: Arc::new(store),
            faults: Mutex::default(),
            projects: Mutex::default(),
            schemes: Mutex::default(),
        }
    }

    /// The key that signs the tokens of the Admin API.
    ///
    /// # Errors
    ///
    /// [`keys::Error`] when it cannot be made.
    pub fn admin_key(&self) -> Result<Key, keys::Error> {
        self.store.rsa("admin")
    }

    /// The faults in force.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// The resolver's present behaviour.
    pub fn resolver(&self) -> MutexGuard<'_, Behaviour> {
        lock(&self.resolver)
    }

    /// The project a public request means, by its `Host`; `secure` says whether it came by TLS,
    /// to this server or to one in front. `None` when there is no such project.
    pub fn by_host(&self, host: &str, secure: bool) -> Option<Met> {
        let default = &self.settings.origin;
        if default.is_host(host) {
            return Some(self.meet(default.clone()));
        }
        if !self.settings.tenants || host.is_empty() {
            return None;
        }
        let origin = Origin::new(secure, host);
        lock(&self.schemes).insert(origin.host.clone(), secure);
        Some(self.meet(origin))
    }

    /// The project that the control API's `project` parameter means: an origin, a host, or
    /// nothing for the default project. A bare host has the scheme of its last request; before
    /// the first, `http` on loopback when there is no TLS listener, else `https`.
    pub fn by_name(&self, name: Option<&str>) -> Option<Met> {
        let Some(name) = name else {
            return Some(self.meet(self.settings.origin.clone()));
        };
        if let Ok(origin) = name.parse::<Origin>() {
            return self.by_host(&origin.host, origin.secure);
        }
        let plain = !self.settings.tls && Origin::new(false, name).is_loopback();
        let schemes = lock(&self.schemes);
        let seen = |secure: &bool| schemes.get(&Origin::new(*secure, name).host) == Some(secure);
        let secure = [true, false].into_iter().find(seen).unwrap_or(!plain);
        drop(schemes);
        self.by_host(name, secure)
    }

    fn meet(&self, origin: Origin) -> Met {
        let mut projects = lock(&self.projects);
        let project = projects
            .entry(origin.host.clone())
            .or_insert_with_key(|host| {
                let default = *host == self.settings.origin.host;
                let name = if default { "default" } else { host.as_str() };
                let keys = KeyRing::new(Arc::clone(&self.store), name);
                Arc::new(Mutex::new(Project::new(keys)))
            });
        Met {
            origin,
            project: Arc::clone(project),
        }
    }
}

/// A panic elsewhere leaves the state usable: nothing here is half-changed for long.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
