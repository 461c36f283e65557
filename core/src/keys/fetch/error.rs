//! The reasons for which a fetch fails.

use std::time::Duration;

use super::ca::CaError;
use crate::keys::document::DocumentError;
use crate::keys::origin::Url;
use crate::status::FetchResult;

/// The reason for which a fetch failed. The text begins with the stage, and names the URL without its query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The host's name has no address, or no answer came; with the system's error.
    #[error("name look-up: {0}: {1}")]
    NameLookup(Url, String),
    /// No connection to any of the host's addresses; with the system's error.
    #[error("connect: {0}: {1}")]
    Connect(Url, String),
    /// The proxy cannot be reached, or refused; with its address and the cause.
    #[error("proxy: {0}: {1}")]
    Proxy(Url, String),
    /// The TLS handshake failed, most often over the certificate; or there is no CA certificate to
    /// check it with. Holds the TLS library's error.
    #[error("TLS: {0}: {1}")]
    Tls(Url, String),
    /// The CA certificates cannot be used.
    #[error("TLS: {0}")]
    Ca(#[from] CaError),
    /// The time for the whole fetch ran out here.
    #[error("time-out: {0}: no complete answer within {1:?}")]
    TimedOut(Url, Duration),
    /// The connection broke, or the answer is not HTTP/1.1; with the HTTP library's error.
    #[error("response: {0}: {1}")]
    Response(Url, String),
    /// A redirect, which is never followed.
    #[error("redirect: {url}: status {status} to {location} is not followed")]
    Redirect {
        /// The URL that was asked.
        url: Url,
        /// The status.
        status: u16,
        /// The target without its query, quoted.
        location: String,
    },
    /// Any other status than 200.
    #[error("status {1}: {0}")]
    Status(Url, u16),
    /// The answer is too long.
    #[error("size: {url}: more than {limit} bytes of {part}")]
    Size {
        /// The URL that was asked.
        url: Url,
        /// Headers or body.
        part: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The discovery document cannot be used; with the mistake in it.
    #[error("discovery: {0}: {1}")]
    Discovery(Url, String),
    /// A defect of this crate.
    #[error("internal error: the fetch panicked")]
    Panicked,
    /// The key set cannot be used; with the mistake in it.
    #[error("parse: {0}: {1}")]
    Parse(Url, DocumentError),
}

impl FetchError {
    /// The stage that failed, for counters.
    pub fn stage(&self) -> FetchResult {
        match self {
            Self::NameLookup(..) => FetchResult::NameLookup,
            Self::Connect(..) => FetchResult::Connect,
            Self::Proxy(..) => FetchResult::Proxy,
            Self::Tls(..) | Self::Ca(_) => FetchResult::Tls,
            Self::TimedOut(..) => FetchResult::Timeout,
            Self::Response(..) => FetchResult::Response,
            Self::Redirect { .. } => FetchResult::Redirect,
            Self::Status(..) => FetchResult::Status,
            Self::Size { .. } => FetchResult::Size,
            Self::Discovery(..) => FetchResult::Discovery,
            Self::Panicked => FetchResult::Internal,
            Self::Parse(..) => FetchResult::Parse,
        }
    }
}
