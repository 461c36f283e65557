//! Answers that a server may give: status, length, form.

use authgear_core::keys::fetch::fetch;
use authgear_core::keys::MAX_DOCUMENT;
use authgear_core::Algorithm;
use serde_json::json;

use crate::support::server::{answer, ok, Server};
use crate::support::{document, Signer};
use crate::{endpoint, from, jwks, text, DISCOVERY};

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
