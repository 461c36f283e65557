//! Time to read a key set and to make its keys ready: Authgear's own, and the worst that the
//! limits allow.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use authgear_core::keys::KeySet;
use authgear_core::token::{verify, UnverifiedToken};
use authgear_core::{Algorithm, AlgorithmSet};
use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use serde_json::{json, Value};
use support::{document, encode, Signer};

/// Keys of 8192 bits that name no algorithm. Nobody checks that a modulus is one.
fn hostile() -> Vec<Value> {
    let modulus = |index: u8| {
        let mut modulus = vec![0xff; 1024];
        modulus[1] = index;
        encode(modulus)
    };
    let key =
        |index| json!({"kty": "RSA", "kid": format!("k{index}"), "n": modulus(index), "e": "AQAB"});
    (0..64).map(key).collect()
}

/// A token of that key, with a signature of the right length that is none.
fn forged(kid: &str, length: usize) -> String {
    let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
    let parts = [encode(header), encode("{}"), encode(vec![1; length])];
    parts.join(".")
}

fn keys(c: &mut Criterion) {
    let signer = Signer::new(Algorithm::Rs256);
    let usual = document(&[signer.jwk("k0"), signer.jwk("k1")]);
    let hostile = document(&hostile());
    let allowed: AlgorithmSet = [Algorithm::Rs256].into_iter().collect();
    for (name, document, length) in [
        ("two usual keys", usual, 256),
        ("64 of 8192 bits", hostile, 1024),
    ] {
        let parse = || KeySet::parse(black_box(&document)).unwrap().0;
        println!("key set of {name}: {} bytes at the most", parse().size());
        c.bench_function(&format!("key set of {name}: parse"), |b| b.iter(parse));
        let token = forged("k0", length);
        let token = UnverifiedToken::parse(token.as_bytes()).unwrap();
        c.bench_function(&format!("key set of {name}: first token of a key"), |b| {
            b.iter_batched(
                parse,
                |keys| (verify(token.clone(), &keys, allowed).is_err(), keys),
                BatchSize::SmallInput,
            )
        });
    }
}

criterion_group!(benches, keys);
criterion_main!(benches);
