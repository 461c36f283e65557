//! The reasons for which a fetch fails.

use std::time::Duration;

use crate::keys::DocumentError;

/// The reason for which a fetch failed. The text begins with the stage, and names the URL without its query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The host's name has no address, or no answer came.
    #[error("name look-up: {url}: {cause}")]
    NameLookup {
        /// The URL without its query.
        url: String,
        /// The system's error.
        cause: String,
    },
    /// No connection to any of the host's addresses.
    #[error("connect: {url}: {cause}")]
    Connect {
        /// The URL without its query.
        url: String,
        /// The system's error.
        cause: String,
    },
    /// The TLS handshake failed, most often over the certificate; or there is no CA certificate to
    /// check it with.
    #[error("TLS: {url}: {cause}")]
    Tls {
        /// The URL without its query.
        url: String,
        /// The TLS library's error.
        cause: String,
    },
    /// The CA certificates cannot be used.
    #[error("TLS: {0}")]
    Ca(#[from] super::CaError),
    /// The time for the whole fetch ran out here.
    #[error("time-out: {url}: no complete answer within {limit:?}")]
    TimedOut {
        /// The URL without its query.
        url: String,
        /// The time for the whole fetch.
        limit: Duration,
    },
    /// The connection broke, or the answer is not HTTP/1.1.
    #[error("response: {url}: {cause}")]
    Response {
        /// The URL without its query.
        url: String,
        /// The HTTP library's error.
        cause: String,
    },
    /// A redirect, which is never followed.
    #[error("redirect: {url}: status {status} to {location} is not followed")]
    Redirect {
        /// The URL without its query.
        url: String,
        /// The status.
        status: u16,
        /// The target without its query, quoted.
        location: String,
    },
    /// Any other status than 200.
    #[error("status {status}: {url}")]
    Status {
        /// The URL without its query.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer is too long.
    #[error("size: {url}: more than {limit} bytes of {part}")]
    Size {
        /// The URL without its query.
        url: String,
        /// Headers or body.
        part: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The discovery document cannot be used.
    #[error("discovery: {url}: {cause}")]
    Discovery {
        /// The URL without its query.
        url: String,
        /// The mistake in it.
        cause: String,
    },
    /// A defect of this crate.
    #[error("internal error: the fetch panicked")]
    Panicked,
    /// The key set cannot be used.
    #[error("parse: {url}: {cause}")]
    Parse {
        /// The URL without its query.
        url: String,
        /// The mistake in it.
        cause: DocumentError,
    },
}
