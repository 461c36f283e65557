//! The certificates of a fetch, and the TLS configuration that is made of them once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::ClientConfig;

use super::ca::{certificates, system};
use super::identity::Identity;
use super::trust::Trust;
use super::CaError;
use crate::fingerprint::fingerprint;

/// The certificates that TLS needs, and the configuration made of them.
///
/// To read the CA certificates takes longer than all the rest of a fetch: some milliseconds for the
/// system's. So the configuration is made by the first fetch that needs it, in its own thread, and serves
/// every later one of the process. CA certificates that the system gets meanwhile are seen by the
/// next process, as with nginx's own.
pub struct Certificates {
    trusted: Option<Vec<u8>>,
    name: Option<ServerName<'static>>,
    identity: Option<Identity>,
    config: Mutex<Option<Arc<ClientConfig>>>,
}

/// The text is no name that a certificate can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither a domain name nor an address")]
pub struct BadServerName;

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
            name: None,
            identity: None,
            config: Mutex::new(None),
        }
    }

    /// The same, with this name in the server's certificate instead of the host's, and as SNI.
    ///
    /// # Errors
    ///
    /// [`BadServerName`]: it is neither a domain name nor an address.
    pub fn named(mut self, name: &str) -> Result<Self, BadServerName> {
        let name = ServerName::try_from(name.to_string()).map_err(|_| BadServerName)?;
        self.name = Some(name);
        Ok(self)
    }

    /// The same, with a client certificate.
    #[must_use]
    pub fn identified_by(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The name to expect of the server instead of the host's.
    pub(super) fn name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }

    /// A digest of all of them. The same configuration gives the same digest in every process.
    pub(super) fn digest(&self) -> [u8; 32] {
        let name = self.name.as_ref().map(ServerName::to_str);
        let identity = self.identity.as_ref().map(|identity| &identity.digest[..]);
        fingerprint([
            self.trusted.as_deref().unwrap_or_default(),
            name.as_deref().unwrap_or_default().as_bytes(),
            identity.unwrap_or_default(),
        ])
    }

    /// The configuration, made if there is none yet.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, CaError> {
        // A poisoned lock is harmless: the value is a whole configuration or none.
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*config {
            return Ok(Arc::clone(config));
        }
        Ok(Arc::clone(config.insert(Arc::new(self.make()?))))
    }

    fn make(&self) -> Result<ClientConfig, CaError> {
        let unusable = |error: &dyn fmt::Display| CaError::Unusable(error.to_string());
        let (listed, roots) = match &self.trusted {
            Some(pem) => certificates(pem)?,
            None => (Vec::new(), system()?),
        };
        let provider = Arc::new(default_provider());
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(&error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            // Adds self-signed certificates that are listed; see `Trust`.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trust::new(chains, listed)));
        Ok(match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                Arc::clone(&identity.key),
            ))),
            None => builder.with_no_client_auth(),
        })
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trusted = self.trusted.as_ref().map(|pem| pem.len());
        f.debug_struct("Certificates")
            .field("trusted_bytes", &trusted)
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
