//! Arbitrary bytes as a key set, and as a single key in one.
//!
//! A set that is accepted has 1 to 64 keys within 256 KiB, each of an entry that jsonwebtoken reads as a key too. A
//! key has at least one algorithm, and only its own if it names one. No message holds a control character.

use authgear_core::keys::{DocumentError, KeySet, MAX_DOCUMENT, MAX_KEYS};
use authgear_core::token::{verify, UnverifiedToken};

use crate::assert_printable;
use crate::reference::{parse, Json};
use crate::signer::all;

/// A token that none of the keys has signed.
const TOKEN: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.e30.AAAA";

/// One input.
pub fn run(data: &[u8]) {
    document(data);
    document(&[b"{\"keys\":[", data, b"]}"].concat());
}

fn document(data: &[u8]) {
    let (keys, skipped) = match KeySet::parse(data) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert_printable(&error.to_string());
            if let DocumentError::NoUsableKey(skipped) = error {
                skipped
                    .iter()
                    .for_each(|key| assert_printable(&key.to_string()));
            }
            return;
        }
    };
    skipped
        .iter()
        .for_each(|key| assert_printable(&key.to_string()));
    assert!(data.len() <= MAX_DOCUMENT && (1..=MAX_KEYS).contains(&keys.len()));
    assert!(keys.size() > 0);
    let token = UnverifiedToken::parse(TOKEN).expect("a token");
    assert!(verify(token, &keys, all()).is_err());
    let Ok(json) = parse(data) else { return };
    assert_eq!(json.count("keys"), 1);
    let Some(Json::Array(entries)) = json.get("keys") else {
        panic!("no array of keys");
    };
    assert!(keys.len() + skipped.len() <= entries.len());
    let text = |entry: &Json, name: &str| entry.get(name).and_then(Json::text).map(String::from);
    for (kid, algorithms) in keys.describe() {
        assert!(!algorithms.is_empty());
        if let Some(kid) = kid {
            assert!(keys.has_kid(kid));
        }
        let named: Vec<String> = algorithms
            .iter()
            .map(|algorithm| algorithm.name().to_string())
            .collect();
        let is_it = |entry: &&Json| {
            let alg = text(entry, "alg");
            let of = text(entry, "use");
            text(entry, "kid").as_deref() == kid
                && of.is_none_or(|of| of == "sig")
                && alg.is_none_or(|alg| named == [alg])
        };
        let mut own = entries.iter().filter(is_it);
        assert!(own.any(|entry| fits(entry, &named)), "{kid:?} {named:?}");
    }
}

/// True if the algorithms are those of the entry's type.
fn fits(entry: &Json, algorithms: &[String]) -> bool {
    let text = |name: &str| entry.get(name).and_then(Json::text).unwrap_or_default();
    let prefixes: &[&str] = match (text("kty"), text("crv")) {
        ("RSA", _) => &["RS", "PS"],
        ("EC", "P-256") => &["ES256"],
        ("EC", "P-384") => &["ES384"],
        ("EC", "P-521") => &["ES512"],
        ("OKP", "Ed25519") => &["EdDSA"],
        _ => &[],
    };
    let is_own = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    // RFC 8725 asks to use a key for its own type alone.
    algorithms.iter().all(is_own)
}
