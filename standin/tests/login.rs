//! Login with cookies.

mod common;

use authgear_standin::client::exchange;
use bytes::Bytes;
use common::{cookie, Server};
use hyper::{Request, Response};

const CLIENT: &str = r#"{"client_id":"site","redirect_uris":["https://www.example.com/cb"],
    "post_logout_redirect_uris":["https://www.example.com/bye"],"cookie_domain":"example.com"}"#;

const KNOWN: &str = "/oauth2/authorize?client_id=site&response_type=none&scope=openid\
    &redirect_uri=https%3A%2F%2Fwww.example.com%2Fcb&state=a%26b";

const BACK: &str = "https://www.example.com/cb?";

async fn server() -> Server {
    let server = Server::start("").await;
    server.control("PUT /-/login", CLIENT).await;
    server
}

/// The status, and the target of a redirect without what the server adds to it, or the page's heading.
fn told(answer: &Response<Bytes>) -> String {
    let status = answer.status().as_u16();
    match answer.headers().get("location") {
        Some(location) => {
            let location = location.to_str().unwrap();
            let location = location.split("&x_traceparent=").next().unwrap();
            format!("{status} {location}")
        }
        None => {
            let page = String::from_utf8_lossy(answer.body()).into_owned();
            let heading = page.split("<h1>").nth(1).unwrap_or_default();
            format!("{status} {}", heading.split("</h1>").next().unwrap())
        }
    }
}

async fn get(server: &Server, path: &str, session: &str) -> String {
    told(
        &server
            .get(path, &[cookie("session", session)])
            .await
            .unwrap(),
    )
}

async fn post(server: &Server, path: &str, session: &str, form: &str) -> Response<Bytes> {
    let request = Request::post(path).header("cookie", format!("session={session}"));
    let request = request.body(form.to_owned()).unwrap();
    exchange(&server.at.http, request).await.unwrap()
}

/// The session that an answer opens.
fn opened(answer: &Response<Bytes>) -> String {
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    let (value, attributes) = set.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Path=/; Domain=example.com; HttpOnly; SameSite=Lax"
    );
    value.strip_prefix("session=").unwrap().to_owned()
}

#[tokio::test]
async fn a_login_opens_a_session_and_goes_back_with_its_state() {
    let server = server().await;
    assert_eq!(get(&server, KNOWN, "").await, "200 Log in");
    let answer = post(&server, KNOWN, "", "user=alice").await;
    assert_eq!(told(&answer), format!("303 {BACK}state=a%26b"));
    let session = opened(&answer);
    assert_eq!(
        server.resolve(&[cookie("session", &session)]).await,
        "alice"
    );

    assert_eq!(get(&server, KNOWN, &session).await, "200 Choose an account");
    let answer = post(&server, KNOWN, &session, "continue=1").await;
    assert_eq!(told(&answer), format!("303 {BACK}state=a%26b"));

    let again = format!("{KNOWN}&prompt=login");
    assert_eq!(get(&server, &again, &session).await, "200 Log in");
    let next = opened(&post(&server, &again, &session, "user=alice").await);
    assert_eq!(
        server.resolve(&[cookie("session", &session)]).await,
        "false"
    );
    assert_eq!(server.resolve(&[cookie("session", &next)]).await, "alice");

    let none = format!("{KNOWN}&prompt=none");
    assert_eq!(
        get(&server, &none, &next).await,
        format!("303 {BACK}state=a%26b")
    );
}

#[tokio::test]
async fn an_error_goes_back_to_a_registered_uri_alone() {
    let server = server().await;
    let unknown = "400 Invalid client or redirect URI";
    for (old, new) in [
        ("site", "other"),
        ("com%2Fcb", "com%2Fcb2"),
        ("&redirect_uri", "&x"),
    ] {
        assert_eq!(
            get(&server, &KNOWN.replacen(old, new, 1), "").await,
            unknown
        );
    }
    for (path, error) in [
        (
            KNOWN.replace("scope=openid", "scope=email"),
            "invalid_scope",
        ),
        (KNOWN.replace("none", "code"), "unsupported_response_type"),
        (format!("{KNOWN}&prompt=none"), "login_required"),
    ] {
        let told = get(&server, &path, "").await;
        assert!(
            told.starts_with(&format!("303 {BACK}error={error}&error_description=")),
            "{told}"
        );
        assert!(told.ends_with("&state=a%26b"), "{told}");
    }
    let told = told(&post(&server, KNOWN, "", "cancel=1").await);
    assert!(
        told.starts_with(&format!("303 {BACK}error=access_denied&")),
        "{told}"
    );
}

#[tokio::test]
async fn the_end_of_a_session_goes_to_a_registered_uri_or_to_the_settings() {
    let server = server().await;
    let session = server
        .control("POST /-/session", r#"{"user":"alice"}"#)
        .await;
    let end = "/oauth2/end_session?post_logout_redirect_uri=https%3A%2F%2Fwww.example.com%2F";
    let other = format!("{end}other");
    assert_eq!(get(&server, &other, "").await, "303 /settings");
    let answer = server
        .get(&format!("{end}bye"), &[cookie("session", &session)])
        .await
        .unwrap();
    assert_eq!(told(&answer), "303 https://www.example.com/bye");
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    assert_eq!(
        set,
        "session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=example.com; HttpOnly; SameSite=Lax"
    );
    assert_eq!(
        server.resolve(&[cookie("session", &session)]).await,
        "false"
    );
}
