//! CA certificates from a PEM bundle, or those of the system.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::RootCertStore;

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
    /// The system has no CA certificate.
    #[error(
        "this machine has no CA certificates; install the package ca-certificates, or name a file \
         with \"ssl_trusted_certificate\""
    )]
    NoneInstalled,
    /// The TLS library refuses them; with its error.
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// The number of certificates in a PEM bundle, if [`fetch`](super::fetch) can use it.
///
/// # Errors
///
/// [`CaError`]: it is not PEM, holds no certificate, or one that cannot be read.
pub fn check_ca(pem: &[u8]) -> Result<usize, CaError> {
    certificates(pem).map(|(certificates, _)| certificates.len())
}

/// Checks that the system has CA certificates. Reads their files, which takes milliseconds.
///
/// # Errors
///
/// [`CaError::NoneInstalled`].
pub fn check_system_ca() -> Result<(), CaError> {
    system().map(drop)
}

/// The certificates of a PEM bundle, and the store of them.
pub(super) fn certificates(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), CaError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| CaError::NotPem)?;
    if certificates.is_empty() {
        return Err(CaError::Empty);
    }
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        store
            .add(certificate.clone())
            .map_err(|_| CaError::NotACertificate(index + 1))?;
    }
    Ok((certificates, store))
}

/// The system's CA certificates. One that cannot be read is skipped, as OpenSSL does.
pub(super) fn system() -> Result<RootCertStore, CaError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(CaError::NoneInstalled);
    }
    Ok(store)
}
