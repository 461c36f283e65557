//! The cache of verified tokens: what is found again, what is not, and what goes first.

mod support;

use std::num::NonZeroUsize;
use std::rc::Rc;

use authgear_core::digest::Digest;
use authgear_core::keys::KeySet;
use authgear_core::token::{TokenCache, VerifiedToken, TOKEN_SIZE};
use authgear_core::{Algorithm, AlgorithmSet};
use support::{all_algorithms, key_set, verified, Signer};

const TENANT: [u8; 32] = [1; 32];
const NOW: f64 = 1_900_000_000.0;

fn cache(capacity: usize) -> TokenCache {
    TokenCache::new(NonZeroUsize::new(capacity).unwrap())
}

/// The payload of one of Authgear's tokens.
fn payload(jti: &str) -> String {
    format!(
        r#"{{"aud":["https://myapp.authgear.cloud"],"auth_time":1899999000,"client_id":"0123456789abcdef","exp":1900001800,"https://authgear.com/claims/user/can_reauthenticate":true,"https://authgear.com/claims/user/is_anonymous":false,"https://authgear.com/claims/user/is_verified":true,"https://authgear.com/claims/user/roles":["store_manager","store_staff"],"iat":1900000000,"iss":"https://myapp.authgear.cloud","jti":"{jti:0>64}","scope":"openid offline_access https://authgear.com/scopes/full-userinfo","sub":"7e37c8a2-0b7e-4d0f-9d42-1a1f5c3a1b11","amr":["pwd","mfa","otp"]}}"#
    )
}

struct Tokens {
    signer: Signer,
    keys: KeySet,
}

impl Tokens {
    fn new() -> Tokens {
        let signer = Signer::new(Algorithm::EdDsa);
        let keys = signer.key_set();
        Tokens { signer, keys }
    }

    fn of(&self, payload: impl AsRef<[u8]>) -> Rc<VerifiedToken> {
        verified(&self.signer.token("k", payload), &self.keys).unwrap()
    }

    /// Puts that many tokens in, under digests of their numbers.
    fn fill(&self, cache: &mut TokenCache, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let token = self.of(payload(&number.to_string()));
            cache.put(TENANT, digest(number), token, NOW);
        }
    }
}

fn digest(number: usize) -> Digest {
    (number as u128).to_le_bytes()
}

fn get(cache: &mut TokenCache, number: usize) -> Option<Rc<VerifiedToken>> {
    cache.get(&TENANT, &digest(number))
}

fn present(cache: &mut TokenCache, numbers: std::ops::Range<usize>) -> Vec<usize> {
    numbers
        .filter(|number| get(cache, *number).is_some())
        .collect()
}

#[test]
fn a_token_is_found_by_its_digest_and_its_tenant() {
    let mut cache = cache(4);
    let token = Tokens::new().of(payload("1"));
    cache.put(TENANT, digest(1), Rc::clone(&token), NOW);
    assert!(Rc::ptr_eq(&get(&mut cache, 1).unwrap(), &token));
    assert!(get(&mut cache, 2).is_none());
    assert!(cache.get(&[2; 32], &digest(1)).is_none());
    cache.forget(&[2; 32], &digest(1));
    assert!(get(&mut cache, 1).is_some());
    cache.forget(&TENANT, &digest(1));
    assert!(get(&mut cache, 1).is_none());
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut cache = cache(4);
    let tokens = Tokens::new();
    tokens.fill(&mut cache, 0..4);
    assert_eq!(present(&mut cache, 0..1), [0]);
    tokens.fill(&mut cache, 4..6);
    assert_eq!(present(&mut cache, 0..6), [0, 3, 4, 5]);
    // One that comes again takes no second place.
    tokens.fill(&mut cache, 0..1);
    tokens.fill(&mut cache, 0..1);
    assert_eq!(present(&mut cache, 0..6), [0, 3, 4, 5]);
}

#[test]
fn tokens_of_authgears_size_all_have_room() {
    let mut cache = cache(64);
    Tokens::new().fill(&mut cache, 0..64);
    assert_eq!(present(&mut cache, 0..64).len(), 64);
}

