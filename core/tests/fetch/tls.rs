//! Certificates.

use std::sync::Arc;

use authgear_core::keys::fetch::{check_ca, fetch, CaError, FetchError, Source};
use authgear_core::keys::Origin;

use crate::support::server::{header, ok, Authority, Server};
use crate::{jwks, text, uri};

fn secure(ca: &str, url: &str) -> Source {
    Source {
        ca: Some(Arc::new(ca.as_bytes().to_vec())),
        ..uri(url)
    }
}

#[test]
fn tls_with_a_ca_of_ones_own() {
    let ca = Authority::new();
    let body = jwks();
    let server = Server::https(ca.server(&["localhost", "127.0.0.1"]), move |_, out| {
        ok(out, &body)
    });
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/jwks", server.port);
        fetch(&secure(&ca.pem, &url)).unwrap();
        // More than one certificate, with text between.
        let bundle = format!("# one\n{}\n# two\n{}", Authority::new().pem, ca.pem);
        fetch(&secure(&bundle, &url)).unwrap();
    }
    let request = &server.requests()[0];
    assert_eq!(
        header(request, "Host"),
        Some(&*format!("localhost:{}", server.port))
    );
}

#[test]
fn certificates_that_are_refused() {
    let ca = Authority::new();
    let serve = |config| Server::https(config, |_, out| ok(out, jwks()));
    let good = serve(ca.server(&["localhost", "127.0.0.1"]));
    let expired = serve(ca.server_until(&["127.0.0.1"], 2010));
    let other_name = serve(ca.server(&["other.example"]));
    let plain = Server::http(|_, out| ok(out, jwks()));
    let url = |server: &Server| format!("https://127.0.0.1:{}/jwks?secret", server.port);
    for (what, source) in [
        (
            "another authority",
            secure(&Authority::new().pem, &url(&good)),
        ),
        ("the system's authorities", uri(&url(&good))),
        ("an expired certificate", secure(&ca.pem, &url(&expired))),
        ("another name", secure(&ca.pem, &url(&other_name))),
        ("no TLS at all", secure(&ca.pem, &url(&plain))),
    ] {
        let error = text(fetch(&source));
        assert!(
            error.starts_with("TLS: https://HOST/jwks: "),
            "{what}: {error}"
        );
    }
    assert!(good.requests().is_empty() && expired.requests().is_empty());
}

#[test]
fn the_internal_endpoints_certificate_is_its_own() {
    let ca = Authority::new();
    let body = jwks();
    let server = Server::https(ca.server(&["localhost"]), move |_, out| ok(out, &body));
    let internal = Origin::parse_internal(&format!("https://localhost:{}", server.port)).unwrap();
    let source = Source {
        endpoint: Some(Origin::parse("https://a.example").unwrap()),
        internal: Some(internal),
        ..secure(&ca.pem, "https://a.example/jwks")
    };
    fetch(&source).unwrap();
    assert_eq!(header(&server.requests()[0], "Host"), Some("a.example"));
}

#[test]
fn ca_bundles() {
    let ca = Authority::new().pem;
    assert_eq!(check_ca(ca.as_bytes()), Ok(1));
    assert_eq!(check_ca(format!("{ca}{ca}").as_bytes()), Ok(2));
    for (pem, error) in [
        ("", CaError::Empty),
        ("no certificate", CaError::Empty),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            CaError::NotACertificate(1),
        ),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", CaError::NotPem),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            CaError::NotPem,
        ),
    ] {
        assert_eq!(check_ca(pem.as_bytes()), Err(error.clone()), "{pem:?}");
        let failed = fetch(&secure(pem, "https://127.0.0.1:1/")).unwrap_err();
        assert_eq!(failed, FetchError::Ca(error));
        assert!(failed.to_string().starts_with("TLS: "), "{failed}");
    }
}
