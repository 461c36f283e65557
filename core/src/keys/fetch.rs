//! Fetching a key set: discovery and JWKS over HTTP.
//!
//! Blocking, and bounded in time and size. Meant for a thread of its own that holds nothing but
//! plain data.

mod ca;
mod certificates;
mod error;
mod http;
mod lookup;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

pub use ca::{check_ca, CaError};
pub use certificates::Certificates;
pub use error::FetchError;

use crate::fingerprint::fingerprint;

use super::{KeySet, Origin, SkippedKey, Url, MAX_DOCUMENT};
use crate::text::Quoted;
use http::{Client, Route};

/// The longest discovery document that is read, in bytes.
pub const MAX_DISCOVERY: usize = 256 * 1024;

/// The source of a key set and how to fetch it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The place of the key set.
    pub keys: KeysFrom,
    /// The project's public origin, if it has one. With [`KeysFrom::Discovery`] that origin counts
    /// instead.
    pub endpoint: Option<Origin>,
    /// The address of the endpoint from here. URLs under the endpoint's origin are fetched
    /// there, with the public `Host`, and the public scheme as `X-Forwarded-Proto`: with another
    /// scheme Authgear's server redirects to its public origin.
    pub internal: Option<Origin>,
    /// For the whole fetch, from the first name look-up to the last byte. More than a day is taken
    /// for a day.
    pub timeout: Duration,
    /// The certificates for TLS. Sources that share them share the TLS client made of them.
    pub certificates: Arc<Certificates>,
}

impl Source {
    /// A digest of everything but the time limit, so that sources whose documents may differ have
    /// different ids.
    /// The same configuration gives the same digest in every process.
    pub fn id(&self) -> [u8; 32] {
        let (kind, place) = match &self.keys {
            KeysFrom::Discovery(origin) => (&b"discovery"[..], origin.to_string()),
            KeysFrom::Uri(url) => (&b"uri"[..], url.whole()),
        };
        let text = |origin| Option::as_ref(origin).map_or("", Origin::as_str);
        fingerprint([
            kind,
            place.as_bytes(),
            text(&self.endpoint).as_bytes(),
            text(&self.internal).as_bytes(),
            self.certificates.trusted().unwrap_or_default(),
        ])
    }
}

impl std::fmt::Display for Source {
    /// The endpoint, or the URL of the key set.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.keys {
            KeysFrom::Discovery(origin) => origin.fmt(f),
            KeysFrom::Uri(url) => url.fmt(f),
        }
    }
}

/// The place of a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// The `jwks_uri` of this endpoint's discovery document (OpenID Connect Discovery 1.0, section 4).
    Discovery(Origin),
    /// At this URL.
    Uri(Url),
}

/// A key set that was fetched and is fit for use.
#[derive(Debug)]
pub struct Fetched {
    /// The JWKS document, byte for byte.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// The keys that cannot be used, for the log.
    pub skipped: Vec<SkippedKey>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Fetches a key set. Follows no redirect and uses no proxy; only status 200 counts.
///
/// Blocks until the deadline at most. 512 KiB of stack are enough. A name look-up runs on a further
/// thread, which inherits the signal mask of this one and may outlive the call when no answer comes.
///
/// # Errors
///
/// [`FetchError`], whose text begins with the stage that failed and names the URL without its
/// query.
pub fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    let client = Client::new(source.certificates.client()?, source.timeout);
    let (url, endpoint) = match &source.keys {
        KeysFrom::Discovery(endpoint) => (
            discover(&client, endpoint, source.internal.as_ref())?,
            Some(endpoint),
        ),
        KeysFrom::Uri(url) => (url.clone(), source.endpoint.as_ref()),
    };
    let route = Route::new(url, endpoint, source.internal.as_ref());
    let document = client.get(&route, MAX_DOCUMENT)?;
    let (keys, skipped) =
        KeySet::parse(&document).map_err(|cause| FetchError::Parse(route.url, cause))?;
    Ok(Fetched {
        document,
        keys,
        skipped,
    })
}

/// Asks the endpoint where its key set is.
fn discover(
    client: &Client,
    endpoint: &Origin,
    internal: Option<&Origin>,
) -> Result<Url, FetchError> {
    let route = Route::new(
        Url::at(endpoint, "/.well-known/openid-configuration"),
        Some(endpoint),
        internal,
    );
    let document = client.get(&route, MAX_DISCOVERY)?;
    let refuse = |cause: &str| FetchError::Discovery(route.url.clone(), cause.into());
    let discovery: Discovery = serde_json::from_slice(&document)
        .map_err(|_| refuse("not a JSON object with an issuer and a jwks_uri"))?;
    // Another issuer's document would let that issuer name the keys (section 4.3).
    if Origin::parse(&discovery.issuer).as_ref() != Ok(endpoint) {
        let issuer = Quoted(&discovery.issuer);
        return Err(refuse(&format!("the issuer {issuer} is not {endpoint}")));
    }
    let url = Url::parse(&discovery.jwks_uri)
        .map_err(|error| refuse(&format!("the jwks_uri {error}")))?;
    let is_https = |origin: &Origin| origin.scheme() == "https";
    // On loopback too: there another user's process may listen.
    if is_https(endpoint) && !is_https(url.origin()) {
        return Err(refuse(&format!(
            "the jwks_uri {url} is plain http, and the endpoint is https"
        )));
    }
    if url.origin().is_exposed() {
        return Err(refuse(&format!(
            "the jwks_uri {url} is plain http off loopback"
        )));
    }
    Ok(url)
}