#[test]
fn a_large_token_counts_for_what_it_takes() {
    let tokens = Tokens::new();
    let large = |size: usize| tokens.of(payload("large").replace("openid", &"x".repeat(size)));
    let mut cache = cache(4);
    let limit = 4 * TOKEN_SIZE;
    tokens.fill(&mut cache, 0..4);
    cache.put(TENANT, digest(9), large(limit), NOW);
    assert!(get(&mut cache, 9).is_none());
    assert_eq!(present(&mut cache, 0..4).len(), 4, "it pushes nothing out");

    let token = large(limit / 3 * 2);
    let left = limit - token.size();
    cache.put(TENANT, digest(8), token, NOW);
    assert!(get(&mut cache, 8).is_some());
    let beside: usize = present(&mut cache, 0..4)
        .into_iter()
        .map(|number| tokens.of(payload(&number.to_string())).size())
        .sum();
    assert!(beside <= left, "{beside} bytes beside it, {left} are left");

    // Memory that is given back can be used again.
    for round in 0..100 {
        tokens.fill(&mut cache, round * 4..round * 4 + 4);
    }
    assert!(get(&mut cache, 8).is_none());
    assert_eq!(present(&mut cache, 99 * 4..100 * 4).len(), 4);
}

#[test]
fn a_forgotten_token_takes_no_room() {
    let tokens = Tokens::new();
    let mut cache = cache(4);
    for _ in 0..100 {
        tokens.fill(&mut cache, 0..1);
        cache.forget(&TENANT, &digest(0));
        assert!(get(&mut cache, 0).is_none());
    }
    tokens.fill(&mut cache, 0..4);
    assert_eq!(present(&mut cache, 0..4).len(), 4);
}

#[test]
fn an_expired_token_is_not_kept() {
    let mut cache = cache(4);
    let token = Tokens::new().of(payload("1"));
    let exp = token.exp();
    for (number, now) in [(0, exp - 1.0), (1, exp), (2, exp + 1.0), (3, f64::NAN)] {
        cache.put(TENANT, digest(number), Rc::clone(&token), now);
    }
    assert_eq!(present(&mut cache, 0..4), [0]);
}

#[test]
fn a_token_is_backed_by_the_key_that_signed_it_alone() {
    let all = all_algorithms();
    let signer = Signer::new(Algorithm::EdDsa);
    let other = Signer::other(Algorithm::EdDsa);
    let token = verified(&signer.token("k", payload("1")), &signer.key_set()).unwrap();
    assert!(token.signed_by().is_backed_by(&signer.key_set(), all));
    assert!(token
        .signed_by()
        .is_backed_by(&key_set(&[other.jwk("l"), signer.jwk("k")]), all));
    assert!(
        !token.signed_by().is_backed_by(&other.key_set(), all),
        "another key of that kid"
    );
    assert!(
        !token
            .signed_by()
            .is_backed_by(&key_set(&[signer.jwk("l")]), all),
        "another kid of that key"
    );
    let allowed = AlgorithmSet::EMPTY.with(Algorithm::Rs256);
    assert!(
        !token.signed_by().is_backed_by(&signer.key_set(), allowed),
        "its algorithm is not allowed"
    );
}

#[test]
fn a_token_without_a_kid_is_backed_by_the_only_key_that_fits() {
    let all = all_algorithms();
    let signer = Signer::new(Algorithm::EdDsa);
    let alone = key_set(&[signer.jwk("k")]);
    let token = signer.sign(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, payload("1"));
    let token = verified(&token, &alone).unwrap();
    assert!(token.signed_by().is_backed_by(&alone, all));
    let rsa = Signer::new(Algorithm::Rs256).jwk("l");
    assert!(token
        .signed_by()
        .is_backed_by(&key_set(&[signer.jwk("k"), rsa]), all));
    let second = Signer::other(Algorithm::EdDsa).jwk("l");
    assert!(!token
        .signed_by()
        .is_backed_by(&key_set(&[signer.jwk("k"), second]), all));
}
