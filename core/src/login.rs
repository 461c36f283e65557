//! Login of browsers at Authgear, and the way back to the page that they asked for.
//!
//! A browser without a valid session is sent to Authgear's authorization endpoint with a nonce as its
//! `state`. The page that it asked for is in a cookie that is named after the nonce, so that no server has to
//! remember it, and nobody but the browser that began a login can end it. Authgear sets the session's
//! cookie by itself and sends the browser to the callback, which sends it on to the page.
//!
//! A second cookie counts logins after which no session was seen here: after two of them a page explains
//! what may be wrong, where a third redirect would make a loop.

use form_urlencoded::Serializer;

use crate::digest::{random_key, NoRandomness};
use crate::keys::{Origin, OriginError, Url};

mod cookies;
mod navigation;
mod page;
mod target;

use cookies::{Jar, Names};
pub use navigation::is_navigation;
use page::Page;

/// Logins without a session that is seen here, after which the browser is not sent to another.
const MOST_ROUNDS: u8 = 2;

/// A client at Authgear, and its registered redirect URI.
#[derive(Clone, Debug)]
pub struct Client {
    query: String,
    callback: Url,
}

/// The login at an endpoint.
#[derive(Clone, Debug)]
pub struct Login {
    /// The authorization request but for its `state`.
    authorize: Box<str>,
    callback: Url,
    names: Names,
}

/// The mistake in a login; its text says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No client id.
    #[error("has an empty client_id; write the one that the portal shows")]
    NoClient,
    /// A callback that is no URL, or plain `http` off loopback.
    #[error(transparent)]
    Callback(OriginError),
    /// A callback with a parameter that Authgear adds.
    #[error("has a \"callback\" with a parameter \"state\" or \"error\", which Authgear adds; leave it out")]
    Parameter,
    /// A callback at a host that ends in a dot.
    #[error("has a \"callback\" whose host ends in a dot, which nginx takes off a request's; leave it out")]
    Dot,
}

/// The content of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The URL to go to.
    Redirect(String),
    /// A page of HTML, complete in itself.
    Page(String),
}

/// An answer to a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 302 with a redirect; 400, 401, 403 or 503 with a page.
    pub status: u16,
    /// A redirect or a page.
    pub content: Content,
    /// The values of `Set-Cookie`.
    pub cookies: Vec<String>,
    /// The error that Authgear sent, where operators have to look into it: one of a fixed list.
    pub failure: Option<&'static str>,
}

/// The kind of login that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Any session will do.
    Usual,
    /// The user has to log in again, for a later time of authentication (`prompt=login`).
    Again,
}

impl Client {
    /// A client of this id. The callback is the redirect URI, letter for letter as it is registered.
    ///
    /// # Errors
    ///
    /// [`LoginError`], which says what to write instead.
    pub fn new(client_id: &str, callback: &str) -> Result<Client, LoginError> {
        if client_id.is_empty() {
            return Err(LoginError::NoClient);
        }
        let url = Url::parse(callback).map_err(LoginError::Callback)?;
        if url.origin().is_exposed() {
            return Err(LoginError::Callback(OriginError::PlainHttp));
        }
        if url.origin().host_name().ends_with('.') {
            return Err(LoginError::Dot);
        }
        let query = url
            .path_and_query()
            .split_once('?')
            .map_or("", |(_, query)| query);
        let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        if names.any(|name| name == "state" || name == "error") {
            return Err(LoginError::Parameter);
        }
        let query = Serializer::new(String::new())
            .append_pair("client_id", client_id)
            .append_pair("response_type", "none")
            .append_pair("scope", "openid")
            .append_pair("redirect_uri", callback)
            .finish();
        Ok(Client {
            query,
            callback: url,
        })
    }
}

impl Login {
    /// The login of the client at this endpoint.
    pub fn new(endpoint: &Origin, client: Client) -> Login {
        Login {
            authorize: format!("{endpoint}/oauth2/authorize?{}", client.query).into(),
            names: Names::new(client.callback.origin().scheme() == "https"),
            callback: client.callback,
        }
    }

