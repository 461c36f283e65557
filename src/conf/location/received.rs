//! Locations of `authgear_webhook` and `authgear_login_callback`, as plain data.

use crate::nginx::Place;

/// The requests that such a location receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receives {
    /// Webhooks.
    Webhooks,
    /// Browsers that come back from a login.
    Browsers,
}

/// A directive that makes a location receive something.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub kind: Receives,
    pub project: String,
    pub place: Place,
}

impl Receives {
    /// The directive's name.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Webhooks => "authgear_webhook",
            Self::Browsers => "authgear_login_callback",
        }
    }
}
