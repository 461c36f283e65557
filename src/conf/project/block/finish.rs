//! Checks what the directives of a block say together, and makes the project of them.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::credential::CookieNames;
use authgear_core::keys::fetch::{Certificates, Identity};
use authgear_core::keys::freshness::Timing;
use authgear_core::login::Login;
use authgear_core::policy::{Rules, TokenKind};
use authgear_core::{Algorithm, AlgorithmSet};

use super::readers::{GivenEndpoint, PemFile};
use super::Block;
use crate::conf::mistake::Mistake;
use crate::conf::project::{Endpoint, Project, Template};
use crate::conf::value::OrOff;
use crate::shm::project_digest;

impl Block {
    /// Checks the block, and makes its project, which is the one of that index.
    pub fn finish(self, name: &str, index: usize) -> Result<Project, Mistake> {
        self.check_endpoint()?;
        self.check_keys_from_file()?;
        self.check_resolver()?;
        self.check_one_endpoint()?;
        let algorithms = self.allowed_algorithms();
        let asks_system_ca = self.asks_by_tls() && self.ssl_trusted_certificate.is_none();
        let certificates = certificates(
            self.ssl_trusted_certificate,
            self.ssl_name.as_deref(),
            self.ssl_certificate.as_ref(),
            self.ssl_certificate_key.as_ref(),
        )?;
        let state: Option<Arc<Path>> = self.state_path.and_then(OrOff::on).map(Arc::from);
        let template = Template {
            project: name.to_string(),
            issuers: self.issuer.unwrap_or_default(),
            audience: self.audience.unwrap_or_default(),
            internal: self.internal_endpoint,
            jwks_uri: self.jwks_uri,
            jwks_file: self.jwks_file.map(Rc::new),
            timeout: Duration::from_millis(self.fetch_timeout.unwrap_or(5_000)),
            certificates: Arc::new(certificates),
            proxy: self.fetch_proxy.and_then(OrOff::on).map(Arc::new),
            state: state.clone(),
            timing: Timing {
                refresh: self.jwks_refresh.unwrap_or(10 * 60 * 1000),
                stale: self.jwks_stale.unwrap_or(24 * 60 * 60 * 1000),
                min_interval: self.jwks_min_interval.unwrap_or(30_000),
            },
        };
        let login = match (&self.endpoint, self.login) {
            (Some(GivenEndpoint::Fixed(origin)), Some(client)) => Some(Login::new(origin, client)),
            _ => None,
        };
        let (endpoint, sharer) = match self.endpoint {
            Some(GivenEndpoint::Variable(value)) => Endpoint::variable(value, template),
            Some(GivenEndpoint::Fixed(origin)) => Endpoint::fixed(Some(origin), template),
            None => Endpoint::fixed(None, template),
        };
        Ok(Project {
            name: name.to_string(),
            index,
            digest: project_digest(name),
            cookies: match self.cookie_prefix {
                Some(names) => names,
                None => CookieNames::new("").map_err(|error| error.to_string())?,
            },
            algorithms,
            resolve_request: self.resolve_request.and_then(OrOff::on),
            resolve_cache: self.resolve_cache.and_then(OrOff::on),
            resolve_stale: self.resolve_stale.and_then(OrOff::on).unwrap_or(0),
            recheck: self.recheck.and_then(OrOff::on),
            webhook_secrets: self.webhook_secret_file,
            login,
            login_elsewhere: Cell::new(false),
            state,
            revocation_keep: self.revocation_keep.unwrap_or(24 * 60 * 60),
            rules: Rules {
                client_ids: self.client_id.unwrap_or_default(),
                token_type: self.token_type.unwrap_or_default(),
                typ: self.typ.map_or(Rules::default().typ, OrOff::on),
                leeway: self.leeway.unwrap_or(0) as f64 / 1000.0,
            },
            endpoint,
            sharer,
            asks_system_ca,
        })
    }

    fn allowed_algorithms(&self) -> AlgorithmSet {
        self.algorithms
            .unwrap_or(AlgorithmSet::EMPTY.with(Algorithm::Rs256))
    }

    /// True if keys are fetched by TLS.
    fn asks_by_tls(&self) -> bool {
        let place = match (&self.jwks_uri, &self.internal_endpoint, &self.endpoint) {
            (Some(url), _, _) => Some(url.origin()),
            (None, Some(internal), _) => Some(internal),
            (None, None, Some(GivenEndpoint::Fixed(origin))) => Some(origin),
            (None, None, _) => None,
        };
        self.jwks_file.is_none() && place.is_none_or(|origin| origin.scheme() == "https")
    }

    /// Refuses a block without an endpoint that does not say all that is derived from one.
    fn check_endpoint(&self) -> Result<(), Mistake> {
        if self.endpoint.is_some() {
            return Ok(());
        }
        let has_keys = self.jwks_uri.is_some() || self.jwks_file.is_some();
        if !has_keys || self.issuer.is_none() || self.audience.is_none() {
            return Err(
                "has no \"endpoint\"; add \"endpoint https://myapp.authgear.cloud;\", \
                 or \"issuer\", \"audience\" and \"jwks_uri\" or \"jwks_file\""
                    .into(),
            );
        }
        if self.internal_endpoint.is_some() {
            return Err("has an \"internal_endpoint\" but no \"endpoint\"; \
                        add the public \"endpoint\", which is sent as Host"
                .into());
        }
        Ok(())
    }

