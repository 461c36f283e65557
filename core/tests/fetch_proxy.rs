//! Alone in its binary, because it changes the environment.

mod support;

use std::sync::Arc;
use std::time::Duration;

use authgear_core::keys::fetch::{fetch, Certificates, KeysFrom, Source};
use authgear_core::keys::Url;
use authgear_core::Algorithm;
use support::server::{answer, ok, Server};
use support::{document, Signer};

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let proxy = Server::http(|_, out| answer(out, "502 Bad Gateway", "", ""));
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        std::env::set_var(name, proxy.origin());
    }
    let body = document(&[Signer::new(Algorithm::EdDsa).jwk("k")]);
    let server = Server::http(move |_, out| ok(out, &body));
    let source = Source {
        keys: KeysFrom::Uri(Url::parse(&(server.origin() + "/jwks")).unwrap()),
        endpoint: None,
        internal: None,
        timeout: Duration::from_secs(10),
        certificates: Arc::new(Certificates::system()),
        proxy: None,
    };
    fetch(&source).unwrap();
    assert_eq!(server.requests().len(), 1);
    assert!(proxy.requests().is_empty());
}
