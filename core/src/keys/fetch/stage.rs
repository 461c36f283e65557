//! The stage at which a connection failed. ureq's own errors do not tell a refused connection
//! from a broken handshake or a name that is not known.

use ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};
use ureq::Error;

/// A stage before the request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    LookUp,
    Proxy,
    Connect,
    Tls,
}

/// A failure of one stage. Travels as [`Error::Other`].
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct StageError {
    pub(super) stage: Stage,
    pub(super) cause: String,
}

impl Stage {
    /// Adds the stage to an error, unless it is the deadline's, which is the same at every stage.
    pub(super) fn tag(self, error: Error) -> Error {
        match error {
            Error::Timeout(_) => error,
            error => self.failed(plain_text(&error)),
        }
    }

    /// The failure of this stage for that cause.
    pub(super) fn failed(self, cause: String) -> Error {
        Error::Other(Box::new(StageError { stage: self, cause }))
    }
}

/// An error's text without the name that ureq puts before it.
pub(super) fn plain_text(error: &Error) -> String {
    match error {
        Error::Io(inner) => inner.to_string(),
        Error::Other(inner) => inner.to_string(),
        Error::ConnectProxyFailed(reason) => reason.clone(),
        error => error.to_string(),
    }
}

/// A step of making a connection whose errors name the stage.
#[derive(Debug)]
pub(super) struct Staged<C>(pub(super) Stage, pub(super) C);

impl<In: Transport, C: Connector<In>> Connector<In> for Staged<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Staged(stage, step) = self;
        step.connect(details, chained)
            .map_err(|error| stage.tag(error))
    }
}
