//! Places from which keys are fetched: by discovery or by their URI, from the public endpoint or the internal one.

use std::sync::Arc;

use authgear_core::keys::fetch::{fetch, Certificates, Source};
use authgear_core::keys::Origin;

use crate::support::server::{answer, header, ok, path, Authority, Server};
use crate::{discovery, endpoint, jwks, text, uri, DISCOVERY};

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
fn the_internal_endpoint_is_told_the_scheme_of_the_public_one() {
    let body = jwks();
    let public = "http://localhost:3100";
    let server = Server::http(move |request, out| match path(request) {
        DISCOVERY => ok(out, discovery(public, &format!("{public}/oauth2/jwks"))),
        _ => ok(out, &body),
    });
    fetch(&Source {
        internal: Some(Origin::parse_internal(&server.origin()).unwrap()),
        ..endpoint(public)
    })
    .unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(header(&request, "Host"), Some("localhost:3100"));
        assert_eq!(header(&request, "X-Forwarded-Proto"), Some("http"));
    }
}

#[test]
fn what_lies_elsewhere_is_fetched_where_it_lies() {
    let body = jwks();
    let ca = Authority::new();
    let elsewhere = Server::https(ca.server(&["localhost"]), move |_, out| ok(out, &body));
    let keys = format!("https://localhost:{}/jwks", elsewhere.port);
    let certificates = Arc::new(Certificates::trusting(ca.pem.into_bytes()));
    let internal = Server::http({
        let keys = keys.clone();
        move |_, out| ok(out, discovery("https://myapp.authgear.cloud", &keys))
    });
    let internal_origin = Some(Origin::parse_internal(&internal.origin()).unwrap());
    fetch(&Source {
        internal: internal_origin.clone(),
        certificates: Arc::clone(&certificates),
        ..endpoint("https://myapp.authgear.cloud")
    })
    .unwrap();
    fetch(&Source {
        internal: internal_origin.clone(),
        certificates: Arc::clone(&certificates),
        endpoint: Some(Origin::parse("https://myapp.authgear.cloud").unwrap()),
        ..uri(&keys)
    })
    .unwrap();
    fetch(&Source {
        internal: internal_origin,
        certificates,
        ..uri(&keys)
    })
    .unwrap();
    assert_eq!(internal.requests().len(), 1);
    for request in elsewhere.requests() {
        assert_eq!(
            header(&request, "Host"),
            Some(&*format!("localhost:{}", elsewhere.port))
        );
        assert_eq!(header(&request, "X-Forwarded-Proto"), None);
    }
    assert_eq!(elsewhere.requests().len(), 3);
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
    for uri in [
        "http://a.example/jwks",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:8080/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ] {
        assert_eq!(
            refused(&discovery("https://a.example", &format!("{uri}?x"))),
            format!("the jwks_uri {uri} is plain http, and the endpoint is https")
        );
    }
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
fn discovery_on_loopback_may_name_http_on_loopback_alone() {
    let body = jwks();
    let elsewhere = Server::http(move |_, out| ok(out, &body)).origin();
    let asked = |jwks_uri: String| {
        let server = Server::http(move |request, out| {
            let origin = format!("http://{}", header(request, "Host").unwrap());
            ok(out, discovery(&origin, &jwks_uri))
        });
        fetch(&endpoint(&server.origin()))
    };
    asked(elsewhere + "/jwks").unwrap();
    for uri in ["http://a.example/jwks", "http://169.254.169.254/latest"] {
        assert_eq!(
            text(asked(uri.to_owned())),
            format!(
                "discovery: http://HOST{DISCOVERY}: the jwks_uri {uri} is plain http off loopback"
            )
        );
    }
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

#[test]
fn key_sets_whose_urls_differ_by_their_query_are_two_sources() {
    let of = |tenant| uri(&format!("https://keys.example/jwks?tenant={tenant}")).id();
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
}
