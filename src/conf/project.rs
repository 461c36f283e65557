//! The block `authgear_project`.

use std::cell::{OnceCell, RefCell};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::credential::CookieNames;
use authgear_core::fingerprint::fingerprint;
use authgear_core::keys::fetch::{Certificates, KeysFrom, Source};
use authgear_core::keys::freshness::Timing;
use authgear_core::keys::{KeySet, Origin, Url};
use authgear_core::policy::Rules;
use authgear_core::recheck::Recheck;
use authgear_core::revocation::Secrets;
use authgear_core::AlgorithmSet;

use lru::LruCache;

use crate::keys::{KeySource, Keys, Tenant};
use crate::nginx::{ComplexValue, Request};
use crate::shm::project_digest;

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
    /// How long a revocation is kept, in seconds.
    pub revocation_keep: u64,
    /// The folder that keeps them for the next start.
    pub state: Option<Arc<Path>>,
    endpoint: Endpoint,
}

#[derive(Debug)]
enum Endpoint {
    Fixed(Rc<Tenant>),
    Variable {
        value: ComplexValue,
        template: Box<Template>,
        /// The tenants used last by this process, by the variables' value.
        tenants: RefCell<LruCache<Box<[u8]>, Rc<Tenant>>>,
    },
}

/// The template of the tenants of an endpoint with variables.
#[derive(Debug)]
struct Template {
    project: String,
    issuer: Option<Box<str>>,
    audience: Vec<Box<str>>,
    internal: Option<Origin>,
    jwks_uri: Option<Url>,
    jwks_file: Option<Rc<KeySet>>,
    timeout: Duration,
    certificates: Arc<Certificates>,
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
                let tenant = Rc::new(template.tenant(Some(origin)));
                tenants.borrow_mut().put(value.into(), Rc::clone(&tenant));
                Ok(tenant)
            }
        }
    }
}

impl Endpoint {
    fn variable(value: ComplexValue, template: Template) -> Self {
        Self::Variable {
            value,
            template: Box::new(template),
            tenants: RefCell::new(LruCache::new(MOST_TENANTS)),
        }
    }
}

impl Template {
    fn tenant(&self, endpoint: Option<Origin>) -> Tenant {
        let origin = endpoint.as_ref().map(|origin| Box::from(origin.as_str()));
        let keys = match &self.jwks_file {
            Some(keys) => Keys::File(Rc::clone(keys)),
            None => {
                let from = Source {
                    keys: match (&self.jwks_uri, &endpoint) {
                        (Some(uri), _) => KeysFrom::Uri(uri.clone()),
                        (None, Some(endpoint)) => KeysFrom::Discovery(endpoint.clone()),
                        (None, None) => unreachable!("the block asks for an endpoint or keys"),
                    },
                    endpoint,
                    internal: self.internal.clone(),
                    timeout: self.timeout,
                    certificates: Arc::clone(&self.certificates),
                };
                Keys::Remote(KeySource {
                    id: from.id(),
                    project: project_digest(&self.project),
                    from,
                    timing: self.timing,
                    state: self.state.clone(),
                })
            }
        };
        let issuer = self.issuer.clone().or(origin.clone()).unwrap_or_default();
        let origin = origin.unwrap_or(issuer.clone());
        let mut names = vec![fingerprint([origin.as_bytes()])];
        if issuer != origin {
            names.push(fingerprint([issuer.as_bytes()]));
        }
        let source: &[u8] = match &keys {
            Keys::File(_) => b"file",
            Keys::Remote(source) => &source.id,
        };
        Tenant {
            id: fingerprint([
                self.project.as_bytes(),
                origin.as_bytes(),
                issuer.as_bytes(),
                source,
            ]),
            audience: if self.audience.is_empty() {
                vec![origin.clone()]
            } else {
                self.audience.clone()
            },
            origin,
            issuer,
            keys,
            names: names.into(),
            sessions: OnceCell::new(),
        }
    }
}
