//! GET requests with size limits and one deadline for all.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{header, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, Body, Error};

use super::error::FetchError;
use super::lookup::LookUp;
use super::stage::{plain_text, Stage, StageError, Staged};
use crate::keys::origin::{Origin, Url};
use crate::text::{printable, Quoted};

/// The longest response header, from status line to empty line, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// Longer times for one fetch are taken for this one, so that no deadline lies beyond what a clock
/// can say.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client for any number of fetches, that trusts these CA certificates or else the system's.
pub(super) fn agent(trusted: Option<Vec<Certificate<'static>>>) -> Agent {
    let roots = match trusted {
        Some(certificates) => RootCerts::Specific(Arc::new(certificates)),
        None => RootCerts::PlatformVerifier,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEADER)
        .input_buffer_size(2 * MAX_HEADER)
        .output_buffer_size(MAX_HEADER)
        // A server that closes between two requests must not fail the second.
        .max_idle_connections(0)
        .user_agent(concat!(
            "ngx_http_authgear_module/",
            env!("CARGO_PKG_VERSION")
        ))
        .accept("application/json")
        .build();
    let tls = OneTlsConfig(RustlsConnector::default());
    let connector =
        ().chain(Staged(Stage::Connect, TcpConnector::default()))
            .chain(Staged(Stage::Tls, tls));
    Agent::with_parts(config, connector, LookUp)
}

/// Makes rustls' configuration once. ureq makes it anew for every request that has settings of its
/// own, such as a deadline.
#[derive(Debug)]
struct OneTlsConfig(RustlsConnector);

impl<In: Transport> Connector<In> for OneTlsConfig {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            // The TLS settings are never a request's own here.
            request_level: false,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        self.0.connect(&details, chained)
    }
}

/// The URL to fetch, and the public origin to send as `Host` if it goes to the internal one.
pub(super) struct Route {
    /// The target of the request.
    pub(super) url: Url,
    /// The public origin, when the request goes to the internal one instead.
    public: Option<Origin>,
}

impl Route {
    pub(super) fn new(url: Url, endpoint: Option<&Origin>, internal: Option<&Origin>) -> Route {
        match internal {
            Some(internal) if Some(url.origin()) == endpoint => Route {
                public: Some(url.origin().clone()),
                url: Url::at(internal, url.path_and_query()),
            },
            _ => Route { url, public: None },
        }
    }
}

/// The requests of one fetch.
pub(super) struct Client {
    agent: Agent,
    deadline: Instant,
    timeout: Duration,
}

impl Client {
    /// A client whose requests must all be answered before `timeout` has passed since now.
    pub(super) fn new(agent: Agent, timeout: Duration) -> Client {
        let deadline = Instant::now() + timeout.min(MAX_TIMEOUT);
        Client {
            agent,
            deadline,
            timeout,
        }
    }

    /// The body of a 200 answer, at most `limit` bytes.
    pub(super) fn get(&self, route: &Route, limit: usize) -> Result<Vec<u8>, FetchError> {
        let failed = |error| self.failed(route, error);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut request = self
            .agent
            .get(route.url.whole())
            .header(header::CONNECTION, "close");
        if let Some(public) = &route.public {
            request = request
                .header(header::HOST, public.host())
                .header("X-Forwarded-Proto", public.scheme());
        }
        let request = request.config().timeout_global(Some(left)).build();
        let response = request.call().map_err(failed)?;
        check_status(route, &response)?;
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit as u64 + 1);
        reader
            .read_to_end(&mut body)
            .map_err(|error| failed(error.into()))?;
        if body.len() > limit {
            return Err(FetchError::Size {
                url: route.url.clone(),
                part: "body",
                limit,
            });
        }
        Ok(body)
    }

    fn failed(&self, route: &Route, error: Error) -> FetchError {
        let url = route.url.clone();
        // The error may repeat text that the server sent.
        let cause = printable(&plain_text(&error));
        match error {
            Error::Timeout(_) => FetchError::TimedOut(url, self.timeout),
            Error::LargeResponseHeader(..) => FetchError::Size {
                url,
                part: "header",
                limit: MAX_HEADER,
            },
            Error::Other(inner) => match inner.downcast_ref::<StageError>() {
                Some(failed) => {
                    let cause = printable(&failed.cause);
                    match failed.stage {
                        Stage::LookUp => FetchError::NameLookup(url, cause),
                        Stage::Connect => FetchError::Connect(url, cause),
                        Stage::Tls => FetchError::Tls(url, cause),
                    }
                }
                None => FetchError::Response(url, cause),
            },
            _ => FetchError::Response(url, cause),
        }
    }
}

fn check_status(route: &Route, response: &Response<Body>) -> Result<(), FetchError> {
    let url = || route.url.clone();
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(header::LOCATION);
        let location = location.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let location = location.as_deref().unwrap_or_default();
        let location = location.split(['?', '#']).next().unwrap_or_default();
        return Err(FetchError::Redirect {
            url: url(),
            status: status.as_u16(),
            location: Quoted(location).to_string(),
        });
    }
    if status.as_u16() != 200 {
        return Err(FetchError::Status(url(), status.as_u16()));
    }
    Ok(())
}
