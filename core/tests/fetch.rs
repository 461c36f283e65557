//! Fetching against real servers on loopback.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use authgear_core::keys::fetch::{check_ca, fetch, CaError, FetchError, Fetched, KeysFrom, Source};
use authgear_core::keys::{Origin, Url, MAX_DOCUMENT};
use authgear_core::Algorithm;
use serde_json::json;
use support::server::{answer, header, ok, path, Authority, Server};
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
        ca: None,
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

#[test]
fn a_key_set_by_its_uri() {
    let body = jwks();
    let sent = body.clone();
    let server = Server::http(move |_, out| ok(out, &sent));
    let fetched = fetch(&uri(&(server.origin() + "/oauth2/jwks?v=1"))).unwrap();
    assert_eq!(fetched.document, body);
    assert_eq!(fetched.keys.len(), 1);
    assert!(fetched.keys.has_kid("k"));
    assert!(fetched.skipped.is_empty());
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].starts_with("GET /oauth2/jwks?v=1 HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert_eq!(
        header(&requests[0], "Host"),
        Some(&*format!("127.0.0.1:{}", server.port))
    );
    assert_eq!(header(&requests[0], "Accept"), Some("application/json"));
    let agent = concat!("ngx_http_authgear_module/", env!("CARGO_PKG_VERSION"));
    assert_eq!(header(&requests[0], "User-Agent"), Some(agent));
    for absent in [
        "X-Forwarded-Proto",
        "Authorization",
        "Cookie",
        "Accept-Encoding",
    ] {
        assert_eq!(header(&requests[0], absent), None, "{absent}");
    }
}

#[test]
fn a_key_set_by_discovery() {
    let body = jwks();
    let server = Server::http(move |request, out| {
        let origin = format!("http://{}", header(request, "Host").unwrap());
        match path(request) {
            DISCOVERY => ok(out, discovery(&origin, &(origin.clone() + "/oauth2/jwks"))),
            "/oauth2/jwks" => ok(out, &body),
            _ => answer(out, "404 Not Found", "", ""),
        }
    });
    let fetched = fetch(&endpoint(&server.origin())).unwrap();
    assert!(fetched.keys.has_kid("k"));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn chunked_and_close_delimited_bodies() {
    let body = jwks();
    let chunked = from({
        let body = body.clone();
        move |_, out| {
            let _ = write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(10) {
                let _ = write!(out, "{:x}\r\n", chunk.len());
                let _ = out.write_all(chunk);
                let _ = write!(out, "\r\n");
            }
            let _ = write!(out, "0\r\n\r\n");
        }
    });
    assert_eq!(chunked.unwrap().document, body);
    let closed = from({
        let body = body.clone();
        move |_, out| {
            let _ = write!(out, "HTTP/1.0 200 OK\r\n\r\n");
            let _ = out.write_all(&body);
        }
    });
    assert_eq!(closed.unwrap().document, body);
}

#[test]
fn the_internal_endpoint_stands_in_for_the_public_one() {
    let body = jwks();
    let server = Server::http(move |request, out| match path(request) {
        DISCOVERY => ok(
            out,
            discovery(
                "https://myapp.authgear.cloud",
                "https://myapp.authgear.cloud:443/oauth2/jwks?v=1",
            ),
        ),
        "/oauth2/jwks?v=1" => ok(out, &body),
        _ => answer(out, "404 Not Found", "", ""),
    });
    let internal = Some(Origin::parse_internal(&server.origin()).unwrap());
    let by_discovery = Source {
        internal: internal.clone(),
        ..endpoint("https://myapp.authgear.cloud")
    };
    fetch(&by_discovery).unwrap();
    let by_uri = Source {
        internal,
        endpoint: Some(Origin::parse("https://myapp.authgear.cloud").unwrap()),
        ..uri("https://myapp.authgear.cloud/oauth2/jwks?v=1")
    };
    fetch(&by_uri).unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(header(&request, "Host"), Some("myapp.authgear.cloud"));
        assert_eq!(header(&request, "X-Forwarded-Proto"), Some("https"));
    }
}

