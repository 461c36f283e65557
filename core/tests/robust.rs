//! Properties that hold for any input: no panic, no way past the signature, no control character in a
//! header.

mod support;

use authgear_core::credential::{bearer, classify, CookieNames, Cookies, Form};
use authgear_core::keys::{KeySet, Origin, Url};
use authgear_core::session::{Field, Fields};
use authgear_core::token::{UnverifiedToken, VerifiedToken};
use authgear_core::Algorithm;
use serde_json::json;
use support::{document, verified, Signer};

/// xorshift64*: the same sequence on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Changes, drops, doubles or inserts a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.below(256) as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[at]),
                _ => bytes.insert(at, b"{}[]\",:.=\\ \n\0u0"[self.below(15)]),
            }
            if bytes.is_empty() {
                return;
            }
        }
    }
}

const PAYLOAD: &str = r#"{"exp":2000000000,"sub":"user","aud":["a"],"x":{"y":[1,"\u0041"]}}"#;

#[test]
fn no_changed_token_verifies() {
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.key_set();
    let good = signer.token("k", PAYLOAD);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut token = good.clone().into_bytes();
        random.mutate(&mut token);
        if token == good.as_bytes() {
            continue;
        }
        let _ = classify(&token);
        let text = String::from_utf8_lossy(&token);
        assert!(verified(&text, &keys).is_err(), "{text}");
    }
}

#[test]
fn what_parses_was_classified_as_a_jwt() {
    let good = Signer::new(Algorithm::EdDsa).token("k", PAYLOAD);
    let mut random = Random(2);
    for _ in 0..20_000 {
        let mut token = good.clone().into_bytes();
        random.mutate(&mut token);
        if UnverifiedToken::parse(&token).is_ok() {
            assert_eq!(
                classify(&token),
                Ok(Form::Jwt),
                "{}",
                String::from_utf8_lossy(&token)
            );
        }
    }
}

/// Every text that can end up in a header or a log.
fn all_texts(token: &VerifiedToken, text: &[u8]) -> Vec<String> {
    let session = token.session();
    let fields = Field::ALL.into_iter().map(|field| session.get(field));
    let own = [
        session.client_id(),
        session.scope(),
        session.token_id(),
        session.token_exp(),
        session.kid(),
    ];
    let mut texts: Vec<String> = fields.chain(own).flatten().map(Into::into).collect();
    texts.extend(token.claims_json(text));
    texts.extend(
        ["c", "d", "e"]
            .iter()
            .filter_map(|name| token.claim_text(text, name)),
    );
    texts.extend(token.claim_path_text(text, &["e", "f"]));
    texts
}

