//! The source of a key set.

use std::sync::Arc;
use std::time::Duration;

use super::certificates::Certificates;
use super::proxy::Proxy;
use super::route::Route;
use crate::fingerprint::fingerprint;
use crate::keys::origin::{Origin, Url};

/// The path of the discovery document.
pub(super) const WELL_KNOWN: &str = "/.well-known/openid-configuration";

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
    /// The certificates for TLS. Sources that share them share the TLS configuration made of them.
    pub certificates: Arc<Certificates>,
    /// The proxy to go through, if any. Never taken from the environment.
    pub proxy: Option<Arc<Proxy>>,
}

impl Source {
    /// A digest of everything but the time limit: sources with the same one have the same key set. Of a
    /// key set at a URL the address counts that is really asked, of a discovery the endpoint and the
    /// internal one.
    /// The same configuration gives the same digest in every process.
    pub fn id(&self) -> [u8; 32] {
        let (kind, url, public) = match &self.keys {
            KeysFrom::Discovery(origin) => {
                let route = Route::new(
                    Url::at(origin, WELL_KNOWN),
                    Some(origin),
                    self.internal.as_ref(),
                );
                (&b"discovery"[..], route.url, route.public)
            }
            KeysFrom::Uri(url) => {
                let (endpoint, internal) = (self.endpoint.as_ref(), self.internal.as_ref());
                let route = Route::new(url.clone(), endpoint, internal);
                (&b"uri"[..], route.url, route.public)
            }
        };
        let proxy = self.proxy.as_deref().map(Proxy::digest);
        fingerprint([
            kind,
            url.whole().as_bytes(),
            public.as_ref().map_or("", Origin::as_str).as_bytes(),
            &self.certificates.digest(),
            proxy.as_ref().map_or(&[][..], |digest| &digest[..]),
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
