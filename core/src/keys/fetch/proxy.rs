//! An outbound HTTP proxy.

use std::fmt;
use std::sync::Arc;

use ureq::http::Uri;
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Either, Transport,
};
use ureq::{Error, ProxyProtocol};

use super::connect::{Plain, Tcp};
use super::stage::Stage;
use crate::fingerprint::fingerprint;
use crate::keys::origin::{Origin, OriginError};

/// The longest file of credentials, in bytes.
const MOST_CREDENTIALS: usize = 1024;

/// An outbound HTTP proxy: `CONNECT` for https, and for http the whole URL in the request. The proxy
/// looks the host's name up.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    origin: Origin,
    /// User and password.
    credentials: Option<(Box<str>, Box<str>)>,
}

/// The reason for which a proxy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Not a URL of the form that a proxy has.
    #[error(transparent)]
    Url(OriginError),
    /// A user name or password in the URL, which anybody who reads the configuration would see.
    #[error("has a user name or a password; write \"credentials=file\" with a file that holds user:password")]
    UserInfo,
    /// A proxy that is spoken to with TLS.
    #[error("is not plain http, write http:// before the proxy's host")]
    NotHttp,
    /// The file of credentials is none.
    #[error("has \"credentials=\" with a file that does not hold user:password in one line of at most 1 KiB")]
    Credentials,
}

impl Proxy {
    /// Reads a proxy's URL, `http://host:port`, and the content of a file that holds `user:password`, of
    /// which a line end is ignored.
    ///
    /// # Errors
    ///
    /// [`ProxyError`].
    pub fn parse(url: &str, credentials: Option<&[u8]>) -> Result<Proxy, ProxyError> {
        let origin = Origin::parse_internal(url).map_err(|error| match error {
            OriginError::UserInfo => ProxyError::UserInfo,
            OriginError::Scheme => ProxyError::NotHttp,
            other => ProxyError::Url(other),
        })?;
        if origin.scheme() != "http" {
            return Err(ProxyError::NotHttp);
        }
        let credentials = match credentials {
            Some(file) => Some(user_and_password(file).ok_or(ProxyError::Credentials)?),
            None => None,
        };
        Ok(Proxy {
            origin,
            credentials,
        })
    }

    /// A digest of all of it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let (user, password) = self.credentials.as_ref().map_or(("", ""), |(a, b)| (a, b));
        let is_given = [u8::from(self.credentials.is_some())];
        fingerprint([
            self.origin.as_str().as_bytes(),
            &is_given,
            user.as_bytes(),
            password.as_bytes(),
        ])
    }

    /// The setting of ureq's that makes it leave the look-up of names to the proxy.
    pub(super) fn setting(&self) -> Result<ureq::Proxy, Error> {
        let uri = self.uri()?;
        let mut proxy = ureq::Proxy::builder(ProxyProtocol::Http)
            .host(uri.host().unwrap_or_default())
            .port(uri.port_u16().unwrap_or(80))
            .resolve_target(false);
        if let Some((user, password)) = &self.credentials {
            proxy = proxy.username(user).password(password);
        }
        proxy.build()
    }

    fn uri(&self) -> Result<Uri, Error> {
        let uri = self.origin.as_str().parse();
        uri.map_err(|_| Error::InvalidProxyUrl)
    }

    /// The head of a request to an http URL, as the proxy wants it (RFC 9112, section 3.2.2).
    fn head(&self, target: &str, head: &[u8]) -> Vec<u8> {
        let cut = |from: &[u8], end: &[u8]| from.windows(end.len()).position(|at| at == end);
        let method = cut(head, b" ").map_or(0, |at| at + 1);
        let line = cut(head, b"\r\n").map_or(head.len(), |at| at + 2);
        let credentials = self.credentials.as_ref().map(|(user, password)| {
            let pair = base64_simd::STANDARD.encode_to_string(format!("{user}:{password}"));
            format!("Proxy-Authorization: Basic {pair}\r\n")
        });
        [
            &head[..method],
            target.as_bytes(),
            &head[method..line],
            credentials.unwrap_or_default().as_bytes(),
            &head[line..],
        ]
        .concat()
    }
}

fn user_and_password(file: &[u8]) -> Option<(Box<str>, Box<str>)> {
    let text = std::str::from_utf8(file).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let (user, password) = text.split_once(':')?;
    let is_fit =
        !user.is_empty() && file.len() <= MOST_CREDENTIALS && !text.contains(char::is_control);
    is_fit.then(|| (user.into(), password.into()))
}

/// The proxy's address.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

/// Without the credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.origin).finish()
    }
}

/// Connects through the proxy, if there is one. Its failures are a stage of their own.
#[derive(Debug)]
pub(super) struct ThroughProxy {
    pub(super) proxy: Option<Arc<Proxy>>,
    /// Reached with `CONNECT` even by http: requests to it carry another `Host`, which a proxy would
    /// replace.
    pub(super) internal: Option<Origin>,
    pub(super) tcp: Tcp,
}

impl ThroughProxy {
    fn forward(&self, details: &ConnectionDetails, proxy: &Arc<Proxy>) -> Result<Plain, Error> {
        let uri = proxy.uri()?;
        let addresses = details
            .resolver
            .resolve(&uri, details.config, details.timeout)?;
        let mut connection = self.tcp.open(&ConnectionDetails {
            uri: &uri,
            addrs: addresses,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        })?;
        let target = authority(details.uri);
        let proxy = Arc::clone(proxy);
        connection.head = Some(Box::new(move |head| proxy.head(&target, head)));
        Ok(connection)
    }
}

/// Scheme and authority of a URL: its origin.
fn authority(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

impl<In: Transport> Connector<In> for ThroughProxy {
    type Out = Either<Either<In, Box<dyn Transport>>, Plain>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // ureq takes the setting away for the connection to the proxy itself.
        let (Some(proxy), true) = (&self.proxy, details.config.proxy().is_some()) else {
            return Ok(chained.map(|transport| Either::A(Either::A(transport))));
        };
        let is_internal = |internal: &Origin| internal.as_str() == authority(details.uri);
        let connected = if details.needs_tls() || self.internal.as_ref().is_some_and(is_internal) {
            let tunnel = ConnectProxyConnector::default().connect(details, chained);
            tunnel.map(|transport| transport.map(Either::A))
        } else {
            self.forward(details, proxy).map(Either::B).map(Some)
        };
        connected.map_err(|error| {
            Stage::Proxy.failed(match error {
                Error::Timeout(_) => format!("{proxy}: no answer in time"),
                error => format!("{proxy}: {}", super::stage::plain_text(&error)),
            })
        })
    }
}
