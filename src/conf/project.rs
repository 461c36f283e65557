//! The block `authgear_project`.

use std::cell::{Cell, OnceCell, RefCell};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::credential::CookieNames;
use authgear_core::fingerprint::fingerprint;
use authgear_core::keys::fetch::{Certificates, KeysFrom, Proxy, Source};
use authgear_core::keys::freshness::Timing;
use authgear_core::keys::{KeySet, Origin, Url};
use authgear_core::login::Login;
use authgear_core::policy::Rules;
use authgear_core::recheck::Recheck;
use authgear_core::revocation::Secrets;
use authgear_core::AlgorithmSet;

use lru::LruCache;

use crate::keys::{KeySource, Keys, Tenant};
use crate::nginx::{ComplexValue, Request};
use crate::shm::{project_digest, Id};

mod block;

/// Tenants of one project that a process remembers: some 2 KiB each.
const MOST_TENANTS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

pub use block::block;

/// One Authgear project.
#[derive(Debug)]
pub struct Project {
    /// As `authgear_verify` names it.
    pub name: String,
    /// Its index among the projects.
    pub index: usize,
    /// Digest of its name, by which its counters are found.
    pub digest: u64,
    /// Names of the cookies that hold credentials.
    pub cookies: CookieNames,
    /// The algorithms a token may be signed with.
    pub algorithms: AlgorithmSet,
    /// The rules for a token beside issuer and audience.
    pub rules: Rules,
    /// The internal location that proxies to the resolver.
    pub resolve_request: Option<Box<[u8]>>,
    /// The lifetime of a resolver's yes in the cache, in milliseconds.
    pub resolve_cache: Option<u64>,
    /// How long after that a yes is used while the resolver cannot answer, in milliseconds; 0 for not at
    /// all.
    pub resolve_stale: u64,
    /// How often valid tokens are confirmed with the resolver, if at all.
    pub recheck: Option<Recheck>,
    /// The secrets that sign its webhooks.
    pub webhook_secrets: Option<Secrets>,
    /// The login of browsers.
    pub login: Option<Login>,
    /// True once it was logged that a login is wanted on another host.
    pub login_elsewhere: Cell<bool>,
    /// How long a revocation is kept, in seconds.
    pub revocation_keep: u64,
    /// The folder that keeps them for the next start.
    pub state: Option<Arc<Path>>,
    endpoint: Endpoint,
    sharer: Sharer,
    /// True if keys are fetched with the CA certificates of the system.
    pub asks_system_ca: bool,
}

#[derive(Debug)]
enum Endpoint {
    Fixed(Rc<Tenant>),
    Variable {
        value: ComplexValue,
        template: Rc<Template>,
        /// The other projects, with some of whose keys tenants may share theirs.
        others: Vec<Sharer>,
        /// The tenants used last by this process, by the variables' value.
        tenants: RefCell<LruCache<Box<[u8]>, Rc<Tenant>>>,
    },
}

/// The template of the tenants of an endpoint with variables.
#[derive(Debug)]
struct Template {
    project: String,
    issuers: Vec<Box<str>>,
    audience: Vec<Box<str>>,
    internal: Option<Origin>,
    jwks_uri: Option<Url>,
    jwks_file: Option<Rc<KeySet>>,
    timeout: Duration,
    certificates: Arc<Certificates>,
    proxy: Option<Arc<Proxy>>,
    state: Option<Arc<Path>>,
    timing: Timing,
}

