//! The certificates of a fetch, and the client that is made of them once.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ureq::Agent;

use super::ca::certificates;
use super::{http, CaError};

/// The certificates that TLS needs, and the client made of them.
///
/// To read the CA certificates takes longer than all the rest of a fetch: some milliseconds for the
/// system's. So the client is made by the first fetch that needs it, in its own thread, and serves
/// every later one of the process. CA certificates that the system gets meanwhile are seen by the
/// next process, as with nginx's own.
pub struct Certificates {
    trusted: Option<Vec<u8>>,
    client: Mutex<Option<Agent>>,
}

impl Certificates {
    /// The CA certificates of the system.
    pub fn system() -> Self {
        Self::new(None)
    }

    /// These CA certificates alone, in PEM.
    pub fn trusting(pem: Vec<u8>) -> Self {
        Self::new(Some(pem))
    }

    fn new(trusted: Option<Vec<u8>>) -> Self {
        Self {
            trusted,
            client: Mutex::new(None),
        }
    }

    /// The only CA certificates to trust, in PEM; `None` for the system's.
    pub fn trusted(&self) -> Option<&[u8]> {
        self.trusted.as_deref()
    }

    /// The client, made if there is none yet.
    pub(super) fn client(&self) -> Result<Agent, CaError> {
        // A poisoned lock is harmless: the value is a whole client or none.
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let trusted = self.trusted.as_deref().map(certificates).transpose()?;
        Ok(client.insert(http::agent(trusted)).clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trusted = self.trusted.as_ref().map(|pem| pem.len());
        f.debug_struct("Certificates")
            .field("trusted_bytes", &trusted)
            .finish_non_exhaustive()
    }
}