#[test]
fn what_lies_elsewhere_is_fetched_where_it_lies() {
    let body = jwks();
    let elsewhere = Server::http(move |_, out| ok(out, &body));
    let keys = elsewhere.origin() + "/jwks";
    let internal = Server::http({
        let keys = keys.clone();
        move |_, out| ok(out, discovery("https://myapp.authgear.cloud", &keys))
    });
    let internal_origin = Some(Origin::parse_internal(&internal.origin()).unwrap());
    fetch(&Source {
        internal: internal_origin.clone(),
        ..endpoint("https://myapp.authgear.cloud")
    })
    .unwrap();
    fetch(&Source {
        internal: internal_origin.clone(),
        endpoint: Some(Origin::parse("https://myapp.authgear.cloud").unwrap()),
        ..uri(&keys)
    })
    .unwrap();
    fetch(&Source {
        internal: internal_origin,
        ..uri(&keys)
    })
    .unwrap();
    assert_eq!(internal.requests().len(), 1);
    for request in elsewhere.requests() {
        assert_eq!(
            header(&request, "Host"),
            Some(&*format!("127.0.0.1:{}", elsewhere.port))
        );
        assert_eq!(header(&request, "X-Forwarded-Proto"), None);
    }
    assert_eq!(elsewhere.requests().len(), 3);
}

#[test]
fn only_status_200_counts() {
    for (status, wanted) in [
        ("500 Internal Server Error", "status 500: http://HOST/jwks"),
        ("404 Not Found", "status 404: http://HOST/jwks"),
        ("201 Created", "status 201: http://HOST/jwks"),
        ("204 No Content", "status 204: http://HOST/jwks"),
        ("206 Partial Content", "status 206: http://HOST/jwks"),
        ("401 Unauthorized", "status 401: http://HOST/jwks"),
    ] {
        let body = jwks();
        assert_eq!(
            text(from(move |_, out| answer(out, status, "", &body))),
            wanted
        );
    }
}

#[test]
fn redirects_are_not_followed() {
    let target = Server::http(|_, out| ok(out, jwks()));
    for status in ["301", "302", "303", "307", "308"] {
        let location = format!("Location: {}/jwks?secret=1#x\r\n", target.origin());
        let result = text(from(move |_, out| {
            answer(out, &format!("{status} Moved"), &location, "")
        }));
        let wanted = format!("redirect: http://HOST/jwks: status {status} to \"");
        assert!(result.starts_with(&wanted), "{result}");
        assert!(result.ends_with("/jwks\" is not followed"), "{result}");
    }
    assert!(target.requests().is_empty());
    let bare = text(from(|_, out| answer(out, "304 Not Modified", "", "")));
    assert_eq!(
        bare,
        "redirect: http://HOST/jwks: status 304 to \"\" is not followed"
    );
    let odd = text(from(|_, out| {
        answer(out, "302 Found", "Location: a\tb\"\u{e9}\r\n", "")
    }));
    assert_eq!(
        odd,
        "redirect: http://HOST/jwks: status 302 to \"a\\tb\\\"\u{e9}\" is not followed"
    );
}

#[test]
fn bodies_have_a_limit() {
    let padded = |size: usize| {
        let mut body = jwks();
        body.resize(size, b' ');
        body
    };
    assert!(from(move |_, out| ok(out, padded(MAX_DOCUMENT))).is_ok());
    let over = "size: http://HOST/jwks: more than 262144 bytes of body";
    assert_eq!(
        text(from(move |_, out| ok(out, padded(MAX_DOCUMENT + 1)))),
        over
    );
    // Without a length, the body ends only when the client has had enough.
    let endless = from(|_, out| {
        let _ = write!(out, "HTTP/1.1 200 OK\r\n\r\n");
        while out.write_all(&[b' '; 4096]).is_ok() {}
    });
    assert_eq!(text(endless), over);
    let discovery = Server::http(move |_, out| ok(out, padded(MAX_DOCUMENT + 1)));
    assert_eq!(
        text(fetch(&endpoint(&discovery.origin()))),
        format!("size: http://HOST{DISCOVERY}: more than 262144 bytes of body")
    );
}

