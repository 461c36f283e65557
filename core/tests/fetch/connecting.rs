//! Time limits, and servers that are not there.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use authgear_core::keys::fetch::{fetch, FetchError, Source};
use rustix::net::{AddressFamily, SocketType};

use crate::support::server::{header, ok, path, Server};
use crate::{discovery, endpoint, jwks, text, uri, DISCOVERY};

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
    // Bound, so that nobody else gets the port, and not listening.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    rustix::net::bind(&socket, &any).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    let port = address.port();
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
