//! A thin client of the control API, for shells and tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{HeaderValue, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::value::{to_raw_value, RawValue};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The token to mint, and the stand-in that mints it.
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
    /// Number of tokens, each with a `jti` of its own
    #[arg(long, default_value_t = 1)]
    pub count: usize,
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

/// Mints tokens, all over one connection, and hands over each as it comes.
///
/// # Errors
///
/// [`Error`], with the stand-in's own words when it refuses.
pub async fn tokens(options: &TokenOptions, mut each: impl FnMut(String)) -> Result<(), Error> {
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
    let body = serde_json::to_string(&body)?;
    let mut connection = Connection::open(&options.control).await?;
    for _ in 0..options.count {
        let request = Request::post(&path).body(body.clone())?;
        each(good(connection.send(request).await?)?);
    }
    Ok(())
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
    good(exchange(base, request).await?)
}

/// The body of a good answer.
fn good(response: Response<Bytes>) -> Result<String, Error> {
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
    Connection::open(base).await?.send(request).await
}

/// A connection that is closed when it is dropped.
struct Connection {
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Connection {
    async fn open(base: &str) -> Result<Self, Error> {
        let url = || Error::Url(base.to_owned());
        let host = base.strip_prefix("http://").ok_or_else(url)?;
        let host = host.trim_end_matches('/');
        let stream = TokioIo::new(TcpStream::connect(host).await?);
        let (sender, driver) = http1::handshake(stream).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self {
            host: host.parse().map_err(|_| url())?,
            sender,
            _driver: tasks,
        })
    }

    async fn send(&mut self, request: Request<String>) -> Result<Response<Bytes>, Error> {
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        let headers = request.headers_mut();
        headers.entry(HOST).or_insert_with(|| self.host.clone());
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}
