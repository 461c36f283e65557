//! The webhook's secrets, and the signatures made with them.

use aws_lc_rs::hmac::{self, Key, HMAC_SHA256};

/// The longest file of secrets, in bytes.
const MOST_BYTES: usize = 1024;

/// A project's webhook secrets, any of which verifies a delivery.
#[derive(Debug)]
pub struct Secrets(Vec<Key>);

/// The fault of a file of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// Nothing in it.
    #[error("it is empty; write the webhook secret that the portal shows into it")]
    Empty,
    /// More than 1 KiB.
    #[error("it is longer than 1 KiB; write the webhook secret alone, one a line")]
    TooLong,
    /// An empty line between others, by its number.
    #[error("line {0} is empty; write one webhook secret a line")]
    EmptyLine(usize),
    /// A byte that is not graphic ASCII, by the number of its line.
    #[error(
        "line {0} holds a blank or an unprintable character; write the webhook secret as the portal shows it"
    )]
    Unprintable(usize),
}

impl Secrets {
    /// Reads a file of secrets, one a line. The last line may end with a line end. The key of a secret
    /// is its text, byte for byte.
    ///
    /// # Errors
    ///
    /// See [`SecretsError`].
    pub fn parse(file: &[u8]) -> Result<Secrets, SecretsError> {
        if file.len() > MOST_BYTES {
            return Err(SecretsError::TooLong);
        }
        let file = file.strip_suffix(b"\n").unwrap_or(file);
        if file.is_empty() || file == b"\r" {
            return Err(SecretsError::Empty);
        }
        let lines = file.split(|byte| *byte == b'\n').enumerate();
        let keys = lines.map(|(index, line)| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                Err(SecretsError::EmptyLine(index + 1))
            } else if !line.iter().all(u8::is_ascii_graphic) {
                Err(SecretsError::Unprintable(index + 1))
            } else {
                Ok(Key::new(HMAC_SHA256, line))
            }
        });
        keys.collect::<Result<_, _>>().map(Secrets)
    }

    /// The index of the secret that made `signature`, the HMAC-SHA256 of the body in lower-case hex
    /// (`X-Authgear-Body-Signature`); `None` if none did. Signatures are compared in constant time.
    #[must_use]
    pub fn verify(&self, body: &[u8], signature: &[u8]) -> Option<usize> {
        let tag = lower_hex(signature)?;
        self.0
            .iter()
            .position(|key| hmac::verify(key, body, &tag).is_ok())
    }

    /// The first secret's signature of a body, in lower-case hex.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0[0], body);
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Decodes the 32 bytes of a signature; upper-case digits are refused.
fn lower_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
