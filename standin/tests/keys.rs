//! Discovery, the key set, and tokens as a library of others reads them.

mod common;

use std::collections::HashSet;

use authgear_standin::client::{tokens, TokenOptions};
use common::Server;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{decode, decode_header, Algorithm, DecodingKey, Validation};
use serde_json::{json, Value};

async fn jwks(server: &Server) -> Value {
    let answer = server.get("/oauth2/jwks", &[]).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(!answer.headers().contains_key("cache-control"));
    serde_json::from_slice(answer.body()).unwrap()
}

#[tokio::test]
async fn discovery_names_issuer_and_key_set() {
    let server = Server::start("").await;
    let answer = server
        .get("/.well-known/openid-configuration", &[])
        .await
        .unwrap();
    let document: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(document["issuer"], server.at.http);
    assert_eq!(
        document["jwks_uri"],
        format!("{}/oauth2/jwks", server.at.http)
    );
    let counts = server.json("GET /-/counts", "").await;
    assert_eq!(
        (&counts["discovery"], &counts["jwks"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn the_client_mints_as_many_tokens_as_it_is_told() {
    let server = Server::start("").await;
    let options = TokenOptions {
        control: server.at.control.clone(),
        project: None,
        kind: None,
        user: Some("alice".to_owned()),
        json: r#"{"expires_in": 60}"#.to_owned(),
        count: 3,
    };
    let mut minted = HashSet::new();
    tokens(&options, |token| {
        minted.insert(token);
    })
    .await
    .unwrap();
    assert_eq!(minted.len(), 3, "all differ");
    for token in &minted {
        let bearer = format!("Authorization: Bearer {token}");
        let answer = server.ask("/_resolver/resolve", &[bearer]).await;
        assert_eq!(answer.headers()["x-authgear-user-id"], "alice");
    }
}

#[tokio::test]
async fn another_library_verifies_the_tokens() {
    let server = Server::start("").await;
    server
        .control("POST /-/keys/add", r#"{"kty":"EC","crv":"P-256"}"#)
        .await;
    server
        .control("POST /-/keys/add", r#"{"kty":"OKP","crv":"Ed25519"}"#)
        .await;
    let set: JwkSet = serde_json::from_value(jwks(&server).await).unwrap();
    for (alg, algorithm) in [
        ("RS256", Algorithm::RS256),
        ("PS384", Algorithm::PS384),
        ("ES256", Algorithm::ES256),
        ("EdDSA", Algorithm::EdDSA),
    ] {
        let body = json!({ "alg": alg, "user": { "id": "u", "roles": ["r"] } }).to_string();
        let token = server.token(&body).await;
        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let jwk = set.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[&server.at.origin]);
        validation.set_issuer(&[&server.at.origin]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "u");
        assert_eq!(
            claims["https://authgear.com/claims/user/roles"],
            json!(["r"])
        );
        assert_eq!(claims["jti"].as_str().unwrap().len(), 64);
    }
}

#[tokio::test]
async fn a_machines_token_has_no_user() {
    let server = Server::start("").await;
    let body = r#"{"kind":"m2m","client_id":"c","audience":["https://api.example"]}"#;
    let claims = payload(&server.token(body).await);
    assert_eq!(claims["sub"], "client_id_c");
    assert_eq!(claims["aud"], json!(["https://api.example"]));
    let names = claims.as_object().unwrap().keys();
    let expected = [
        "aud",
        "client_id",
        "exp",
        "iat",
        "iss",
        "jti",
        "scope",
        "sub",
    ];
    assert!(names.eq(expected.iter()));
}

#[tokio::test]
async fn claims_are_written_digit_for_digit() {
    let server = Server::start("").await;
    let body = r#"{"claims":{"n":1.50e+00,"s":"\u00e9"},"remove":["amr"],"auth_time":null}"#;
    let token = server.token(body).await;
    let text = String::from_utf8(part(&token, 1)).unwrap();
    assert!(text.contains(r#""n":1.50e+00,"s":"\u00e9""#), "{text}");
    assert!(
        !text.contains("amr") && !text.contains("auth_time"),
        "{text}"
    );
}

#[tokio::test]
async fn keys_rotate_and_go() {
    let server = Server::start("").await;
    let kids = async || server.json("GET /-/keys", "").await["kids"].clone();
    let first = kids().await[0].as_str().unwrap().to_owned();
    let second = server.control("POST /-/keys/rotate", "").await;
    assert_eq!(kids().await, json!([second, first]));
    assert_eq!(jwks(&server).await["keys"][0]["kid"], second.as_str());
    assert_eq!(kid(&server.token("").await), second);
    assert_eq!(kid(&server.token(r#"{"key":"previous"}"#).await), first);
    assert_eq!(kid(&server.token(r#"{"key":"stranger"}"#).await), second);

    server
        .control("POST /-/keys/drop", &json!({ "kid": first }).to_string())
        .await;
    assert_eq!(kids().await, json!([second]));
    let third = server
        .control("POST /-/keys/rotate", r#"{"keep_old":false}"#)
        .await;
    assert_eq!(kids().await, json!([third]));

    server.control("PUT /-/keys/raw", "not even JSON").await;
    let raw = server.get("/oauth2/jwks", &[]).await.unwrap();
    assert_eq!(raw.body(), "not even JSON");
    server.control("DELETE /-/keys/raw", "").await;
    assert_eq!(jwks(&server).await["keys"][0]["kid"], third.as_str());
    let pem = server.control("GET /-/keys/pem", "").await;
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[tokio::test]
async fn a_second_start_has_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let options = format!("--state-dir {}", folder.path().display());
    let first = Server::start(&options).await.json("GET /-/keys", "").await;
    assert_eq!(
        Server::start(&options).await.json("GET /-/keys", "").await,
        first
    );
}

fn part(token: &str, at: usize) -> Vec<u8> {
    use base64::Engine as _;
    let part = token.split('.').nth(at).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap()
}

fn payload(token: &str) -> Value {
    serde_json::from_slice(&part(token, 1)).unwrap()
}

fn kid(token: &str) -> String {
    decode_header(token).unwrap().kid.unwrap()
}