    /// Refuses what only makes sense for keys that are fetched, beside keys from a file.
    fn check_keys_from_file(&self) -> Result<(), Mistake> {
        let Some(keys) = &self.jwks_file else {
            return Ok(());
        };
        let allowed = self.allowed_algorithms();
        let known: Vec<Algorithm> = keys.describe().flat_map(|(_, of_key)| of_key).collect();
        if !known.iter().any(|known| allowed.contains(*known)) {
            let first = known.first().map_or("", |first| first.name());
            return Err(format!(
                "has a \"jwks_file\" without a key for any of its \"algorithms\" (RS256 unless set), so no \
                 token could be verified; write \"algorithms {first};\" if that is what signs them"
            )
            .into());
        }
        let others = [
            ("jwks_uri", self.jwks_uri.is_some()),
            ("internal_endpoint", self.internal_endpoint.is_some()),
            ("jwks_refresh", self.jwks_refresh.is_some()),
            ("jwks_stale", self.jwks_stale.is_some()),
            ("jwks_min_interval", self.jwks_min_interval.is_some()),
            ("fetch_timeout", self.fetch_timeout.is_some()),
            (
                "ssl_trusted_certificate",
                self.ssl_trusted_certificate.is_some(),
            ),
            ("ssl_name", self.ssl_name.is_some()),
            ("ssl_certificate", self.ssl_certificate.is_some()),
            ("ssl_certificate_key", self.ssl_certificate_key.is_some()),
            ("fetch_proxy", self.fetch_proxy.is_some()),
            // Revocations are kept there too.
            (
                "state_path",
                self.state_path.is_some() && self.webhook_secret_file.is_none(),
            ),
        ];
        match others.iter().find(|(_, present)| *present) {
            None => Ok(()),
            Some((other, _)) => Err(format!(
                "has both \"jwks_file\" and \"{other}\", but keys from a file are never \
                 fetched; remove one"
            )
            .into()),
        }
    }

    /// Refuses what belongs to one project, a webhook's secret or a login, beside an endpoint that is many, and
    /// a login beside none.
    fn check_one_endpoint(&self) -> Result<(), Mistake> {
        let is_variable = matches!(self.endpoint, Some(GivenEndpoint::Variable(_)));
        if is_variable && self.webhook_secret_file.is_some() {
            return Err(
                "has \"webhook_secret_file\" and an \"endpoint\" with variables, but a secret is \
                 one project's alone; add an \"authgear_project\" for each that sends webhooks"
                    .into(),
            );
        }
        match (&self.login, &self.endpoint) {
            (Some(_), None) => Err("has \"login\" but no \"endpoint\", where users log in; add it".into()),
            (Some(_), Some(GivenEndpoint::Variable(_))) => Err(
                "has \"login\" and an \"endpoint\" with variables, but a client is one project's alone; \
                 add an \"authgear_project\" for each that has a login"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// Refuses `resolve_request` with `token_type client`, and `resolve_cache` or `recheck` without
    /// `resolve_request`, and `resolve_stale` without `resolve_cache`.
    fn check_resolver(&self) -> Result<(), Mistake> {
        let has_resolver = matches!(self.resolve_request, Some(OrOff::On(_)));
        if has_resolver && self.token_type == Some(TokenKind::Client) {
            return Err(
                "has \"resolve_request\" and \"token_type client\", but the resolver \
                 knows users only; remove one"
                    .into(),
            );
        }
        let needs = [
            (
                "resolve_cache",
                matches!(self.resolve_cache, Some(OrOff::On(_))),
            ),
            ("recheck", matches!(self.recheck, Some(OrOff::On(_)))),
        ];
        let is_on = |time: &Option<OrOff<u64>>| matches!(time, Some(OrOff::On(_)));
        if is_on(&self.resolve_stale) && !is_on(&self.resolve_cache) {
            return Err(
                "has \"resolve_stale\" but no \"resolve_cache\", which keeps what may be used \
                 longer; add \"resolve_cache 10s;\""
                    .into(),
            );
        }
        match needs.iter().find(|(_, present)| *present) {
            Some((directive, _)) if !has_resolver => Err(format!(
                "has \"{directive}\" but no \"resolve_request\"; \
                 add \"resolve_request /_authgear/resolve;\" and that location"
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// The certificates for the fetch.
fn certificates(
    trusted: Option<Vec<u8>>,
    name: Option<&str>,
    certificate: Option<&PemFile>,
    key: Option<&PemFile>,
) -> Result<Certificates, Mistake> {
    let mut made = match trusted {
        Some(pem) => Certificates::trusting(pem),
        None => Certificates::system(),
    };
    if let Some(name) = name {
        made = made.named(name).map_err(|error| error.to_string())?;
    }
    match (certificate, key) {
        (None, None) => Ok(made),
        (Some(certificate), Some(key)) => {
            let identity = Identity::parse(&certificate.content, &key.content);
            let identity = identity.map_err(|error| {
                format!(
                    "has \"ssl_certificate\" \"{}\" and \"ssl_certificate_key\" \"{}\": {error}",
                    certificate.path, key.path
                )
            })?;
            Ok(made.identified_by(identity))
        }
        _ => Err(
            "has one of \"ssl_certificate\" and \"ssl_certificate_key\", which need each other; \
             add the other, or remove both"
                .into(),
        ),
    }
}
