//! The endpoints that Authgear has in public.

mod api;
mod login;
mod reply;

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{json, Value};

use self::reply::{headers, json_text, refuse};
use crate::fault::Endpoint;
use crate::origin::Origin;
use crate::project::{SeenFetch, SeenResolve};
use crate::resolver;
use crate::standin::{Met, Standin};
use crate::util::random_token;

/// The largest body that is read, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// The body of every answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// A fault's order to close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub struct Closed;

/// A listener, and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The server's main port: all but the resolver, over plain HTTP.
    Main,
    /// The resolver's own port, over plain HTTP.
    Resolver,
    /// An ingress over TLS, which sends `/_resolver/` to the resolver and all else to the main port.
    Ingress,
}

/// Answers one public request that came to this port.
///
/// # Errors
///
/// [`Closed`] when a fault wants the connection closed.
pub async fn answer(
    standin: Arc<Standin>,
    request: Request<Incoming>,
    port: Port,
) -> Result<Response<Body>, Closed> {
    let is_login = port != Port::Resolver && login::is_path(request.uri().path());
    if is_login {
        return Ok(match met(&standin, request.headers(), port) {
            (Some(met), secure) => login::answer(&standin, &met, request, secure).await,
            (None, _) => refuse(StatusCode::NOT_FOUND),
        });
    }
    if request.method() == Method::POST && port != Port::Resolver {
        return Ok(posted(&standin, request, port).await);
    }
    let (request, _) = request.into_parts();
    let Some(endpoint) = endpoint(request.uri.path(), port) else {
        return Ok(refuse(StatusCode::NOT_FOUND));
    };
    let (Some(met), secure) = met(&standin, &request.headers, port) else {
        return Ok(refuse(StatusCode::NOT_FOUND));
    };
    count(&met, endpoint, &request);

    let fault = standin.faults().hit(&met.origin.host, endpoint);
    let right = || right(&standin, &met, endpoint, &request, secure);
    match fault {
        None => Ok(right()),
        Some(fault) => reply::faulty(&fault, endpoint, right).await,
    }
}

/// The project that a request means, and whether it came by TLS.
fn met(standin: &Standin, headers: &HeaderMap, port: Port) -> (Option<Met>, bool) {
    let secure = port == Port::Ingress || text(headers, "x-forwarded-proto") == Some("https");
    let host = text(headers, "host").unwrap_or_default();
    let met = match port {
        // Of the project it knows the origin, and of the request the host alone.
        Port::Resolver => standin.by_name(Some(host)),
        Port::Main | Port::Ingress => standin.by_host(host, secure),
    };
    (met, secure)
}

/// Answers a POST to the main port or the ingress.
async fn posted(standin: &Standin, request: Request<Incoming>, port: Port) -> Response<Body> {
    let (request, body) = request.into_parts();
    let (Some(met), _) = met(standin, &request.headers, port) else {
        return refuse(StatusCode::NOT_FOUND);
    };
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let path = request.uri.path();
    let answer = api::answer(standin, &met, path, &request.headers, &body.to_bytes());
    answer.unwrap_or_else(|| match endpoint(path, port) {
        Some(_) => refuse(StatusCode::METHOD_NOT_ALLOWED),
        None => refuse(StatusCode::NOT_FOUND),
    })
}

fn endpoint(path: &str, port: Port) -> Option<Endpoint> {
    let (main, resolver) = (port != Port::Resolver, port != Port::Main);
    match path {
        "/.well-known/openid-configuration" if main => Some(Endpoint::Discovery),
        "/oauth2/jwks" if main => Some(Endpoint::Jwks),
        "/_resolver/resolve" if resolver => Some(Endpoint::Resolver),
        "/resolve" if port == Port::Resolver => Some(Endpoint::Resolver),
        _ => None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn count(met: &Met, endpoint: Endpoint, request: &Parts) {
    let headers = &request.headers;
    if endpoint == Endpoint::Resolver {
        let lossy = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let values = |name| {
            headers
                .get_all(name)
                .iter()
                .map(|value| lossy(value.as_bytes()))
        };
        let seen = SeenResolve {
            method: request.method.to_string(),
            uri: request.uri.to_string(),
            headers: headers
                .keys()
                .map(|name| (name.to_string(), values(name).collect()))
                .collect(),
        };
        met.lock().counts.resolve(seen);
    } else {
        let seen = SeenFetch {
            host: text(headers, "host").unwrap_or_default().to_owned(),
            x_forwarded_proto: text(headers, "x-forwarded-proto").map(str::to_owned),
        };
        met.lock().counts.fetch(endpoint, seen);
    }
}

/// The answer of a server in good health.
fn right(
    standin: &Standin,
    met: &Met,
    endpoint: Endpoint,
    request: &Parts,
    secure: bool,
) -> Response<Body> {
    // Of the resolver's port the scheme is nobody's affair.
    if endpoint != Endpoint::Resolver && met.origin.secure != secure {
        let location = format!("{}{}", met.origin, request.uri);
        return headers(StatusCode::TEMPORARY_REDIRECT, [("location", location)]);
    }
    if request.method != Method::GET && request.method != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    match endpoint {
        Endpoint::Discovery => with_nonce(json_text(discovery(&met.origin).to_string().into())),
        Endpoint::Jwks => with_nonce(jwks(met)),
        Endpoint::Resolver => {
            let (prefix, behaviour) = (&standin.settings.cookie_prefix, *standin.resolver());
            let domain = met.lock().cookie_domain().map(str::to_owned);
            let outcome = resolver::resolve(met, prefix, behaviour, &request.headers);
            headers(
                StatusCode::OK,
                outcome.headers(prefix, behaviour, secure, domain.as_deref()),
            )
        }
    }
}

/// The server sets this cookie on every answer of its main port.
fn with_nonce(mut response: Response<Body>) -> Response<Body> {
    let cookie = format!(
        "csp_nonce={}; Path=/; HttpOnly; SameSite=Lax",
        random_token()
    );
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn jwks(met: &Met) -> Response<Body> {
    let mut project = met.lock();
    if let Some(raw) = &project.raw_jwks {
        return json_text(raw.clone());
    }
    match project.keys.jwks() {
        // Go's encoder ends the document with a line feed.
        Ok(jwks) => json_text(format!("{jwks}\n").into()),
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn discovery(origin: &Origin) -> Value {
    let scopes = [
        "openid",
        "offline_access",
        "https://authgear.com/scopes/full-access",
    ];
    json!({
        "issuer": origin.to_string(),
        "authorization_endpoint": format!("{origin}/oauth2/authorize"),
        "token_endpoint": format!("{origin}/oauth2/token"),
        "revocation_endpoint": format!("{origin}/oauth2/revoke"),
        "jwks_uri": format!("{origin}/oauth2/jwks"),
        "userinfo_endpoint": format!("{origin}/oauth2/userinfo"),
        "end_session_endpoint": format!("{origin}/oauth2/end_session"),
        "response_types_supported": [
            "code", "urn:authgear:params:oauth:response-type:settings-action", "none",
        ],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "none", "client_secret_post", "client_secret_basic",
        ],
        "scopes_supported": scopes,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "aud", "iat", "exp", "sub", "email", "email_verified", "name"],
    })
}
