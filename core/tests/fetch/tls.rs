//! Certificates.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{mpsc, Arc};
use std::thread;

use authgear_core::keys::fetch::{
    check_ca, fetch, CaError, Certificates, FetchError, Identity, IdentityError, Source,
};
use authgear_core::keys::Origin;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::support::server::{header, ok, self_signed, Authority, Server};
use crate::{jwks, text, uri};

fn secure(ca: &str, url: &str) -> Source {
    Source {
        certificates: Arc::new(Certificates::trusting(ca.as_bytes().to_vec())),
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

fn serve(config: Arc<ServerConfig>) -> (Server, String) {
    let body = jwks();
    let server = Server::https(config, move |_, out| ok(out, &body));
    let url = format!("https://localhost:{}/jwks", server.port);
    (server, url)
}

fn refused(source: &Source) -> String {
    let error = fetch(source).expect_err("the fetch must fail").to_string();
    assert!(error.starts_with("TLS: "), "{error}");
    error
}

#[test]
fn a_self_signed_certificate_that_is_listed_is_trusted() {
    let (config, pem) = self_signed(&["localhost"], 2100);
    let (_server, url) = serve(config);
    fetch(&secure(&pem, &url)).unwrap();
    fetch(&secure(&(Authority::new().pem + &pem), &url)).unwrap();
}

#[test]
fn a_self_signed_certificate_that_is_not_listed_is_refused() {
    let (config, _) = self_signed(&["localhost"], 2100);
    let (_, another) = self_signed(&["localhost"], 2100);
    let (server, url) = serve(config);
    for listed in [another, Authority::new().pem] {
        let error = refused(&secure(&listed, &url));
        assert!(error.ends_with("UnknownIssuer"), "{error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_listed_certificate_that_has_expired_is_refused() {
    let (config, pem) = self_signed(&["localhost"], 2010);
    let (_server, url) = serve(config);
    let error = refused(&secure(&pem, &url));
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn a_listed_certificate_for_another_name_is_refused() {
    let (config, pem) = self_signed(&["other.example"], 2100);
    let (_server, url) = serve(config);
    let error = refused(&secure(&pem, &url));
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn ssl_name_is_the_name_in_the_certificate_and_sni() {
    let ca = Authority::new();
    let (_server, url) = serve(ca.server(&["myapp.example"]));
    refused(&secure(&ca.pem, &url));
    let named = |name: &str| {
        let certificates = Certificates::trusting(ca.pem.clone().into_bytes());
        Source {
            certificates: Arc::new(certificates.named(name).unwrap()),
            ..uri(&url)
        }
    };
    fetch(&named("myapp.example")).unwrap();
    refused(&named("other.example"));
    assert_ne!(named("a.example").id(), named("b.example").id());
    Certificates::system().named("a b").unwrap_err();
}

#[test]
fn a_client_certificate_is_shown() {
    let ca = Authority::new();
    let (_server, url) = serve(ca.demanding());
    let of = |authority: &Authority| {
        let (certificate, key) = authority.client(&["client"]);
        let identity = Identity::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
        let certificates = Certificates::trusting(ca.pem.clone().into_bytes());
        Source {
            certificates: Arc::new(certificates.identified_by(identity)),
            ..uri(&url)
        }
    };
    let known = of(&ca);
    fetch(&known).unwrap();
    let strange = of(&Authority::new());
    fetch(&strange).unwrap_err();
    fetch(&secure(&ca.pem, &url)).unwrap_err();
    assert_ne!(known.id(), strange.id());
}

#[test]
fn client_certificates_that_cannot_be_used() {
    let ca = Authority::new();
    let ((one, key), (_, other_key)) = (ca.client(&["one"]), ca.client(&["other"]));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, error) in [
        ("", &*key, IdentityError::Certificate),
        (broken, &*key, IdentityError::Certificate),
        (&*one, "", IdentityError::Key),
        (&*one, &*one, IdentityError::Key),
        (&*one, &*other_key, IdentityError::Mismatch),
    ] {
        let parsed = Identity::parse(certificate.as_bytes(), key.as_bytes());
        assert_eq!(parsed.unwrap_err(), error);
    }
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

/// A server that notes how each handshake went, and answers each request with a key set.
fn noting_handshakes(config: Arc<ServerConfig>) -> (u16, mpsc::Receiver<HandshakeKind>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut head = [0; 4096];
            if stream.read(&mut head).is_err() {
                continue;
            }
            let _ = sender.send(stream.conn.handshake_kind().unwrap());
            ok(&mut stream, jwks());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (port, receiver)
}

/// Only a configuration that is the same remembers a session, so it is told by that.
#[test]
fn sources_that_share_their_certificates_share_one_configuration() {
    let ca = Authority::new();
    let (port, handshakes) = noting_handshakes(ca.server(&["localhost"]));
    let url = |path: &str| format!("https://localhost:{port}/{path}");
    let one = secure(&ca.pem, &url("one"));
    let tenant = Source {
        certificates: Arc::clone(&one.certificates),
        ..uri(&url("tenant"))
    };
    let another = secure(&ca.pem, &url("one"));
    for (source, kind) in [
        (&one, HandshakeKind::Full),
        (&one, HandshakeKind::Resumed),
        (&tenant, HandshakeKind::Resumed),
        (&one.clone(), HandshakeKind::Resumed),
        (&another, HandshakeKind::Full),
    ] {
        fetch(source).unwrap();
        assert_eq!(handshakes.recv().unwrap(), kind);
    }
    assert_eq!(one.id(), another.id(), "the same configuration");
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