/// The origin of a project's keys.
#[derive(Debug)]
pub enum ProjectKeys<'a> {
    /// `jwks_file`.
    File(&'a KeySet),
    /// One source.
    Source(&'a KeySource),
    /// One source for each tenant, fetched at these times.
    Tenants(&'a Timing),
}

/// The reason for which a request has no tenant.
#[derive(Debug, thiserror::Error)]
pub enum NoTenant {
    /// nginx could not evaluate the variables; it has logged why.
    #[error("the endpoint's variables cannot be evaluated")]
    Evaluate,
    /// The value is no origin.
    #[error("endpoint \"{0}\": {1}")]
    Origin(String, authgear_core::keys::OriginError),
}

impl Project {
    /// The only tenant, when the endpoint holds no variable.
    pub fn fixed_tenant(&self) -> Option<&Rc<Tenant>> {
        match &self.endpoint {
            Endpoint::Fixed(tenant) => Some(tenant),
            Endpoint::Variable { .. } => None,
        }
    }

    /// The origin of its keys.
    pub fn keys(&self) -> ProjectKeys<'_> {
        match &self.endpoint {
            Endpoint::Fixed(tenant) => match &tenant.keys {
                Keys::File(keys) => ProjectKeys::File(keys),
                Keys::Remote(source) => ProjectKeys::Source(source),
            },
            Endpoint::Variable { template, .. } => match &template.jwks_file {
                Some(keys) => ProjectKeys::File(keys),
                None => ProjectKeys::Tenants(&template.timing),
            },
        }
    }

    /// The tenant that the request is for.
    ///
    /// # Errors
    ///
    /// When the endpoint's variables do not make an origin that may be asked.
    pub fn tenant(&self, r: &Request) -> Result<Rc<Tenant>, NoTenant> {
        match &self.endpoint {
            Endpoint::Fixed(tenant) => Ok(Rc::clone(tenant)),
            Endpoint::Variable {
                value,
                template,
                others,
                tenants,
            } => {
                let value = value.evaluate(r).map_err(|_| NoTenant::Evaluate)?;
                if let Some(tenant) = tenants.borrow_mut().get(value) {
                    return Ok(Rc::clone(tenant));
                }
                let text = String::from_utf8_lossy(value);
                let origin = Origin::parse(&text).map_err(|error| {
                    NoTenant::Origin(text.escape_default().take(128).collect(), error)
                })?;
                let mut tenant = template.tenant(Some(origin), true);
                tenant.join(others);
                let tenant = Rc::new(tenant);
                tenants.borrow_mut().put(value.into(), Rc::clone(&tenant));
                Ok(tenant)
            }
        }
    }
}

impl Endpoint {
    fn fixed(endpoint: Option<Origin>, template: Template) -> (Self, Sharer) {
        let tenant = template.tenant(endpoint, false);
        let only = match &tenant.keys {
            Keys::File(_) => None,
            Keys::Remote(source) => Some(source.id),
        };
        let template = Rc::new(template);
        (Self::Fixed(Rc::new(tenant)), Sharer { template, only })
    }

    fn variable(value: ComplexValue, template: Template) -> (Self, Sharer) {
        let template = Rc::new(template);
        let sharer = Sharer {
            template: Rc::clone(&template),
            only: None,
        };
        let endpoint = Self::Variable {
            value,
            template,
            others: Vec::new(),
            tenants: RefCell::new(LruCache::new(MOST_TENANTS)),
        };
        (endpoint, sharer)
    }

    /// Takes account of another project, before the first request.
    fn meet(&mut self, other: &Sharer) {
        match self {
            Self::Fixed(tenant) => {
                if let Some(tenant) = Rc::get_mut(tenant) {
                    tenant.join(std::slice::from_ref(other));
                }
            }
            Self::Variable { others, .. } => others.push(other.clone()),
        }
    }
}

/// Adds a project. Keys that it has from the same source as another are fetched once for both.
fn add(projects: &mut Vec<Project>, mut project: Project) {
    for other in projects.iter_mut() {
        other.endpoint.meet(&project.sharer);
        project.endpoint.meet(&other.sharer);
    }
    projects.push(project);
}

/// A project as others see it, with which it may share keys.
#[derive(Debug, Clone)]
struct Sharer {
    template: Rc<Template>,
    /// The id of its only source; `None` with a file, and with an endpoint with variables, any of whose
    /// tenants may share keys.
    only: Option<Id>,
}

impl Sharer {
    /// True if keys from `source` are this project's too.
    fn shares(&self, source: &KeySource) -> bool {
        let id = self.only.or_else(|| {
            let from = self.template.source(source.from.endpoint.as_ref());
            from.map(|from| from.id())
        });
        id == Some(source.id)
    }
}

impl Tenant {
    /// Lets the times and folders of those count with whom it shares its keys.
    fn join(&mut self, others: &[Sharer]) {
        let Keys::Remote(source) = &mut self.keys else {
            return;
        };
        for other in others {
            if other.shares(source) {
                let template = &other.template;
                source.join(template.timeout, &template.timing, template.state.as_ref());
            }
        }
    }
}

impl Template {
    /// The source of the keys of a tenant at that endpoint; `None` if they come from a file, or from nowhere.
    fn source(&self, endpoint: Option<&Origin>) -> Option<Source> {
        let keys = match (&self.jwks_file, &self.jwks_uri, endpoint) {
            (None, Some(uri), _) => KeysFrom::Uri(uri.clone()),
            (None, None, Some(endpoint)) => KeysFrom::Discovery(endpoint.clone()),
            (Some(_), ..) | (None, None, None) => return None,
        };
        Some(Source {
            keys,
            endpoint: endpoint.cloned(),
            internal: self.internal.clone(),
            timeout: self.timeout,
            certificates: Arc::clone(&self.certificates),
            proxy: self.proxy.clone(),
        })
    }

    fn tenant(&self, endpoint: Option<Origin>, is_of_request: bool) -> Tenant {
        let keys = match (&self.jwks_file, self.source(endpoint.as_ref())) {
            (Some(keys), _) => Keys::File(Rc::clone(keys)),
            (None, Some(from)) => Keys::Remote(Box::new(KeySource {
                id: from.id(),
                project: project_digest(&self.project),
                from,
                is_of_request,
                timing: self.timing,
                states: self.state.iter().cloned().collect(),
            })),
            (None, None) => unreachable!("the block asks for an endpoint or keys"),
        };
        let origin: Option<Box<str>> = endpoint.map(|origin| origin.as_str().into());
        let issuers = match (&*self.issuers, &origin) {
            ([], Some(origin)) => vec![origin.clone()],
            (issuers, _) => issuers.to_vec(),
        };
        let origin = origin.unwrap_or_else(|| issuers[0].clone());
        let mut names = vec![&origin];
        names.extend(issuers.iter().filter(|issuer| **issuer != origin));
        let names = names.iter().map(|name| fingerprint([name.as_bytes()]));
        let source: &[u8] = match &keys {
            Keys::File(_) => b"file",
            Keys::Remote(source) => &source.id,
        };
        let mut told_by = vec![self.project.as_bytes(), origin.as_bytes(), source];
        told_by.extend(issuers.iter().map(|issuer| issuer.as_bytes()));
        Tenant {
            id: fingerprint(told_by),
            audience: if self.audience.is_empty() {
                vec![origin.clone()]
            } else {
                self.audience.clone()
            },
            names: names.collect(),
            origin,
            issuers,
            keys,
            sessions: OnceCell::new(),
        }
    }
}
