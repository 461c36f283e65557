//! The way of one request.

use crate::keys::origin::{Origin, Url};

/// The URL to fetch, and the public origin to send as `Host` if it goes to the internal one.
pub(super) struct Route {
    /// The target of the request.
    pub(super) url: Url,
    /// The public origin, when the request goes to the internal one instead.
    pub(super) public: Option<Origin>,
}

impl Route {
    pub(super) fn new(url: Url, endpoint: Option<&Origin>, internal: Option<&Origin>) -> Route {
        match internal {
            Some(internal) if Some(url.origin()) == endpoint => Route {
                public: Some(url.origin().clone()),
                url: Url::at(internal, url.path_and_query()),
            },
            _ => Route { url, public: None },
        }
    }
}
