//! The resolver's verdicts.

mod common;

use common::{bearer, cookie, Server};
use serde_json::json;

/// One credential of each kind, for a user each.
struct Credentials {
    jwt: String,
    app: String,
    app_token: String,
    idp: String,
}

async fn credentials(server: &Server) -> Credentials {
    let session = |user: &'static str, kind: &'static str| {
        let body = json!({ "user": user, "kind": kind }).to_string();
        async move { server.control("POST /-/session", &body).await }
    };
    Credentials {
        jwt: server.token(r#"{"user":"jwt"}"#).await,
        app: session("app", "app").await,
        app_token: server.token(r#"{"user":"opaque","kind":"opaque"}"#).await,
        idp: session("idp", "idp").await,
    }
}

#[tokio::test]
async fn the_header_goes_first_and_the_invalid_falls_through() {
    let server = Server::start("").await;
    let Credentials {
        jwt,
        app,
        app_token,
        idp,
    } = credentials(&server).await;
    let cookies = |app: &str, token: &str, idp: &str| {
        format!("Cookie: session={idp}; app_access_token={token}; app_session={app}")
    };
    assert!(!app_token.starts_with("eyJ"));

    let all = cookies(&app, &app_token, &idp);
    assert_eq!(server.resolve(&[bearer(&jwt), all.clone()]).await, "jwt");
    assert_eq!(
        server.resolve(&[bearer("eyJ.x.y"), all.clone()]).await,
        "app"
    );
    assert_eq!(
        server.resolve(&[cookies("x", &app_token, &idp)]).await,
        "opaque"
    );
    assert_eq!(server.resolve(&[cookies("x", "x", &idp)]).await, "idp");
    assert_eq!(server.resolve(&[cookies("x", "x", "x")]).await, "false");
    assert_eq!(
        server.resolve(&[cookie("app_access_token", &jwt)]).await,
        "jwt"
    );
    assert_eq!(server.resolve(&[bearer("x")]).await, "false");
    assert_eq!(server.resolve(&[]).await, "-");
    // An IdP session is no app session.
    assert_eq!(
        server.resolve(&[cookie("app_session", &idp)]).await,
        "false"
    );
}

#[tokio::test]
async fn bearer_is_one_word_and_one_space() {
    let server = Server::start("").await;
    let jwt = server.token(r#"{"user":"jwt"}"#).await;
    let cases = [
        ("bEARER ", "jwt"),
        ("Bearer  ", "false"),
        ("Basic ", "-"),
        ("Bearer", "-"),
    ];
    for (scheme, verdict) in cases {
        let header = format!("Authorization: {scheme}{jwt}");
        assert_eq!(server.resolve(&[header]).await, verdict, "{scheme:?}");
    }
}

#[tokio::test]
async fn all_headers_are_there() {
    let server = Server::start("").await;
    let body = json!({
        "user": { "id": "u", "anonymous": true, "verified": false, "roles": ["a", "b"] },
        "amr": ["pwd", "mfa"],
        "auth_time": 123,
    });
    let token = server.token(&body.to_string()).await;
    let answer = server.get("/resolve", &[bearer(&token)]).await.unwrap();
    let expected = [
        ("session-valid", "true"),
        ("user-id", "u"),
        ("user-anonymous", "true"),
        ("user-verified", "false"),
        ("user-can-reauthenticate", "true"),
        ("user-roles", "a,b"),
        ("session-amr", "pwd mfa"),
        ("session-authenticated-at", "123"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.headers()[format!("x-authgear-{name}")], value);
    }

    let body = r#"{"user":"v","amr":[],"auth_time":null}"#;
    let token = server.token(body).await;
    let answer = server.get("/resolve", &[bearer(&token)]).await.unwrap();
    assert_eq!(answer.headers()["x-authgear-session-amr"], "");
    assert!(!answer.headers().contains_key("x-authgear-user-roles"));
    assert!(!answer
        .headers()
        .contains_key("x-authgear-session-authenticated-at"));
}

#[tokio::test]
async fn what_is_no_access_token_of_the_project_is_invalid() {
    let server = Server::start("").await;
    let bodies = [
        r#"{"kind":"m2m"}"#,
        r#"{"kind":"id"}"#,
        r#"{"expires_in":-1}"#,
        r#"{"kind":"opaque","expires_in":-1}"#,
        r#"{"key":"stranger"}"#,
        r#"{"claims":{"iss":"https://other.example"}}"#,
        r#"{"claims":{"aud":["https://other.example"]}}"#,
        r#"{"header":{"typ":"JWT"}}"#,
        r#"{"header_remove":["kid"]}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"remove":["exp"]}"#,
        r#"{"raw_payload":"no JSON"}"#,
    ];
    for body in bodies {
        let token = server.token(body).await;
        assert_eq!(server.resolve(&[bearer(&token)]).await, "false", "{body}");
    }
}

#[tokio::test]
async fn a_dead_users_credentials_are_invalid() {
    let server = Server::start("").await;
    let Credentials {
        jwt,
        app,
        app_token,
        idp,
    } = credentials(&server).await;
    for (user, header) in [
        ("jwt", bearer(&jwt)),
        ("app", cookie("app_session", &app)),
        ("opaque", cookie("app_access_token", &app_token)),
        ("idp", cookie("session", &idp)),
    ] {
        let headers = [header];
        assert_eq!(server.resolve(&headers).await, user);
        server
            .control(&format!("POST /-/users/{user}/disable"), "")
            .await;
        assert_eq!(server.resolve(&headers).await, "false");
        server
            .control(&format!("POST /-/users/{user}/enable"), "")
            .await;
        assert_eq!(server.resolve(&headers).await, user);
        server
            .control(&format!("POST /-/users/{user}/delete"), "")
            .await;
        assert_eq!(server.resolve(&headers).await, "false");
    }
}

#[tokio::test]
async fn what_is_revoked_is_invalid() {
    let server = Server::start("").await;
    let Credentials {
        jwt,
        app,
        app_token,
        idp,
    } = credentials(&server).await;
    for token in [&jwt, &app_token] {
        server.control("POST /-/token/revoke", token).await;
        assert_eq!(server.resolve(&[bearer(token)]).await, "false");
    }
    for (name, value) in [("session", &idp), ("app_session", &app)] {
        server
            .control(&format!("POST /-/session/{value}/revoke"), "")
            .await;
        assert_eq!(server.resolve(&[cookie(name, value)]).await, "false");
    }
}

#[tokio::test]
async fn a_dead_session_cookie_is_cleared() {
    let server = Server::start("--cookie-prefix my_").await;
    let dead = server
        .get("/resolve", &[cookie("my_session", "dead")])
        .await
        .unwrap();
    let expected =
        "my_session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";
    assert_eq!(dead.headers()["set-cookie"], expected);
    let app = server
        .get("/resolve", &[cookie("my_app_session", "dead")])
        .await
        .unwrap();
    assert_eq!(app.headers()["x-authgear-session-valid"], "false");
    assert!(!app.headers().contains_key("set-cookie"));
    assert_eq!(server.resolve(&[cookie("session", "dead")]).await, "-");
}

#[tokio::test]
async fn todays_server_is_silent_about_invalid_tokens() {
    let server = Server::start("--silent-invalid-tokens").await;
    assert_eq!(server.resolve(&[bearer("x")]).await, "-");
    assert_eq!(
        server.resolve(&[bearer("x"), cookie("session", "x")]).await,
        "false"
    );
}
