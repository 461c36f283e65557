//! The cost of one request's steps without nginx, beside aws-lc's verification of the same
//! token with the parsed key kept.
//!
//! `verify` includes the token's SHA-256, reading the claims and rendering the session.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use authgear_core::credential::{bearer, classify, CookieNames, Cookies};
use authgear_core::digest::Digester;
use authgear_core::policy::{judge, Rules};
use authgear_core::session::{Field, Fields};
use authgear_core::token::{verify, UnverifiedToken};
use authgear_core::{Algorithm, AlgorithmSet};
use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents, RSA_PKCS1_2048_8192_SHA256};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine as _;
use criterion::{criterion_group, criterion_main, Criterion};
use support::Signer;

/// A payload as Authgear issues it to a user with two roles.
const PAYLOAD: &str = concat!(
    r#"{"aud":["https://auth.example.com"],"amr":["pwd"],"auth_time":1760000000,"#,
    r#""client_id":"standin-client","exp":2000000000,"#,
    r#""https://authgear.com/claims/user/can_reauthenticate":true,"#,
    r#""https://authgear.com/claims/user/is_anonymous":false,"#,
    r#""https://authgear.com/claims/user/is_verified":true,"#,
    r#""https://authgear.com/claims/user/roles":["admin","editor"],"#,
    r#""iat":1760000000,"iss":"https://auth.example.com","#,
    r#""jti":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","#,
    r#""scope":"openid offline_access","sub":"3b7f4a52-7c07-4a0e-9d5e-0f6f3a1c2b4d"}"#
);
const KID: &str = "0f2c9b1e-53d4-4c57-8a16-7a1c2f0c9d11";
const ORIGIN: &str = "https://auth.example.com";
const NOW: f64 = 1_760_000_001.0;

fn token(c: &mut Criterion) {
    let signer = Signer::new(Algorithm::Rs256);
    let text = signer.token(KID, PAYLOAD);
    let token = text.as_bytes();
    let keys = support::key_set(&[signer.jwk(KID)]);
    let allowed: AlgorithmSet = [Algorithm::Rs256].into_iter().collect();

    let header = [b"Bearer ", token].concat();
    c.bench_function("credential: bearer and classify", |b| {
        b.iter(|| bearer(black_box(&header)).map(classify))
    });
    c.bench_function("token: parse", |b| {
        b.iter(|| UnverifiedToken::parse(black_box(token)).map(drop))
    });
    let unverified = UnverifiedToken::parse(token).unwrap();
    c.bench_function("token: verify", |b| {
        b.iter(|| verify(black_box(unverified.clone()), &keys, allowed))
    });
    c.bench_function("token: parse and verify", |b| {
        b.iter(|| verify(UnverifiedToken::parse(black_box(token))?, &keys, allowed))
    });
    signature_alone(c, &signer, &text);

    let verified = verify(unverified, &keys, allowed).unwrap();
    let rules = Rules::default();
    c.bench_function("policy: judge", |b| {
        b.iter(|| judge(black_box(&verified), &rules, &[ORIGIN], &[ORIGIN], NOW))
    });
    c.bench_function("session: all fields", |b| {
        b.iter(|| Field::ALL.map(|field| black_box(&verified).session().get(field)))
    });
    c.bench_function("claims: one by name", |b| {
        b.iter(|| black_box(&verified).claim_text(token, "https://authgear.com/claims/user/roles"))
    });

    let digester = Digester::new().unwrap();
    c.bench_function("digest: a token", |b| {
        b.iter(|| digester.of_token(&[0; 32], black_box(token)))
    });
}

/// aws-lc's verification alone, with the parsed key kept.
fn signature_alone(c: &mut Criterion, signer: &Signer, token: &str) {
    let jwk = signer.jwk(KID);
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let (n, e) = (part("n"), part("e"));
    let components = RsaPublicKeyComponents { n, e };
    let key: ParsedPublicKey = components
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    c.bench_function("aws-lc: the signature alone", |b| {
        b.iter(|| key.verify_sig(black_box(signed.as_bytes()), &signature))
    });
}

fn resolver(c: &mut Criterion) {
    let cookies = b"theme=dark; session=5a0e0f6f-3a1c.2b4d7c07; lang=en";
    let names = CookieNames::new("").unwrap();
    c.bench_function("credential: cookies", |b| {
        b.iter(|| {
            let mut found = Cookies::default();
            found.read(black_box(cookies), &names);
            found.session()
        })
    });
    let headers = Field::ALL.map(|field| {
        let value = match field {
            Field::UserId => "3b7f4a52-7c07-4a0e-9d5e-0f6f3a1c2b4d",
            Field::UserRoles => "admin,editor",
            Field::SessionAmr => "pwd",
            Field::SessionAuthenticatedAt => "1760000000",
            _ => "true",
        };
        (field.header().as_bytes(), value.as_bytes())
    });
    c.bench_function("session: from the resolver's headers", |b| {
        let mut room = Vec::new();
        b.iter(|| {
            Fields::from_resolver(black_box(headers), &mut room).map(|fields| fields.is_some())
        })
    });
}

criterion_group!(benches, token, resolver);
criterion_main!(benches);