    /// The host on which logins end, without a port: cookies make no difference by it.
    pub fn host(&self) -> &str {
        self.callback.origin().host_name()
    }

    /// The path of the callback, without its query.
    pub fn callback_path(&self) -> &str {
        let path = self.callback.path_and_query();
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// Begins a login of a browser that asked for `target`, the path and query of the request line, at `now`
    /// in Unix seconds: redirects it, or explains why that is of no use. `cookies` are the values of the request's
    /// `Cookie` headers.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when there are no random bytes for a nonce.
    pub fn begin<'a>(
        &self,
        target: &[u8],
        prompt: Prompt,
        cookies: impl Iterator<Item = &'a [u8]>,
        now: u64,
    ) -> Result<Answer, NoRandomness> {
        let jar = Jar::read(&self.names, cookies);
        let target = target::to_keep(target);
        if jar.rounds >= MOST_ROUNDS {
            return Ok(Answer {
                status: 401,
                content: Content::Page(Page::not_seen(&target).text()),
                cookies: vec![self.names.forget_rounds()],
                failure: None,
            });
        }
        let nonce = base64_simd::URL_SAFE_NO_PAD.encode_to_string(random_key()?);
        let prompt = match prompt {
            Prompt::Usual => "",
            Prompt::Again => "&prompt=login",
        };
        let url = format!("{}{prompt}&state={nonce}", self.authorize);
        Ok(Answer {
            status: 302,
            content: Content::Redirect(url),
            cookies: jar.begin(&self.names, &nonce, &target, now),
            failure: None,
        })
    }

    /// Ends a login: answers a request of the callback with this query. Parameters that are not known here
    /// are ignored, as a server may add some.
    pub fn end<'a>(&self, query: &[u8], cookies: impl Iterator<Item = &'a [u8]>) -> Answer {
        let jar = Jar::read(&self.names, cookies);
        let (mut states, mut error) = (Vec::new(), None);
        for (name, value) in form_urlencoded::parse(query) {
            match &*name {
                "state" => states.push(value),
                "error" if error.is_none() => error = Some(value),
                _ => {}
            }
        }
        let nonce = match &*states {
            [state] => Some(&**state),
            _ => None,
        };
        let begun = nonce.and_then(|nonce| Some((nonce, jar.target_of(nonce)?)));
        let Some((nonce, target)) = begun else {
            return Answer {
                status: 400,
                content: Content::Page(Page::unknown().text()),
                cookies: Vec::new(),
                failure: None,
            };
        };
        let forget = self.names.forget(nonce);
        let Some(error) = error else {
            let url = [self.callback.origin().as_str(), &*target].concat();
            return Answer {
                status: 302,
                content: Content::Redirect(url),
                cookies: vec![forget, self.names.count_round(jar.rounds)],
                failure: None,
            };
        };
        let failure = FAILURES.iter().find(|known| error == **known).copied();
        let (status, page) = match failure {
            Some(_) => (503, Page::failed(&target)),
            None => (403, Page::refused(&target)),
        };
        Answer {
            status,
            content: Content::Page(page.text()),
            cookies: vec![forget],
            failure,
        }
    }

    /// The `Set-Cookie` for a browser whose session is seen here: it begins to count logins anew. `None` if it
    /// has none to forget.
    pub fn known<'a>(&self, cookies: impl Iterator<Item = &'a [u8]>) -> Option<String> {
        Jar::read(&self.names, cookies)
            .has_rounds
            .then(|| self.names.forget_rounds())
    }
}

/// The errors of an authorization request that are no decision of the user's (RFC 6749, section 4.1.2.1).
const FAILURES: [&str; 6] = [
    "server_error",
    "temporarily_unavailable",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_response_type",
];

#[cfg(test)]
mod tests;
