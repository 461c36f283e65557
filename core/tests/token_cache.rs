//! The cache of verified tokens: what is found again, what is not, and what goes first.

mod support;

use std::num::NonZeroUsize;
use std::rc::Rc;

use authgear_core::keys::KeySet;
use authgear_core::token::{TokenCache, TokenDigest, VerifiedToken, TOKEN_SIZE};
use authgear_core::{Algorithm, AlgorithmSet};
use support::{all_algorithms, key_set, verified, Signer};

const SOURCE: [u8; 32] = [1; 32];
const NOW: f64 = 1_900_000_000.0;

fn cache(capacity: usize) -> TokenCache {
    TokenCache::new(NonZeroUsize::new(capacity).unwrap()).unwrap()
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
            let digest = digest(cache, number);
            cache.put(digest, token, NOW);
        }
    }
}

fn look_up(cache: &mut TokenCache, text: &[u8]) -> (TokenDigest, Option<Rc<VerifiedToken>>) {
    cache.look_up(&SOURCE, text, |_, _| {}).unwrap()
}

/// Of a token that is not there: looking it up would be a use of it.
fn digest(cache: &mut TokenCache, number: usize) -> TokenDigest {
    look_up(cache, &number.to_be_bytes()).0
}

fn present(cache: &mut TokenCache, numbers: std::ops::Range<usize>) -> Vec<usize> {
    numbers
        .filter(|number| look_up(cache, &number.to_be_bytes()).1.is_some())
        .collect()
}

#[test]
fn a_token_is_found_by_its_bytes_and_the_source_of_its_keys() {
    let mut cache = cache(4);
    let token = Tokens::new().of(payload("1"));
    let (digest, _) = look_up(&mut cache, b"a.b.c");
    cache.put(digest, Rc::clone(&token), NOW);
    let (_, found) = look_up(&mut cache, b"a.b.c");
    assert!(Rc::ptr_eq(&found.unwrap(), &token));
    for (source, text) in [
        (SOURCE, &b"a.b.d"[..]),
        (SOURCE, b"a.b.c "),
        (SOURCE, b"a.b."),
        (SOURCE, b""),
        ([2; 32], b"a.b.c"),
    ] {
        let (_, found) = cache.look_up(&source, text, |_, _| {}).unwrap();
        assert!(found.is_none(), "{text:?}");
    }
}

