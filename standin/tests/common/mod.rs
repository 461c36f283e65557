//! A stand-in in this process, and the requests a test makes of it.

#![allow(dead_code)]

use authgear_standin::client::{exchange, request};
use authgear_standin::serve::{start, Announcement, Options, Running};
use bytes::Bytes;
use clap::Parser;
use hyper::{Method, Request, Response};
use serde_json::Value;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub struct Server {
    pub at: Announcement,
    _running: Running,
}

impl Server {
    /// Starts one with these command-line options, which hold no blanks.
    pub async fn start(options: &str) -> Self {
        let words = ["serve"].into_iter().chain(options.split_whitespace());
        let running = start(Arguments::parse_from(words).options).await.unwrap();
        let at = running.announcement.clone();
        Self {
            at,
            _running: running,
        }
    }

    /// Asks the control API; `METHOD PATH`, then the body.
    pub async fn control(&self, what: &str, body: &str) -> String {
        let (method, path) = what.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let answer = request(&self.at.control, method, path, body.to_owned()).await;
        answer.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    pub async fn json(&self, what: &str, body: &str) -> Value {
        serde_json::from_str(&self.control(what, body).await).unwrap()
    }

    pub async fn token(&self, body: &str) -> String {
        self.control("POST /-/token", body).await
    }

    /// Asks a public endpoint over plain HTTP; headers are `Name: value` lines.
    pub async fn get(&self, path: &str, headers: &[String]) -> Option<Response<Bytes>> {
        get(&self.at.http, path, headers).await
    }

    /// Asks the resolver's port, for the default project unless a header says another `Host`.
    pub async fn ask(&self, path: &str, headers: &[String]) -> Response<Bytes> {
        let mut headers = headers.to_vec();
        if !headers.iter().any(|header| header.starts_with("Host: ")) {
            let host = self.at.origin.split("//").nth(1).unwrap();
            headers.push(format!("Host: {host}"));
        }
        get(&self.at.resolver, path, &headers).await.unwrap()
    }

    /// Asks the resolver and says what it answers: `-` for no verdict, `false`, or the user id.
    pub async fn resolve(&self, headers: &[String]) -> String {
        let answer = self.ask("/_resolver/resolve", headers).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.body().is_empty());
        let header = |name| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
        match header("x-authgear-session-valid").as_deref() {
            Some("true") => header("x-authgear-user-id").unwrap(),
            Some(other) => other.to_owned(),
            None => "-".to_owned(),
        }
    }
}

async fn get(base: &str, path: &str, headers: &[String]) -> Option<Response<Bytes>> {
    let mut request = Request::get(path);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let request = request.body(String::new()).unwrap();
    exchange(base, request).await.ok()
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

pub fn cookie(name: &str, value: &str) -> String {
    format!("Cookie: a=b; {name}={value}")
}
