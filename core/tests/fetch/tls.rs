//! Certificates.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{mpsc, Arc};
use std::thread;

use authgear_core::keys::fetch::{check_ca, fetch, CaError, Certificates, FetchError, Source};
use authgear_core::keys::Origin;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

use crate::support::server::{header, ok, Authority, Server};
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

/// Only a client that is the same remembers a session, so it is told by that.
#[test]
fn sources_that_share_their_certificates_share_one_client() {
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