#[test]
fn no_two_caches_have_the_same_digests() {
    let digest = |mut cache: TokenCache| look_up(&mut cache, b"a.b.c").0;
    assert_ne!(digest(cache(1)), digest(cache(1)));
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
fn any_order_of_use_leaves_what_was_used_last() {
    const ROOM: usize = 8;
    const NUMBERS: usize = 20;
    let signers = [Tokens::new(), Tokens::new()];
    let tokens: Vec<[Rc<VerifiedToken>; 2]> = (0..NUMBERS)
        .map(|number| {
            signers
                .each_ref()
                .map(|signer| signer.of(payload(&number.to_string())))
        })
        .collect();
    let mut cache = cache(ROOM);
    let digests: Vec<TokenDigest> = (0..NUMBERS).map(|n| digest(&mut cache, n)).collect();
    // The expected entries, the least recently used first: its number and its signer's.
    let mut model: Vec<(usize, usize)> = Vec::new();
    let (mut random, mut found, mut forgotten) = (1u64, 0, 0);
    for _ in 0..50_000 {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let (number, signer) = (
            (random >> 33) as usize % NUMBERS,
            (random >> 60) as usize % 2,
        );
        let place = model.iter().position(|(own, _)| *own == number);
        match random >> 50 & 63 {
            0 => {
                cache.forget_key(tokens[0][signer].signed_by().key_id());
                forgotten += model.len();
                model.retain(|(_, own)| *own != signer);
                forgotten -= model.len();
            }
            1..32 => {
                cache.put(digests[number], Rc::clone(&tokens[number][signer]), NOW);
                match place {
                    Some(place) => drop(model.remove(place)),
                    None if model.len() == ROOM => drop(model.remove(0)),
                    None => {}
                }
                model.push((number, signer));
            }
            _ => {
                let (_, token) = look_up(&mut cache, &number.to_be_bytes());
                let expected = place.map(|place| model.remove(place));
                model.extend(expected);
                let expected = expected.map(|(number, signer)| &tokens[number][signer]);
                assert_eq!(token.is_some(), expected.is_some());
                if let (Some(token), Some(expected)) = (token, expected) {
                    assert!(Rc::ptr_eq(&token, expected));
                    found += 1;
                }
            }
        }
    }
    assert!(found > 5_000 && forgotten > 1_000, "{found} {forgotten}");
}

#[test]
fn a_look_up_finds_the_same_token_and_says_what_it_will_read() {
    let mut cache = cache(4);
    let tokens = Tokens::new();
    let text = tokens.signer.token("k", payload("1"));
    let told = std::cell::RefCell::new(Vec::new());
    let ahead = |start: *const u8, length: usize| told.borrow_mut().push((start, length));

    let (digest, found) = cache.look_up(&SOURCE, text.as_bytes(), ahead).unwrap();
    assert!(found.is_none());
    let token = tokens.of(payload("1"));
    cache.put(digest, Rc::clone(&token), NOW);

    told.borrow_mut().clear();
    let (again, found) = cache.look_up(&SOURCE, text.as_bytes(), ahead).unwrap();
    assert_eq!(again, digest);
    assert!(Rc::ptr_eq(&found.unwrap(), &token));
    // The two counts of an `Rc` lie before its value.
    let counts = 2 * size_of::<usize>();
    let value: *const u8 = Rc::as_ptr(&token).cast();
    let all = (
        value.wrapping_sub(counts),
        counts + size_of::<VerifiedToken>(),
    );
    assert_eq!(*told.borrow(), [all]);
    assert!(cache
        .look_up(&SOURCE, &[b'a'; 16 * 1024 + 1], ahead)
        .is_none());

    told.borrow_mut().clear();
    cache.prefetch(text.as_bytes(), ahead);
    cache.prefetch(format!("Bearer {text}").as_bytes(), ahead);
    cache.prefetch(b"short", ahead);
    let [entry, the_same, other] = told.take()[..] else {
        panic!("each has one place to begin");
    };
    assert_eq!(entry, the_same);
    assert_eq!([entry.1, other.1], [64; 2], "one line each");
    assert_eq!(entry.0.addr() % 64, 0);

    // The entries that it stands between will change too.
    for text in [&b"used before"[..], b"used after"] {
        let (digest, _) = look_up(&mut cache, text);
        cache.put(digest, tokens.of(payload("2")), NOW);
    }
    look_up(&mut cache, text.as_bytes());
    look_up(&mut cache, b"used after");
    told.borrow_mut().clear();
    cache.look_up(&SOURCE, text.as_bytes(), ahead).unwrap();
    let [first, one, other] = told.take()[..] else {
        panic!("one token and two entries");
    };
    assert_eq!(first, all);
    assert!(one != other && one != entry && other != entry);
    assert_eq!([one.1, other.1], [64; 2]);

    // As long as there is room, a new token takes nobody else's.
    told.borrow_mut().clear();
    cache.look_up(&SOURCE, b"new", ahead).unwrap();
    assert_eq!(told.take(), []);
}

#[test]
fn a_look_up_in_vain_says_what_has_to_go() {
    let mut cache = cache(2);
    let tokens = Tokens::new();
    let first = tokens.of(payload("1"));
    let told = std::cell::RefCell::new(Vec::new());
    let ahead = |start: *const u8, _: usize| told.borrow_mut().push(start);
    for (text, token) in [
        ("the first token", &first),
        ("another", &tokens.of(payload("2"))),
    ] {
        let (digest, _) = look_up(&mut cache, text.as_bytes());
        cache.put(digest, Rc::clone(token), NOW);
    }
    cache.look_up(&SOURCE, b"not here", ahead).unwrap();
    let start = Rc::as_ptr(&first).cast::<u8>();
    // Its token, its only neighbour, and the first entry of its bucket.
    let [token, _, _] = told.take()[..] else {
        panic!("three places");
    };
    assert_eq!(token, start.wrapping_sub(2 * size_of::<usize>()));
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
    let large = |size: usize| {
        let more = format!(" {}", "x".repeat(size));
        tokens.of(payload("large").replace("full-userinfo", &more))
    };
    let mut cache = cache(4);
    let limit = 4 * TOKEN_SIZE;
    tokens.fill(&mut cache, 0..4);
    let (too_large, _) = look_up(&mut cache, b"too large");
    cache.put(too_large, large(limit), NOW);
    assert!(look_up(&mut cache, b"too large").1.is_none());
    assert_eq!(present(&mut cache, 0..4).len(), 4, "it pushes nothing out");

    let (digest, _) = look_up(&mut cache, b"large");
    let token = large(limit / 3);
    let left = limit - token.size();
    cache.put(digest, token, NOW);
    assert!(look_up(&mut cache, b"large").1.is_some());
    let beside: usize = present(&mut cache, 0..4)
        .into_iter()
        .map(|number| tokens.of(payload(&number.to_string())).size())
        .sum();
    assert!(beside <= left, "{beside} bytes beside it, {left} are left");

    // Memory that is given back can be used again.
    for round in 0..100 {
        tokens.fill(&mut cache, round * 4..round * 4 + 4);
    }
    assert!(look_up(&mut cache, b"large").1.is_none());
    assert_eq!(present(&mut cache, 99 * 4..100 * 4).len(), 4);
}

#[test]
fn an_expired_token_is_not_kept() {
    let mut cache = cache(4);
    let token = Tokens::new().of(payload("1"));
    let exp = token.exp();
    for (number, now) in [(0, exp - 1.0), (1, exp), (2, exp + 1.0), (3, f64::NAN)] {
        let digest = digest(&mut cache, number);
        cache.put(digest, Rc::clone(&token), now);
    }
    assert_eq!(present(&mut cache, 0..4), [0]);
}

#[test]
fn a_key_that_left_empties_its_tokens() {
    let mut cache = cache(16);
    let (gone, stays) = (Tokens::new(), Tokens::new());
    gone.fill(&mut cache, 0..5);
    stays.fill(&mut cache, 5..10);
    let left = look_up(&mut cache, &0usize.to_be_bytes()).1.unwrap();
    cache.forget_key(left.signed_by().key_id());
    assert_eq!(present(&mut cache, 0..10), [5, 6, 7, 8, 9]);
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
