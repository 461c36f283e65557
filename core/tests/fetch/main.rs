//! Fetching against real servers on loopback.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod connecting;
mod proxy;
mod sources;
mod tls;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::keys::fetch::{fetch, Certificates, FetchError, Fetched, KeysFrom, Source};
use authgear_core::keys::{Origin, Url};
use authgear_core::Algorithm;
use serde_json::json;
use support::server::Server;
use support::{document, Signer};

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn jwks() -> Vec<u8> {
    document(&[Signer::new(Algorithm::EdDsa).jwk("k")])
}

fn discovery(issuer: &str, jwks_uri: &str) -> String {
    json!({"issuer": issuer, "jwks_uri": jwks_uri, "more": [1]}).to_string()
}

fn source(keys: KeysFrom) -> Source {
    Source {
        keys,
        endpoint: None,
        internal: None,
        timeout: Duration::from_secs(10),
        certificates: Arc::new(Certificates::system()),
        proxy: None,
    }
}

fn uri(text: &str) -> Source {
    source(KeysFrom::Uri(Url::parse(text).unwrap()))
}

fn endpoint(text: &str) -> Source {
    source(KeysFrom::Discovery(Origin::parse(text).unwrap()))
}

/// Fetches `/jwks` from a server of that behaviour.
fn from(
    handler: impl Fn(&str, &mut dyn Write) + Send + Sync + 'static,
) -> Result<Fetched, FetchError> {
    fetch(&uri(&(Server::http(handler).origin() + "/jwks")))
}

/// The error, without the server's port.
fn text(result: Result<Fetched, FetchError>) -> String {
    let text = result.expect_err("the fetch must fail").to_string();
    let Some((before, rest)) = text.split_once("127.0.0.1:") else {
        return text;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}HOST{rest}")
}