#[test]
fn no_claim_can_split_a_header() {
    const PIECES: [&str; 16] = [
        "\\n", "\\r", "\\u0000", "\\u000a", "\\u001f", "\\u007f", "\x7f", "\\\"", "\\\\", "%",
        "%0a", "a", " ", ",", "\\ud800", "\u{e9}",
    ];
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.key_set();
    let mut random = Random(3);
    let mut accepted = 0;
    for _ in 0..5_000 {
        let mut text = || {
            (0..random.below(4))
                .map(|_| random.pick(&PIECES))
                .collect::<String>()
        };
        let (own, name, c, d, f) = (text(), text(), text(), text(), text());
        let claim = random.pick(&["sub", "scope", "jti", "client_id", "iss", "other"]);
        let sub = if claim == "sub" { "other" } else { "sub" };
        let payload = format!(
            r#"{{"exp":1, "{sub}":"u", "{claim}":"{own}", "c":"{c}", "d":["{d}","{d}"], "e":{{"f":"{f}", "{name}": [1, "{c}"]}}}}"#
        );
        let sent = signer.token("k", &payload);
        let Ok(token) = verified(&sent, &keys) else {
            continue;
        };
        accepted += 1;
        for text in all_texts(&token, sent.as_bytes()) {
            assert!(
                !text.contains(|c: char| c < ' ' || c == '\x7f'),
                "{payload}: {text:?}"
            );
        }
        let ours: serde_json::Value =
            serde_json::from_str(&token.claims_json(sent.as_bytes()).unwrap()).unwrap_or_default();
        let theirs: serde_json::Value = serde_json::from_str(&payload).unwrap_or_default();
        assert_eq!(ours, theirs, "{payload}");
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn raw_control_characters_are_no_json() {
    let signer = Signer::new(Algorithm::EdDsa);
    let keys = signer.key_set();
    for control in (0..0x20u8).map(char::from) {
        for payload in [
            format!(r#"{{"exp":1,"sub":"u","a{control}":1}}"#),
            format!(r#"{{"exp":1,"sub":"u","a{control}\u0062":1}}"#),
            format!(r#"{{"exp":1,"sub":"u","a":"{control}"}}"#),
            format!(r#"{{"exp":1,"sub":"u","a":{{"b{control}":1}}}}"#),
            format!(r#"{{"exp":1,"sub":"u","a":["b{control}\n"]}}"#),
        ] {
            assert!(
                verified(&signer.token("k", &payload), &keys).is_err(),
                "{payload:?}"
            );
        }
    }
}

#[test]
fn key_sets_of_any_bytes() {
    let keys = [
        Signer::new(Algorithm::EdDsa).jwk("a"),
        Signer::new(Algorithm::Es256).jwk("b"),
        json!({"kty": "oct"}),
    ];
    let good = document(&keys);
    let mut random = Random(4);
    for _ in 0..10_000 {
        let mut text = good.clone();
        random.mutate(&mut text);
        match KeySet::parse(&text) {
            Ok((keys, skipped)) => {
                assert!((1..=2).contains(&keys.len()));
                for key in skipped {
                    assert!(!key.to_string().contains(char::is_control), "{key}");
                }
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
        }
    }
}

#[test]
fn urls_mean_the_same_to_the_client() {
    const PIECES: [&str; 24] = [
        "https://",
        "http://",
        "HTTPS://",
        "//",
        "/",
        "\\",
        "@",
        ":",
        "?",
        "#",
        "%2e",
        ".",
        "a.example",
        "b.example",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[",
        "]",
        "443",
        "8443",
        "-",
        "_",
        "\u{fc}",
    ];
    let mut random = Random(5);
    let mut accepted = 0;
    for _ in 0..50_000 {
        let scheme = random.pick(&["https://", "http://", "HTTPS://", ""]);
        let rest: String = (0..1 + random.below(6))
            .map(|_| random.pick(&PIECES))
            .collect();
        let text = format!("{scheme}{rest}");
        if let Ok(origin) = Origin::parse(&text) {
            assert_eq!(Origin::parse(origin.as_str()), Ok(origin.clone()), "{text}");
        }
        let Ok(url) = Url::parse(&text) else { continue };
        accepted += 1;
        let origin = url.origin();
        let Ok(theirs) = text.parse::<ureq::http::Uri>() else {
            continue;
        };
        assert_eq!(theirs.scheme_str(), Some(origin.scheme()), "{text}");
        let host = theirs.host().unwrap_or_default().to_ascii_lowercase();
        let default = if origin.scheme() == "https" { 443 } else { 80 };
        let ours = match theirs.port_u16().filter(|&port| port != default) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        assert_eq!(ours, origin.host(), "{text}");
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn headers_of_any_bytes() {
    let mut random = Random(6);
    let names = CookieNames::new("").unwrap();
    for _ in 0..20_000 {
        let mut header = b"Bearer a; session=\"b\"; app_session = c".to_vec();
        random.mutate(&mut header);
        let _ = bearer(&header);
        let mut cookies = Cookies::default();
        cookies.read(&header, &names);
        for value in [cookies.session(), cookies.app_session()]
            .into_iter()
            .flatten()
        {
            assert!(value.iter().all(|b| matches!(b, 0x20..=0x7e)));
        }
        let headers = [
            (&b"X-Authgear-Session-Valid"[..], &b"true"[..]),
            (b"X-Authgear-User-Id", &header),
        ];
        if let Ok(Some(fields)) = Fields::from_resolver(headers, &mut Vec::new()) {
            let id = fields.get(Field::UserId).unwrap();
            assert!(!id.contains(|c: char| c < ' ' || c == '\x7f'));
        }
    }
}
