//! Certificates of servers that are trusted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Trusts the chains that webpki trusts, and beside them a certificate that is itself listed.
///
/// `openssl req -x509` makes a certificate that says of itself that it is a CA's. OpenSSL, and so
/// nginx's `proxy_ssl_verify`, accept such a one from a server if it is in the list; webpki refuses it as
/// the certificate of a server. Its names and its times count as those of any other.
#[derive(Debug)]
pub(super) struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl Trust {
    pub(super) fn new(
        chains: Arc<WebPkiServerVerifier>,
        listed: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { chains, listed }
    }
}

/// True if webpki found nothing wrong but that the certificate is a CA's. It compares the times first;
/// `a_listed_certificate_that_has_expired_is_refused` holds it to that.
fn is_a_cas(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(cause)) = error else {
        return false;
    };
    matches!(
        cause.0.downcast_ref(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verdict {
            Err(error) if is_a_cas(&error) => {
                if !self.listed.contains(end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
