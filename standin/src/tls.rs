//! The test CA and the certificate it signs for this server.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::keys::keep;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder cannot be read or written.
    #[error("cannot keep the CA: {0}")]
    Io(#[from] io::Error),
    /// A name or the kept CA key is no good.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses what was made.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Writes `ca.pem` and `other-ca.pem`, a CA that signed nothing, into the folder, and returns
/// an acceptor with a certificate for `localhost`, `127.0.0.1`, `::1` and `names`. A CA found in
/// the folder is used again.
///
/// # Errors
///
/// [`Error`] for whatever keeps it from that.
pub fn acceptor(folder: &Path, names: &[String]) -> Result<TlsAcceptor, Error> {
    certificate_authority(folder, "other-ca")?;
    let issuer = certificate_authority(folder, "ca")?;

    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new([&own, names].concat())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "authgear-standin");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    config(certificate.der().clone(), &key)
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> Result<TlsAcceptor, Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The CA of this name, kept in the folder as `NAME.pem` and `NAME-key.pem`.
fn certificate_authority(folder: &Path, name: &str) -> Result<Issuer<'static, KeyPair>, Error> {
    let key_path = folder.join(format!("{name}-key.pem"));
    if !key_path.exists() {
        unless_there(keep(
            &key_path,
            KeyPair::generate()?.serialize_pem().as_bytes(),
            0o600,
        ))?;
    }
    let key = KeyPair::from_pem(&fs::read_to_string(&key_path)?)?;

    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("authgear-standin {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Signed anew by the same key under the same name, it is as good as the one on disk.
    let certificate = params.self_signed(&key)?;
    unless_there(keep(
        &folder.join(format!("{name}.pem")),
        certificate.pem().as_bytes(),
        0o644,
    ))?;
    Ok(Issuer::new(params, key))
}

fn unless_there(kept: io::Result<()>) -> io::Result<()> {
    match kept {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        kept => kept,
    }
}
