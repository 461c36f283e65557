//! Fetching a key set: discovery and JWKS over HTTP.
//!
//! Blocking, and bounded in time and size. Meant for a thread of its own that holds nothing but
//! plain data.

mod ca;
mod certificates;
mod connect;
mod error;
mod http;
mod identity;
mod lookup;
mod proxy;
mod race;
mod route;
mod source;
mod stage;
mod tls;
mod trust;

use serde::Deserialize;

pub use ca::{check_ca, check_system_ca, CaError};
pub use certificates::{BadServerName, Certificates};
pub use error::FetchError;
pub use identity::{Identity, IdentityError};
pub use proxy::{Proxy, ProxyError};
pub use source::{KeysFrom, Source};

use super::{KeySet, Origin, SkippedKey, Url, MAX_DOCUMENT};
use crate::text::Quoted;
use http::Client;
use route::Route;
use source::WELL_KNOWN;

/// The longest discovery document that is read, in bytes.
pub const MAX_DISCOVERY: usize = 256 * 1024;

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

/// Fetches a key set. Follows no redirect; only status 200 counts.
///
/// Blocks until the deadline at most. 512 KiB of stack are enough. A name look-up runs on a further
/// thread, which inherits the signal mask of this one and may outlive the call when no answer comes.
///
/// # Errors
///
/// [`FetchError`], whose text begins with the stage that failed and names the URL without its
/// query.
pub fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    let client = Client::new(source);
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
    client: &Client<'_>,
    endpoint: &Origin,
    internal: Option<&Origin>,
) -> Result<Url, FetchError> {
    let route = Route::new(Url::at(endpoint, WELL_KNOWN), Some(endpoint), internal);
    let document = client.get(&route, MAX_DISCOVERY)?;
    jwks_uri(&document, endpoint).map_err(|cause| FetchError::Discovery(route.url, cause))
}

/// The URL of the key set, by a discovery document of the endpoint; else the mistake in it.
pub(crate) fn jwks_uri(document: &[u8], endpoint: &Origin) -> Result<Url, String> {
    let refuse = |cause: &str| cause.to_string();
    let discovery: Discovery = serde_json::from_slice(document)
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
