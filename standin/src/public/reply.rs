//! Answers, right and wrong.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{self, Bytes, Frame};
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::{Response, StatusCode};
use tokio::time::{interval, sleep, Interval};

use super::{Body, Closed};
use crate::fault::{Endpoint, Fault, Mode};

/// More than any reader of a key set should take.
const OVERSIZE: usize = 300 * 1024;

fn response(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// A 200 with a JSON document.
pub(super) fn json_text(body: Bytes) -> Response<Body> {
    response(StatusCode::OK, Some("application/json"), body)
}

/// A page of HTML, whose text must be escaped.
pub(super) fn html(status: StatusCode, body: &str) -> Response<Body> {
    let page = format!("<!DOCTYPE html><meta charset=utf-8><title>Authgear</title>{body}");
    response(status, Some("text/html; charset=utf-8"), page.into())
}

/// An error page.
pub(super) fn refuse(status: StatusCode) -> Response<Body> {
    let text = status.canonical_reason().unwrap_or_default();
    response(
        status,
        Some("text/plain; charset=utf-8"),
        format!("{text}\n").into(),
    )
}

/// An answer without a body. A value that no header can hold is left out.
pub(super) fn headers<I>(status: StatusCode, headers: I) -> Response<Body>
where
    I: IntoIterator<Item = (&'static str, String)>,
{
    let mut response = response(status, None, Bytes::new());
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Answers as the fault wants it; `right` makes the answer of a server in good health.
pub(super) async fn faulty(
    fault: &Fault,
    endpoint: Endpoint,
    right: impl Fn() -> Response<Body>,
) -> Result<Response<Body>, Closed> {
    let status = |default| StatusCode::from_u16(fault.status.unwrap_or(default));
    let body = Bytes::from(fault.body.clone().unwrap_or_default());
    let document = (endpoint != Endpoint::Resolver).then_some("application/json");
    let mut response = match fault.mode {
        Mode::Ok => right(),
        Mode::Slow => {
            sleep(Duration::from_millis(fault.delay_ms.unwrap_or(1000))).await;
            right()
        }
        Mode::Hang => std::future::pending().await,
        Mode::Close => return Err(Closed),
        Mode::Status => response(status(500).unwrap_or_default(), document, body),
        Mode::Body => response(status(200).unwrap_or_default(), document, body),
        Mode::Garbage => garbage(endpoint),
        Mode::Empty => match endpoint {
            Endpoint::Discovery => json_text(Bytes::from_static(b"{}")),
            Endpoint::Jwks => json_text(Bytes::from_static(br#"{"keys":[]}"#)),
            Endpoint::Resolver => response(StatusCode::OK, None, Bytes::new()),
        },
        Mode::Redirect => {
            let location = fault
                .location
                .as_deref()
                .unwrap_or("https://elsewhere.example/");
            headers(
                status(302).unwrap_or_default(),
                [("location", location.to_owned())],
            )
        }
        Mode::Drip => {
            let mut dripping = right();
            *dripping.body_mut() = Drip(interval(Duration::from_millis(100))).boxed();
            dripping.headers_mut().remove("content-length");
            dripping
        }
        Mode::Oversize => oversize(right()).await,
    };
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<hyper::header::HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A 200 in the endpoint's form without its meaning. The resolver's says yes and not to whom.
fn garbage(endpoint: Endpoint) -> Response<Body> {
    match endpoint {
        Endpoint::Resolver => headers(
            StatusCode::OK,
            [("x-authgear-session-valid", "true".to_owned())],
        ),
        _ => json_text(Bytes::from_static(b"{\"keys\": [\xff\xfe <html>")),
    }
}

/// The right answer with blanks behind it: good JSON, but too much.
async fn oversize(right: Response<Body>) -> Response<Body> {
    let (parts, body) = right.into_parts();
    let mut text = match body.collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(never) => match never {},
    };
    text.resize(text.len() + OVERSIZE, b' ');
    Response::from_parts(parts, Full::new(Bytes::from(text)).boxed())
}

/// A body without end, a blank at a time.
struct Drip(Interval);

impl body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let tick = self.0.poll_tick(context);
        tick.map(|_| Some(Ok(Frame::data(Bytes::from_static(b" ")))))
    }
}
