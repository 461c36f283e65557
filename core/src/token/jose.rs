//! The compact form of a JWS (RFC 7515) and its header, before anything in it is trusted.

use base64_simd::URL_SAFE_NO_PAD;
use memchr::memchr_iter;

use crate::algorithm::Algorithm;
use crate::credential::MAX_TOKEN;
use crate::json::{self, Value};
use crate::reason::Reason;
use crate::span::Span;

/// The longest header that is read, in decoded bytes.
pub const MAX_HEADER: usize = 8 * 1024;

/// A JWT in compact form, taken apart but not believed: only its header can be read.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// Header and payload as they were sent: what the signature covers (RFC 7515, section 5.2).
    pub(super) signed: &'a [u8],
    header: String,
    kid: Option<Word>,
    typ: Option<Word>,
    algorithm: Algorithm,
    /// The decoded payload, and behind it the signature.
    decoded: Vec<u8>,
    payload_length: usize,
}

/// A string of the header.
#[derive(Clone, Debug)]
enum Word {
    /// It stands there letter for letter.
    Plain(Span),
    Escaped(String),
}

impl<'a> UnverifiedToken<'a> {
    /// When the token says that it expires, in Unix seconds. Nobody has vouched for it: good only
    /// to use a verdict for a shorter time.
    pub fn claimed_expiry(&self) -> Option<f64> {
        let payload = std::str::from_utf8(self.payload()).ok()?;
        // Only an object that this crate would read has members to be looked at.
        let payload = Value::new(payload);
        json::strict_object(payload, |_, _| {}).ok()?;
        json::member(payload, "exp")?.text.parse().ok()
    }

    /// Takes a token apart and reads its header. The payload's JSON is not looked at before the
    /// signature was checked.
    ///
    /// `jwk`, `jku`, `x5u` and `x5c` are never looked at.
    ///
    /// # Errors
    ///
    /// - [`Reason::Malformed`]: over [`MAX_TOKEN`], a header over [`MAX_HEADER`], not three
    ///   non-empty segments of base64url (no padding, no other alphabet, no trailing bits), or a
    ///   header that is not one JSON object with all names different, at most 64 deep, whose `alg`
    ///   is a string and whose `kid` and `typ` are strings if present.
    /// - [`Reason::Unsupported`]: the header has `crit` or `b64` (RFC 7797), or `enc` or `zip` (RFC
    ///   7516).
    /// - [`Reason::UnsupportedAlgorithm`]: `alg` is none of [`Algorithm`], such as `none` or
    ///   `HS256`.
    pub fn parse(token: &'a [u8]) -> Result<UnverifiedToken<'a>, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::Malformed);
        }
        let mut dots = memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Reason::Malformed);
        };
        let signed = &token[..second];
        let mut header = Vec::new();
        decode(&token[..first], &mut header)?;
        let mut decoded = Vec::with_capacity((token.len() - first) / 4 * 3);
        decode(&token[first + 1..second], &mut decoded)?;
        let payload_length = decoded.len();
        decode(&token[second + 1..], &mut decoded)?;
        let header = String::from_utf8(header).map_err(|_| Reason::Malformed)?;
        let Header {
            algorithm,
            kid,
            typ,
        } = Header::parse(&header)?;
        Ok(UnverifiedToken {
            signed,
            header,
            kid,
            typ,
            algorithm,
            decoded,
            payload_length,
        })
    }

    /// The decoded payload.
    pub(super) fn payload(&self) -> &[u8] {
        &self.decoded[..self.payload_length]
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.decoded[self.payload_length..]
    }

    /// The header's `kid`: which key is said to have signed.
    pub fn kid(&self) -> Option<&str> {
        self.word(&self.kid)
    }

    pub(super) fn typ(&self) -> Option<&str> {
        self.word(&self.typ)
    }

    /// The header's `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn word<'w>(&'w self, word: &'w Option<Word>) -> Option<&'w str> {
        match word.as_ref()? {
            Word::Plain(span) => span.within(&self.header),
            Word::Escaped(text) => Some(text),
        }
    }
}

/// Strict base64url of at least one byte: no padding, no other alphabet, trailing bits all zero.
fn decode(segment: &[u8], decoded: &mut Vec<u8>) -> Result<(), Reason> {
    if segment.is_empty() {
        return Err(Reason::Malformed);
    }
    URL_SAFE_NO_PAD
        .decode_append(segment, decoded)
        .map_err(|_| Reason::Malformed)
}

struct Header {
    algorithm: Algorithm,
    kid: Option<Word>,
    typ: Option<Word>,
}

impl Header {
    fn parse(header: &str) -> Result<Header, Reason> {
        if header.len() > MAX_HEADER {
            return Err(Reason::Malformed);
        }
        let (mut alg, mut kid, mut typ, mut unsupported) = (None, None, None, false);
        json::strict_object(Value::new(header), |name, value| match name {
            b"alg" => alg = Some(value),
            b"kid" => kid = Some(value),
            b"typ" => typ = Some(value),
            b"crit" | b"b64" | b"enc" | b"zip" => unsupported = true,
            _ => {}
        })
        .map_err(|json::Malformed| Reason::Malformed)?;
        let alg = alg.and_then(json::string).ok_or(Reason::Malformed)?;
        let (kid, typ) = (word(kid, header)?, word(typ, header)?);
        if unsupported {
            return Err(Reason::Unsupported);
        }
        let algorithm = Algorithm::from_name(&alg).ok_or(Reason::UnsupportedAlgorithm)?;
        Ok(Header {
            algorithm,
            kid,
            typ,
        })
    }
}

fn word(value: Option<Value<'_>>, header: &str) -> Result<Option<Word>, Reason> {
    let Some(value) = value else {
        return Ok(None);
    };
    let text = json::string(value).ok_or(Reason::Malformed)?;
    Ok(Some(match Span::of_part(header, &text) {
        Some(span) => Word::Plain(span),
        None => Word::Escaped(text.into_owned()),
    }))
}

#[cfg(test)]
mod tests;
