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
    assert_eq!(server.resolve(&[]).await, "-");
    // An IdP session is no app session.
    assert_eq!(server.resolve(&[cookie("app_session", &idp)]).await, "-");
}

#[tokio::test]
async fn only_a_bad_session_cookie_is_said_to_be_bad() {
    let server = Server::start("").await;
    let silent = [
        bearer("x"),
        bearer("eyJ.x.y"),
        cookie("app_session", "x"),
        cookie("app_access_token", "x"),
        cookie("app_access_token", "eyJ.x.y"),
    ];
    for header in silent {
        assert_eq!(server.resolve(std::slice::from_ref(&header)).await, "-");
        let both = [header, "Cookie: session=x".to_owned()];
        assert_eq!(server.resolve(&both).await, "false");
    }
}

#[tokio::test]
async fn cookies_are_read_as_go_reads_them() {
    let server = Server::start("").await;
    let idp = server.control("POST /-/session", r#"{"user":"u"}"#).await;
    for (cookies, verdict) in [
        ("session=GOOD", "u"),
        ("session=\"GOOD\"", "u"),
        (" \t session\t =GOOD ; a=b", "u"),
        ("session=GOOD; session=x", "u"),
        ("session=x; session=GOOD", "false"),
        // The blank is a part of the value.
        ("session = GOOD", "false"),
        ("session=", "false"),
        ("session", "false"),
        ("session=\"\"", "false"),
        // Passed over, since no value may hold these.
        ("session=a\\b; session=GOOD", "u"),
        ("session=a\"b", "-"),
        ("Session=GOOD", "-"),
        ("sessions=GOOD", "-"),
    ] {
        let header = format!("Cookie: {}", cookies.replace("GOOD", &idp));
        assert_eq!(server.resolve(&[header]).await, verdict, "{cookies}");
    }
}

#[tokio::test]
async fn bearer_is_one_word_and_one_space() {
    let server = Server::start("").await;
    let jwt = server.token(r#"{"user":"jwt"}"#).await;
    let cases = [
        ("bEARER ", "jwt"),
        ("Bearer  ", "-"),
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
    let server = Server::start("--amr").await;
    let body = json!({
        "user": { "id": "u", "anonymous": true, "verified": false, "roles": ["a", "b"] },
        "amr": ["pwd", "mfa"],
        "auth_time": 123,
    });
    let token = server.token(&body.to_string()).await;
    let answer = server.ask("/resolve", &[bearer(&token)]).await;
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
    let answer = server.ask("/resolve", &[bearer(&token)]).await;
    assert_eq!(answer.headers()["x-authgear-session-amr"], "");
    assert!(!answer.headers().contains_key("x-authgear-user-roles"));
    assert!(!answer
        .headers()
        .contains_key("x-authgear-session-authenticated-at"));
}

#[tokio::test]
async fn amr_is_empty_unless_a_server_that_says_it_is_wanted() {
    let server = Server::start("").await;
    let token = server.token(r#"{"amr":["pwd","mfa"]}"#).await;
    let amr = async || {
        let answer = server.ask("/resolve", &[bearer(&token)]).await;
        answer.headers()["x-authgear-session-amr"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(amr().await, "");
    server.control("PUT /-/resolver", r#"{"amr":true}"#).await;
    assert_eq!(amr().await, "pwd mfa");
    server.control("DELETE /-/resolver", "").await;
    assert_eq!(amr().await, "");
}

#[tokio::test]
async fn what_is_no_access_token_of_the_project_is_no_session() {
    let server = Server::start("").await;
    let bodies = [
        r#"{"kind":"m2m"}"#,
        r#"{"kind":"id"}"#,
        r#"{"expires_in":-1}"#,
        r#"{"kind":"opaque","expires_in":-1}"#,
        r#"{"key":"stranger"}"#,
        r#"{"claims":{"aud":["https://other.example"]}}"#,
        r#"{"remove":["jti"]}"#,
        r#"{"header_remove":["kid"]}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"remove":["exp"]}"#,
        r#"{"raw_payload":"no JSON"}"#,
    ];
    for body in bodies {
        let token = server.token(body).await;
        assert_eq!(server.resolve(&[bearer(&token)]).await, "-", "{body}");
    }
    // The grant counts, and not what the token says that it is.
    for body in [
        r#"{"user":"u","header":{"typ":"JWT"}}"#,
        r#"{"user":"u","header_remove":["typ"]}"#,
        r#"{"user":"u","claims":{"iss":"https://other.example"}}"#,
    ] {
        let token = server.token(body).await;
        assert_eq!(server.resolve(&[bearer(&token)]).await, "u", "{body}");
    }
    let origin = &server.at.origin;
    let id = format!(r#"{{"kind":"id","user":"u","audience":["{origin}"]}}"#);
    let id = server.token(&id).await;
    assert_eq!(server.resolve(&[bearer(&id)]).await, "-");
}

#[tokio::test]
async fn a_token_that_was_signed_elsewhere_names_no_grant() {
    // Of one state folder they have one key.
    let folder = tempfile::tempdir().unwrap();
    let options = format!(
        "--origin https://my.example --state-dir {}",
        folder.path().display()
    );
    let elsewhere = Server::start(&options).await;
    let token = elsewhere.token(r#"{"user":"u"}"#).await;
    let server = Server::start(&options).await;
    server.control("POST /-/users", r#"{"id":"u"}"#).await;
    let headers = [bearer(&token)];
    assert_eq!(elsewhere.resolve(&headers).await, "u");
    assert_eq!(server.resolve(&headers).await, "-");
    server
        .control("PUT /-/resolver", r#"{"foreign_tokens":true}"#)
        .await;
    assert_eq!(server.resolve(&headers).await, "u");
    server.control("POST /-/token/revoke", &token).await;
    assert_eq!(server.resolve(&headers).await, "-");
}

#[tokio::test]
async fn what_ends_a_users_sessions_ends_them_for_good() {
    for (end, again) in [
        ("disable", "POST /-/users/USER/enable"),
        ("delete", "POST /-/users"),
    ] {
        let server = Server::start("").await;
        let Credentials {
            jwt,
            app,
            app_token,
            idp,
        } = credentials(&server).await;
        for (user, header, dead) in [
            ("jwt", bearer(&jwt), "-"),
            ("app", cookie("app_session", &app), "-"),
            ("opaque", cookie("app_access_token", &app_token), "-"),
            ("idp", cookie("session", &idp), "false"),
        ] {
            let headers = [header];
            assert_eq!(server.resolve(&headers).await, user);
            server
                .control(&format!("POST /-/users/{user}/{end}"), "")
                .await;
            assert_eq!(server.resolve(&headers).await, dead, "{user}");
            let id = format!(r#"{{"id":"{user}"}}"#);
            let body = if end == "delete" { &*id } else { "" };
            server.control(&again.replace("USER", user), body).await;
            assert_eq!(server.resolve(&headers).await, dead, "{user}");
            let anew = server.token(&format!(r#"{{"user":"{user}"}}"#)).await;
            assert_eq!(server.resolve(&[bearer(&anew)]).await, user);
        }
    }
}

/// As at the end of a period in which the account is valid, which no event announces.
#[tokio::test]
async fn a_session_that_still_exists_while_its_user_is_disabled_is_said_to_be_bad() {
    let server = Server::start("").await;
    let Credentials {
        jwt,
        app,
        app_token,
        idp,
    } = credentials(&server).await;
    let other = server
        .control("POST /-/session", r#"{"user":"other"}"#)
        .await;
    for (user, header) in [
        ("jwt", bearer(&jwt)),
        ("app", cookie("app_session", &app)),
        ("opaque", cookie("app_access_token", &app_token)),
        ("idp", cookie("session", &idp)),
    ] {
        let disable = format!("POST /-/users/{user}/disable");
        server.control(&disable, r#"{"keep_sessions":true}"#).await;
        let headers = [header];
        assert_eq!(server.resolve(&headers).await, "false");
        // It decides: what is behind it is not looked at.
        if user == "jwt" {
            let both = [headers[0].clone(), cookie("session", &other)];
            assert_eq!(server.resolve(&both).await, "false");
        }
        server
            .control(&format!("POST /-/users/{user}/enable"), "")
            .await;
        assert_eq!(server.resolve(&headers).await, user);
    }
}

#[tokio::test]
async fn what_is_revoked_is_no_session_any_more() {
    let server = Server::start("").await;
    let Credentials {
        jwt,
        app,
        app_token,
        idp,
    } = credentials(&server).await;
    for token in [&jwt, &app_token] {
        server.control("POST /-/token/revoke", token).await;
        assert_eq!(server.resolve(&[bearer(token)]).await, "-");
    }
    for (name, value, dead) in [("session", &idp, "false"), ("app_session", &app, "-")] {
        server
            .control(&format!("POST /-/session/{value}/revoke"), "")
            .await;
        assert_eq!(server.resolve(&[cookie(name, value)]).await, dead);
    }
}

#[tokio::test]
async fn a_dead_session_cookie_is_cleared() {
    let server = Server::start("--cookie-prefix my_").await;
    let dead = server
        .ask("/resolve", &[cookie("my_session", "dead")])
        .await;
    let expected =
        "my_session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";
    assert_eq!(dead.headers()["set-cookie"], expected);
    let app = server
        .ask("/resolve", &[cookie("my_app_session", "dead")])
        .await;
    assert!(!app.headers().contains_key("set-cookie"));
    assert_eq!(server.resolve(&[cookie("session", "dead")]).await, "-");
}

#[tokio::test]
async fn the_resolver_has_a_port_of_its_own() {
    let server = Server::start("--origin https://my.example").await;
    let paths = ["/_resolver/resolve", "/resolve"];
    let host = [
        "Host: my.example".to_owned(),
        "X-Forwarded-Proto: https".to_owned(),
    ];
    for path in paths {
        assert_eq!(server.get(path, &host).await.unwrap().status(), 404);
        // It does not redirect, with either scheme.
        for headers in [&host[..], &host[..1]] {
            assert_eq!(server.ask(path, headers).await.status(), 200);
        }
        let http = [host[0].clone(), "X-Forwarded-Proto: http".to_owned()];
        assert_eq!(server.ask(path, &http).await.status(), 200);
        // The project is told by Host, and the resolver's own address is none.
        let own = server.at.resolver.replace("http://", "Host: ");
        assert_eq!(server.ask(path, &[own]).await.status(), 404);
    }
    for path in ["/oauth2/jwks", "/.well-known/openid-configuration"] {
        assert_eq!(server.ask(path, &host).await.status(), 404);
    }
}
