//! CA certificates from a PEM bundle.

use rustls::RootCertStore;
use ureq::tls::{parse_pem, Certificate, PemItem};

/// The reason for which a bundle of CA certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A PEM block that cannot be read.
    #[error("the CA certificates are not valid PEM")]
    NotPem,
    /// No certificate in it.
    #[error("no CA certificate in PEM form")]
    Empty,
    /// A certificate that cannot be read; counted from 1.
    #[error("CA certificate number {0} is not an X.509 certificate")]
    NotACertificate(usize),
}

/// The number of certificates in a PEM bundle, if [`fetch`](super::fetch) can use it.
///
/// # Errors
///
/// [`CaError`]: it is not PEM, holds no certificate, or one that cannot be read.
pub fn check_ca(pem: &[u8]) -> Result<usize, CaError> {
    certificates(pem).map(|certificates| certificates.len())
}

pub(super) fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, CaError> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| CaError::NotPem)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(CaError::Empty);
    }
    // ureq silently skips certificates that it cannot read.
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store
            .add(certificate.der().to_vec().into())
            .map_err(|_| CaError::NotACertificate(index + 1))?;
    }
    Ok(certificates)
}