#[test]
fn headers_have_a_limit() {
    let long = from(|_, out| {
        let _ = write!(out, "HTTP/1.1 200 OK\r\n");
        for _ in 0..20 {
            let _ = write!(out, "X: {}\r\n", "x".repeat(1000));
        }
        let _ = write!(out, "\r\n");
    });
    assert_eq!(
        text(long),
        "size: http://HOST/jwks: more than 16384 bytes of header"
    );
    let endless = from(|_, out| {
        let _ = write!(out, "HTTP/1.1 200 OK\r\n");
        while write!(out, "X: {}\r\n", "x".repeat(100)).is_ok() {}
    });
    let endless = text(endless);
    let is_told = endless.starts_with("size: ") || endless.starts_with("response: ");
    assert!(is_told, "{endless}");
}

#[test]
fn broken_answers() {
    for (sent, stage) in [
        ("", "response: "),
        ("nonsense\r\n\r\n", "response: "),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "response: ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
            "response: ",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "response: ",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "response: ",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "parse: "),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
            "parse: ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}",
            "parse: ",
        ),
    ] {
        let result = text(from(move |_, out| {
            let _ = out.write_all(sent.as_bytes());
        }));
        assert!(result.starts_with(stage), "{sent:?}: {result}");
        assert!(result.contains("http://HOST/jwks: "), "{result}");
        assert!(!result.contains(char::is_control), "{result:?}");
    }
}

#[test]
fn skipped_keys_are_told() {
    let body = document(&[
        Signer::new(Algorithm::EdDsa).jwk("k"),
        json!({"kty": "oct", "kid": "x"}),
    ]);
    let fetched = from(move |_, out| ok(out, &body)).unwrap();
    assert_eq!(fetched.skipped.len(), 1);
}

#[test]
fn discovery_must_be_the_endpoints_own() {
    let server = |body: String| {
        let server = Server::http(move |_, out| ok(out, &body));
        Source {
            internal: Some(Origin::parse_internal(&server.origin()).unwrap()),
            ..endpoint("https://a.example")
        }
    };
    let refused = |body: &str| {
        let text = text(fetch(&server(body.to_owned())));
        let stage = format!("discovery: http://HOST{DISCOVERY}: ");
        assert!(text.starts_with(&stage), "{text}");
        text[stage.len()..].to_owned()
    };
    for body in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"issuer":"https://a.example"}"#,
        r#"{"issuer":1,"jwks_uri":"x"}"#,
    ] {
        assert_eq!(
            refused(body),
            "not a JSON object with an issuer and a jwks_uri"
        );
    }
    for issuer in [
        "https://b.example",
        "https://a.example.evil",
        "https://a.example:8443",
        "https://a.example/x",
        "http://a.example",
        "a.example",
        "",
    ] {
        assert_eq!(
            refused(&discovery(issuer, "https://a.example/jwks")),
            format!("the issuer \"{issuer}\" is not https://a.example")
        );
    }
    assert_eq!(
        refused(&discovery("https://a.example", "http://a.example/jwks?x")),
        "the jwks_uri http://a.example/jwks is plain http off loopback"
    );
    assert_eq!(
        refused(&discovery(
            "https://a.example",
            "http://169.254.169.254/latest"
        )),
        "the jwks_uri http://169.254.169.254/latest is plain http off loopback"
    );
    assert_eq!(
        refused(&discovery("https://a.example", "/jwks")),
        "the jwks_uri begins with neither https:// nor http://, write https:// before the host"
    );
    assert_eq!(
        refused(&discovery("https://a.example", "https://u@a.example/jwks")),
        "the jwks_uri has a user name before the host, leave it out"
    );
    assert_eq!(
        refused(&discovery("https://a.example", "file:///etc/passwd")),
        "the jwks_uri begins with neither https:// nor http://, write https:// before the host"
    );
}

#[test]
fn the_issuer_is_compared_as_an_origin() {
    let body = jwks();
    let server = Server::http(move |request, out| match path(request) {
        DISCOVERY => ok(
            out,
            discovery("HTTPS://A.example:443/", "https://a.example/jwks"),
        ),
        _ => ok(out, &body),
    });
    let internal = Some(Origin::parse_internal(&server.origin()).unwrap());
    fetch(&Source {
        internal,
        ..endpoint("https://a.example")
    })
    .unwrap();
}

