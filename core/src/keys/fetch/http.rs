//! One bounded GET after another, under one deadline.

use std::io::{self, Read};
use std::net::ToSocketAddrs;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{header, Response, Uri};
use ureq::tls::{parse_pem, Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use super::{FetchError, Route};
use crate::text::Quoted;

/// The longest response header, from status line to empty line, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// Why a bundle of CA certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// Not PEM.
    #[error("the CA certificates are not PEM")]
    NotPem,
    /// No certificate in it.
    #[error("no CA certificate in the file")]
    Empty,
    /// A certificate that cannot be read; counted from 1.
    #[error("CA certificate number {0} is not an X.509 certificate")]
    NotACertificate(usize),
}

/// Says how many certificates a PEM bundle holds, if [`fetch`](super::fetch) can use it.
///
/// # Errors
///
/// [`CaError`]: it is not PEM, holds no certificate, or one that cannot be read.
pub fn check_ca(pem: &[u8]) -> Result<usize, CaError> {
    certificates(pem).map(|certificates| certificates.len())
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, CaError> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| CaError::NotPem)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(CaError::Empty);
    }
    let mut store = rustls::RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store
            .add(certificate.der().to_vec().into())
            .map_err(|_| CaError::NotACertificate(index + 1))?;
    }
    Ok(certificates)
}

/// An HTTP client for one fetch.
pub(super) struct Client {
    agent: Agent,
    deadline: Instant,
    timeout: Duration,
}

impl Client {
    /// A client whose requests must all be answered before `timeout` has passed since `start`.
    pub(super) fn new(
        ca: Option<&[u8]>,
        start: Instant,
        timeout: Duration,
    ) -> Result<Client, FetchError> {
        let roots = match ca {
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER)
            .input_buffer_size(2 * MAX_HEADER)
            .output_buffer_size(MAX_HEADER)
            // A fetch is two requests at most, and a server that closes between them must not fail the second.
            .max_idle_connections(0)
            .user_agent(concat!(
                "ngx_http_authgear_module/",
                env!("CARGO_PKG_VERSION")
            ))
            .accept("application/json")
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::new(), LookUp);
        Ok(Client {
            agent,
            deadline: start + timeout,
            timeout,
        })
    }

    /// The body of a 200 answer, at most `limit` bytes.
    pub(super) fn get(&self, route: &Route, limit: usize) -> Result<Vec<u8>, FetchError> {
        let failed = |error| self.failed(route, error);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let url = format!("{}{}", route.url.origin(), route.url.path_and_query());
        let mut request = self.agent.get(url).header(header::CONNECTION, "close");
        if let Some(host) = &route.public_host {
            request = request
                .header(header::HOST, host)
                .header("X-Forwarded-Proto", "https");
        }
        let response = request
            .config()
            .timeout_global(Some(left))
            .build()
            .call()
            .map_err(failed)?;
        check_status(route, &response)?;
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit as u64 + 1);
        reader
            .read_to_end(&mut body)
            .map_err(|error| failed(error.into()))?;
        if body.len() > limit {
            return Err(FetchError::Size {
                url: route.url.to_string(),
                part: "body",
                limit,
            });
        }
        Ok(body)
    }

    fn failed(&self, route: &Route, error: Error) -> FetchError {
        let url = route.url.to_string();
        match error {
            Error::Timeout(_) => FetchError::TimedOut {
                url,
                limit: self.timeout,
            },
            Error::Other(error) if error.is::<LookUpError>() => FetchError::NameLookup {
                url,
                cause: error.to_string(),
            },
            Error::HostNotFound => FetchError::NameLookup {
                url,
                cause: "no address".into(),
            },
            Error::Rustls(error) => FetchError::Tls {
                url,
                cause: error.to_string(),
            },
            Error::Tls(cause) => FetchError::Tls {
                url,
                cause: cause.into(),
            },
            Error::Io(error)
                if error
                    .get_ref()
                    .is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                FetchError::Tls {
                    url,
                    cause: error.to_string(),
                }
            }
            Error::Io(error) if is_refusal(&error) => FetchError::Connect {
                url,
                cause: error.to_string(),
            },
            Error::Io(error) => FetchError::Response {
                url,
                cause: error.to_string(),
            },
            Error::LargeResponseHeader(..) => FetchError::Size {
                url,
                part: "header",
                limit: MAX_HEADER,
            },
            // The text of a protocol error may repeat what the server sent.
            error => FetchError::Response {
                url,
                cause: Quoted(&error.to_string()).to_string(),
            },
        }
    }
}

/// Errors that end the attempt to connect; what comes later breaks or resets the connection.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | AddrNotAvailable
            | PermissionDenied
            | TimedOut
            | InvalidInput
    )
}

fn check_status(route: &Route, response: &Response<Body>) -> Result<(), FetchError> {
    let status = response.status();
    let url = || route.url.to_string();
    if status.is_redirection() {
        let location = response
            .headers()
            .get(header::LOCATION)
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        let location = String::from_utf8_lossy(location);
        let location = location.split(['?', '#']).next().unwrap_or_default();
        return Err(FetchError::Redirect {
            url: url(),
            status: status.as_u16(),
            location: Quoted(location).to_string(),
        });
    }
    if status.as_u16() != 200 {
        return Err(FetchError::Status {
            url: url(),
            status: status.as_u16(),
        });
    }
    Ok(())
}

/// Looks names up under the deadline, and keeps such failures apart from others.
#[derive(Debug)]
struct LookUp;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct LookUpError(io::Error);

impl Resolver for LookUp {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let failed = |error| Error::Other(Box::new(LookUpError(error)));
        let name = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
            .ok_or(Error::HostNotFound)?;
        // The system's look-up cannot be interrupted: past the deadline its thread is left behind, and ends when the
        // system gives up.
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("authgear-lookup".into())
            .spawn(move || sender.send(name.to_socket_addrs()))
            .map_err(failed)?;
        let addresses = receiver
            .recv_timeout(*timeout.after)
            .map_err(|_| Error::Timeout(timeout.reason))?;
        let mut found = self.empty();
        for address in addresses.map_err(failed)?.take(MAX_ADDRESSES) {
            found.push(address);
        }
        if found.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(found)
    }
}

/// How many addresses of a host are tried; ureq's list holds 16.
const MAX_ADDRESSES: usize = 8;
