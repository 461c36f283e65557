//! GET requests with size limits and one deadline for all.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{header, Response};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, Body, Error};

use super::connect::Tcp;
use super::error::FetchError;
use super::lookup::LookUp;
use super::proxy::{Proxy, ThroughProxy};
use super::route::Route;
use super::source::Source;
use super::stage::{plain_text, Stage, StageError, Staged};
use super::tls::Tls;
use crate::text::{printable, Quoted};

/// The longest response header, from status line to empty line, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// Longer times for one fetch are taken for this one, so that no deadline lies beyond what a clock
/// can say.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The client of one fetch. Makes no connection beyond `deadline`.
fn agent(source: &Source, deadline: Instant) -> Result<Agent, Error> {
    let proxy = source.proxy.as_deref().map(Proxy::setting).transpose()?;
    let config = Agent::config_builder()
        .proxy(proxy)
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
    let through = ThroughProxy {
        proxy: source.proxy.clone(),
        internal: source.internal.clone(),
        tcp: Tcp { deadline },
    };
    let tls = Tls(Arc::clone(&source.certificates));
    let connector =
        ().chain(through)
            .chain(Staged(Stage::Connect, Tcp { deadline }))
            .chain(Staged(Stage::Tls, tls));
    Ok(Agent::with_parts(config, connector, LookUp))
}

/// The requests of one fetch.
pub(super) struct Client<'a> {
    source: &'a Source,
    deadline: Instant,
}

impl<'a> Client<'a> {
    /// A client whose requests must all be answered before the source's time limit has passed since now.
    pub(super) fn new(source: &'a Source) -> Client<'a> {
        Client {
            source,
            deadline: Instant::now() + source.timeout.min(MAX_TIMEOUT),
        }
    }

    /// The body of a 200 answer, at most `limit` bytes.
    pub(super) fn get(&self, route: &Route, limit: usize) -> Result<Vec<u8>, FetchError> {
        let failed = |error| self.failed(route, error);
        if route.url.origin().scheme() == "https" {
            // Says what is wrong with the certificates before anybody is asked.
            self.source.certificates.config()?;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let agent = agent(self.source, self.deadline).map_err(failed)?;
        let mut request = agent
            .get(route.url.whole())
            .header(header::CONNECTION, "close");
        if let Some(public) = &route.public {
            request = request
                .header(header::HOST, public.host())
                .header("X-Forwarded-Proto", public.scheme());
        }
        let request = request.config().timeout_global(Some(left)).build();
        let response = request.call().map_err(failed)?;
        self.check_status(route, &response)?;
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
            Error::Timeout(_) => FetchError::TimedOut(url, self.source.timeout),
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
                        Stage::Proxy => FetchError::Proxy(url, cause),
                        Stage::Connect => FetchError::Connect(url, cause),
                        Stage::Tls => FetchError::Tls(url, cause),
                    }
                }
                None => FetchError::Response(url, cause),
            },
            _ => FetchError::Response(url, cause),
        }
    }

    fn check_status(&self, route: &Route, response: &Response<Body>) -> Result<(), FetchError> {
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
        if let (407, Some(proxy)) = (status.as_u16(), &self.source.proxy) {
            let cause = format!("{proxy}: proxy server responded 407");
            return Err(FetchError::Proxy(url(), cause));
        }
        if status.as_u16() != 200 {
            return Err(FetchError::Status(url(), status.as_u16()));
        }
        Ok(())
    }
}
