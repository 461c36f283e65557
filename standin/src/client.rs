//! A thin client of the control API, for shells and tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::value::{to_raw_value, RawValue};
use tokio::net::TcpStream;

/// What to mint, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenOptions {
    /// The control API's URL, as `serve` prints it
    #[arg(long, value_name = "URL")]
    pub control: String,
    /// Another project than the default one
    #[arg(long, value_name = "HOST")]
    pub project: Option<String>,
    /// user, m2m, id or opaque
    #[arg(long)]
    pub kind: Option<String>,
    /// The user's id; made when there is none
    #[arg(long)]
    pub user: Option<String>,
    /// The rest of the request, as POST /-/token takes it
    #[arg(long, value_name = "OBJECT", default_value = "{}")]
    pub json: String,
}

/// Why a request to the control API failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not `http://host:port`.
    #[error("not the URL of a control API: {0:?}")]
    Url(String),
    /// The request is no JSON object.
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// Nobody is there.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The exchange broke off.
    #[error("request failed: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("bad request: {0}")]
    Request(#[from] hyper::http::Error),
    /// The stand-in refused.
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
}

/// Mints a token.
///
/// # Errors
///
/// [`Error`], with the stand-in's own words when it refuses.
pub async fn token(options: &TokenOptions) -> Result<String, Error> {
    let mut body: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&options.json)?;
    for (name, value) in [("kind", &options.kind), ("user", &options.user)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), to_raw_value(value)?);
        }
    }
    let path = match &options.project {
        Some(project) => format!("/-/token?project={project}"),
        None => "/-/token".to_owned(),
    };
    request(
        &options.control,
        Method::POST,
        &path,
        serde_json::to_string(&body)?,
    )
    .await
}

/// Sends one request over plain HTTP and returns the body of a good answer.
///
/// # Errors
///
/// [`Error`], any status but 2xx included.
pub async fn request(
    base: &str,
    method: Method,
    path: &str,
    body: String,
) -> Result<String, Error> {
    let request = Request::builder().method(method).uri(path).body(body)?;
    let response = exchange(base, request).await?;
    let status = response.status();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(Error::Refused(status, text.trim_end().to_owned()))
    }
}

/// Sends one request over plain HTTP, on a connection of its own, and returns the answer. The
/// `Host` is the base's unless the request has one.
///
/// # Errors
///
/// [`Error`] when there is no answer.
pub async fn exchange(base: &str, request: Request<String>) -> Result<Response<Bytes>, Error> {
    let host = base.strip_prefix("http://");
    let host = host.ok_or_else(|| Error::Url(base.to_owned()))?;
    let host = host.trim_end_matches('/');
    let mut request = request.map(|body| Full::new(Bytes::from(body)));
    if !request.headers().contains_key(HOST) {
        let value = host.parse().map_err(|_| Error::Url(base.to_owned()))?;
        request.headers_mut().insert(HOST, value);
    }
    let stream = TokioIo::new(TcpStream::connect(host).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}