/// Fetches with that time limit, and says how it failed and after how long.
fn timed(mut source: Source, timeout: Duration) -> (FetchError, Duration) {
    source.timeout = timeout;
    let start = Instant::now();
    let error = fetch(&source).expect_err("the fetch must fail");
    (error, start.elapsed())
}

#[test]
fn the_deadline_ends_every_stage() {
    const LIMIT: Duration = Duration::from_millis(400);
    let drip = |out: &mut dyn Write, head: &str, bytes: &str| {
        let _ = out.write_all(head.as_bytes());
        while out
            .write_all(bytes.as_bytes())
            .and_then(|()| out.flush())
            .is_ok()
        {
            thread::sleep(Duration::from_millis(20));
        }
    };
    let silent = Server::silent();
    let body = Server::http(move |_, out| {
        drip(
            out,
            "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
            " ",
        )
    });
    let chunks = Server::http(move |_, out| {
        drip(
            out,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\n \r\n",
        );
    });
    let headers = Server::http(move |_, out| drip(out, "HTTP/1.1 200 OK\r\n", "X: y\r\n"));
    let slow = Server::http(|request, out| {
        thread::sleep(Duration::from_millis(250));
        let origin = format!("http://{}", header(request, "Host").unwrap());
        match path(request) {
            DISCOVERY => ok(out, discovery(&origin, &(origin.clone() + "/jwks"))),
            _ => ok(out, jwks()),
        }
    });
    let full = Server::http(|_, out| {
        let _ = write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123");
        let _ = out.flush();
        thread::sleep(Duration::from_secs(5));
    });
    let jwks_at = |server: &Server| uri(&(server.origin() + "/jwks"));
    for (what, source) in [
        ("a silent server", jwks_at(&silent)),
        (
            "a silent handshake",
            uri(&format!("https://127.0.0.1:{}/jwks", silent.port)),
        ),
        ("a dripping body", jwks_at(&body)),
        ("dripping chunks", jwks_at(&chunks)),
        ("dripping headers", jwks_at(&headers)),
        ("half a body", jwks_at(&full)),
        ("two slow answers", endpoint(&slow.origin())),
    ] {
        let (error, took) = timed(source, LIMIT);
        assert!(
            matches!(error, FetchError::TimedOut { .. }),
            "{what}: {error}"
        );
        assert!(
            error
                .to_string()
                .ends_with(": no complete answer within 400ms"),
            "{what}: {error}"
        );
        assert!(took >= LIMIT && took < 4 * LIMIT, "{what} took {took:?}");
    }
    let (error, _) = timed(jwks_at(&silent), Duration::ZERO);
    assert!(matches!(error, FetchError::TimedOut { .. }), "{error}");
}

#[test]
fn a_time_limit_beyond_all_clocks_is_no_panic() {
    let body = jwks();
    let server = Server::http(move |_, out| ok(out, &body));
    let mut source = uri(&(server.origin() + "/jwks"));
    source.timeout = Duration::MAX;
    fetch(&source).unwrap();
}

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for scheme in ["http", "https"] {
        let result = fetch(&uri(&format!("{scheme}://127.0.0.1:{port}/jwks?secret")));
        let error = text(result);
        assert!(
            error.starts_with(&format!("connect: {scheme}://HOST/jwks: ")),
            "{error}"
        );
    }
}

#[test]
fn names_that_nobody_knows() {
    let (error, took) = timed(
        uri("https://nobody.invalid/jwks?secret"),
        Duration::from_secs(5),
    );
    // A system whose name server does not answer either cannot say so before the deadline.
    match error {
        FetchError::NameLookup { .. } => {
            assert!(error
                .to_string()
                .starts_with("name look-up: https://nobody.invalid/jwks: "));
        }
        FetchError::TimedOut { .. } => assert!(took >= Duration::from_secs(5)),
        other => panic!("{other}"),
    }
    assert!(took < Duration::from_secs(7), "{took:?}");
}

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
