//! Outbound proxies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use authgear_core::keys::fetch::{fetch, Certificates, Proxy, ProxyError, Source};
use authgear_core::keys::Origin;

use crate::support::server::{answer, header, ok, path, Authority, Server};
use crate::{jwks, uri};

fn through(url: &str, credentials: Option<&[u8]>, source: Source) -> Source {
    Source {
        proxy: Some(Arc::new(Proxy::parse(url, credentials).unwrap())),
        ..source
    }
}

/// A proxy that makes tunnels, to that port whatever name is asked for; and what it was asked.
fn tunnels_to(port: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            let (mut back, mut out) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut back, &mut out));
            let _ = std::io::copy(&mut client, &mut server);
        }
    });
    (url, asked)
}

fn trusting(ca: &Authority, source: Source) -> Source {
    let certificates = Certificates::trusting(ca.pem.clone().into_bytes());
    Source {
        certificates: Arc::new(certificates),
        ..source
    }
}

#[test]
fn https_goes_through_a_tunnel_whose_end_the_proxy_looks_up() {
    let ca = Authority::new();
    let body = jwks();
    let server = Server::https(ca.server(&["keys.invalid"]), move |_, out| ok(out, &body));
    let (proxy, asked) = tunnels_to(server.port);
    let source = trusting(&ca, uri("https://keys.invalid/jwks"));
    fetch(&through(
        &proxy,
        Some(b"user:pass:word\r\n"),
        source.clone(),
    ))
    .unwrap();
    let head = asked.lock().unwrap().remove(0);
    assert!(
        head.starts_with("CONNECT keys.invalid:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(header(&head, "Host"), Some("keys.invalid:443"));
    assert_eq!(
        header(&head, "Proxy-Authorization"),
        Some("Basic dXNlcjpwYXNzOndvcmQ=")
    );
    let request = &server.requests()[0];
    assert_eq!(path(request), "/jwks");
    assert_eq!(header(request, "Host"), Some("keys.invalid"));
    assert_eq!(header(request, "Proxy-Authorization"), None);
    fetch(&through(&proxy, None, source)).unwrap();
    assert_eq!(
        header(&asked.lock().unwrap()[0], "Proxy-Authorization"),
        None
    );
}

#[test]
fn a_name_that_ends_with_a_dot_has_the_certificate_of_the_name() {
    let ca = Authority::new();
    let body = jwks();
    let server = Server::https(ca.server(&["keys.invalid"]), move |_, out| ok(out, &body));
    let (proxy, asked) = tunnels_to(server.port);
    let source = trusting(&ca, uri("https://keys.invalid./jwks"));
    fetch(&through(&proxy, None, source)).unwrap();
    assert!(asked.lock().unwrap()[0].starts_with("CONNECT keys.invalid.:443 "));
}

#[test]
fn http_goes_to_the_proxy_with_the_whole_url() {
    let body = jwks();
    let proxy = Server::http(move |_, out| ok(out, &body));
    let source = uri("http://keys.invalid:8080/jwks?v=1");
    fetch(&through(&proxy.origin(), Some(b"user:password\n"), source)).unwrap();
    let request = &proxy.requests()[0];
    assert!(
        request.starts_with("GET http://keys.invalid:8080/jwks?v=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(header(request, "Host"), Some("keys.invalid:8080"));
    assert_eq!(
        header(request, "Proxy-Authorization"),
        Some("Basic dXNlcjpwYXNzd29yZA==")
    );
}

#[test]
fn the_internal_endpoint_keeps_its_public_host_through_a_tunnel() {
    let body = jwks();
    let server = Server::http(move |_, out| ok(out, &body));
    let (proxy, asked) = tunnels_to(server.port);
    let source = Source {
        endpoint: Some(Origin::parse("https://a.example").unwrap()),
        internal: Some(Origin::parse_internal("http://authgear.internal.:3000").unwrap()),
        ..uri("https://a.example/jwks")
    };
    fetch(&through(&proxy, None, source)).unwrap();
    let head = asked.lock().unwrap().remove(0);
    assert!(
        head.starts_with("CONNECT authgear.internal.:3000 HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(header(&server.requests()[0], "Host"), Some("a.example"));
}

#[test]
fn failures_of_the_proxy_are_a_stage_of_their_own() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap();
    let refusing = Server::http(|_, out| answer(out, "407 Proxy Authentication Required", "", ""));
    let silent = Server::silent();
    for (proxy, cause) in [
        (format!("http://{closed}"), "refused"),
        ("http://proxy.invalid:3128".to_string(), ""),
        (refusing.origin(), "407"),
        (silent.origin(), ": no answer in time"),
    ] {
        for url in [
            "https://keys.invalid/jwks?secret",
            "http://keys.invalid/jwks?secret",
        ] {
            let mut source = through(&proxy, Some(b"user:hidden"), uri(url));
            source.certificates = Arc::new(Certificates::trusting(Authority::new().pem.into()));
            source.timeout = Duration::from_secs(1);
            let error = fetch(&source).unwrap_err().to_string();
            let scheme = url.split_once(':').unwrap().0;
            // Without TLS the answer that does not come may be the server's.
            if cause.ends_with("in time") && scheme == "http" {
                assert!(error.starts_with("time-out: "), "{error}");
                continue;
            }
            let begin = format!("proxy: {scheme}://keys.invalid/jwks: {proxy}: ");
            assert!(error.starts_with(&begin), "{error}");
            assert!(
                error.contains(cause) && !error.contains("hidden"),
                "{error}"
            );
        }
    }
}

#[test]
fn proxies_that_cannot_be_used() {
    for url in [
        "https://proxy:3128",
        "http://user:password@proxy",
        "proxy:3128",
        "http://proxy/x",
    ] {
        Proxy::parse(url, None).unwrap_err();
    }
    let long = [b'a'; 1025];
    for file in [
        &b""[..],
        b"user",
        b":password",
        b"a:b\nc:d",
        b"a:\xff",
        &long,
    ] {
        let parsed = Proxy::parse("http://proxy:3128", Some(file));
        assert_eq!(parsed.unwrap_err(), ProxyError::Credentials);
    }
    for url in [
        "http://proxy:3128/",
        "http://[::1]:3128",
        "http://proxy.svc.:3128",
    ] {
        assert!(Proxy::parse(url, Some(b"a:"))
            .unwrap()
            .to_string()
            .starts_with("http://"));
    }
    assert!(!format!("{:?}", Proxy::parse("http://a", Some(b"u:hidden"))).contains("hidden"));
}
