//! Faults, absence, tenants and TLS.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{bearer, Server};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{timeout, Instant};

const JWKS: &str = "/oauth2/jwks";

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let server = Server::start("").await;
    let fault = async |body: &str| {
        server.control("PUT /-/fault/jwks", body).await;
    };
    let get = || server.get(JWKS, &[]);

    fault(r#"{"mode":"status","status":503}"#).await;
    assert_eq!(get().await.unwrap().status(), 503);
    fault(r#"{"mode":"empty"}"#).await;
    assert_eq!(get().await.unwrap().body(), r#"{"keys":[]}"#);
    fault(r#"{"mode":"body","body":"x","headers":{"x-a":"b"}}"#).await;
    let answer = get().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.body()[..]),
        (200, &b"x"[..])
    );
    assert_eq!(answer.headers()["x-a"], "b");
    fault(r#"{"mode":"redirect","location":"/elsewhere"}"#).await;
    let answer = get().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (302, &"/elsewhere".parse().unwrap())
    );
    fault(r#"{"mode":"garbage"}"#).await;
    assert!(serde_json::from_slice::<Value>(get().await.unwrap().body()).is_err());
    fault(r#"{"mode":"oversize"}"#).await;
    let answer = get().await.unwrap();
    assert!(answer.body().len() > 256 * 1024);
    assert!(serde_json::from_slice::<Value>(answer.body()).is_ok());
    fault(r#"{"mode":"close"}"#).await;
    assert!(get().await.is_none());
    for mode in ["hang", "drip"] {
        fault(&format!(r#"{{"mode":"{mode}"}}"#)).await;
        assert!(
            timeout(Duration::from_millis(250), get()).await.is_err(),
            "{mode}"
        );
    }
    fault(r#"{"mode":"slow","delay_ms":150}"#).await;
    let begin = Instant::now();
    assert_eq!(get().await.unwrap().status(), 200);
    assert!(begin.elapsed() >= Duration::from_millis(150));

    // The other endpoints are in good health all the while.
    assert_eq!(server.resolve(&[]).await, "-");
    server.control("DELETE /-/fault", "").await;
    assert_eq!(get().await.unwrap().status(), 200);
    assert_eq!(server.json("GET /-/counts", "").await["jwks"], 11);
}

#[tokio::test]
async fn gone_is_refused_until_it_is_back() {
    let server = Server::start("").await;
    let port = server.at.http.strip_prefix("http://").unwrap();
    let kept = TcpStream::connect(port).await.unwrap();
    server.control("POST /-/gone", r#"{"ms":60000}"#).await;
    assert!(TcpStream::connect(port).await.is_err());
    kept.readable().await.unwrap();
    assert_eq!(kept.try_read(&mut [0]).unwrap_or(0), 0);
    let resolver = server.at.resolver.strip_prefix("http://").unwrap();
    assert!(TcpStream::connect(resolver).await.is_err());
    server.control("POST /-/back", "").await;
    assert_eq!(server.get(JWKS, &[]).await.unwrap().status(), 200);

    server.control("POST /-/gone", r#"{"ms":100}"#).await;
    assert!(server.get(JWKS, &[]).await.is_none());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.get(JWKS, &[]).await.unwrap().status(), 200);
}

#[tokio::test]
async fn plain_http_is_sent_to_the_public_origin() {
    let server = Server::start("--origin https://my.example").await;
    let host = "Host: my.example".to_owned();
    let plain = std::slice::from_ref(&host);
    let answer = server.get(JWKS, plain).await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(
        answer.headers()["location"],
        "https://my.example/oauth2/jwks"
    );
    let forwarded = "X-Forwarded-Proto: https".to_owned();
    assert_eq!(
        server.get(JWKS, &[host, forwarded]).await.unwrap().status(),
        200
    );
    assert_eq!(server.get(JWKS, &[]).await.unwrap().status(), 404);
    let counts = server.json("GET /-/counts", "").await;
    assert_eq!(counts["jwks_requests"][1]["x_forwarded_proto"], "https");
}

#[tokio::test]
async fn a_scheme_that_is_not_the_origins_is_sent_to_the_public_origin() {
    let server = Server::start("").await;
    let https = ["X-Forwarded-Proto: https".to_owned()];
    for path in [JWKS, "/.well-known/openid-configuration"] {
        assert_eq!(server.get(path, &[]).await.unwrap().status(), 200);
        let answer = server.get(path, &https).await.unwrap();
        assert_eq!(answer.status(), 307);
        let location = format!("{}{path}", server.at.origin);
        assert_eq!(answer.headers()["location"], *location);
    }
}

#[tokio::test]
async fn documents_come_with_a_cookie_that_concerns_nobody() {
    let server = Server::start("").await;
    for path in [JWKS, "/.well-known/openid-configuration"] {
        let answer = server.get(path, &[]).await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("csp_nonce="), "{cookie}");
    }
    assert!(!server
        .ask("/resolve", &[])
        .await
        .headers()
        .contains_key("set-cookie"));
}

#[tokio::test]
async fn every_host_is_a_project_of_its_own() {
    let server = Server::start("--tenants").await;
    let headers = |host: &str, token: &str| {
        [
            format!("Host: {host}"),
            "X-Forwarded-Proto: https".into(),
            bearer(token),
        ]
    };
    let token = server
        .control("POST /-/token?project=a.example", r#"{"user":"u"}"#)
        .await;
    assert_eq!(server.resolve(&headers("a.example", &token)).await, "u");
    assert_eq!(server.resolve(&headers("b.example", &token)).await, "-");
    assert_eq!(server.resolve(&[bearer(&token)]).await, "-");

    let well_known = "/.well-known/openid-configuration";
    let answer = server
        .get(well_known, &headers("b.example", ""))
        .await
        .unwrap();
    let document: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(document["issuer"], "https://b.example");
    assert_eq!(
        server.json("GET /-/counts?project=b.example", "").await["discovery"],
        1
    );
    assert_eq!(server.json("GET /-/counts", "").await["discovery"], 0);

    let fault = r#"{"mode":"status"}"#;
    server
        .control("PUT /-/fault/resolver?project=b.example", fault)
        .await;
    assert_eq!(server.resolve(&headers("a.example", &token)).await, "u");
    let failed = server.ask("/resolve", &headers("b.example", "")).await;
    assert_eq!(failed.status(), 500);
}

#[tokio::test]
async fn the_certificate_is_of_its_own_ca() {
    let server = Server::start("--tls-listen 127.0.0.1:0 --name my.example").await;
    let port = server
        .at
        .https
        .as_ref()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap();
    let (ca, other) = (
        server.at.ca.as_ref().unwrap(),
        server.at.other_ca.as_ref().unwrap(),
    );
    let shake = async |ca: &str, name: &'static str| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(ca).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await
            .is_ok()
    };
    assert!(shake(ca, "localhost").await);
    assert!(shake(ca, "127.0.0.1").await);
    assert!(shake(ca, "my.example").await);
    assert!(!shake(ca, "other.example").await);
    assert!(!shake(other, "localhost").await);
}
