//! The client certificate of a fetch (mTLS).

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::fingerprint::fingerprint;

/// A client certificate with its chain and its private key.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// Fingerprint of certificates and key, as they were given.
    pub(super) digest: [u8; 32],
}

/// The reason for which a client certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No certificate in PEM form, or one that cannot be read.
    #[error("the certificate file holds no certificate in PEM form")]
    Certificate,
    /// No private key in PEM form.
    #[error(
        "the key file holds no private key in PEM form; a key with a passphrase cannot be used"
    )]
    Key,
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate; the file's first certificate must be the key's")]
    Mismatch,
    /// The TLS library refuses them; with its error.
    #[error("they cannot be used: {0}")]
    Unusable(String),
}

impl Identity {
    /// Reads both files: the certificate followed by its chain, and the key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn parse(certificate: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
        let digest = fingerprint([certificate, key]);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(IdentityError::Certificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::Key)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider());
        let key = key.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::Mismatch,
            Error::InvalidCertificate(_) => IdentityError::Certificate,
            other => IdentityError::Unusable(other.to_string()),
        })?;
        Ok(Identity {
            key: Arc::new(key),
            digest,
        })
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
