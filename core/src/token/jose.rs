//! The compact form of a JWS (RFC 7515) and its header, before anything in it is trusted.

use base64_simd::URL_SAFE_NO_PAD;
use memchr::{memchr, memrchr};

use crate::algorithm::Algorithm;
use crate::credential::MAX_TOKEN;
use crate::json::{self, Object};
use crate::reason::Reason;
use crate::text::has_control;

/// The longest header that is read, in decoded bytes.
pub const MAX_HEADER: usize = 8 * 1024;

/// A JWT in compact form, parsed but not verified: only its header can be read.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// The signed text: header and payload as they were sent (RFC 7515, section 5.2).
    pub(super) signed: &'a [u8],
    pub(super) header: Header,
    /// Decoded, as the signature.
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// The parameters of a JOSE header that are used.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    algorithm: Algorithm,
    pub(crate) kid: Option<Box<str>>,
    pub(crate) typ: Option<Box<str>>,
}

impl<'a> UnverifiedToken<'a> {
    /// Splits a token and reads its header. The payload's JSON is not parsed before the signature was
    /// checked. `jwk`, `jku`, `x5u` and `x5c` are never used.
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
    /// - [`Reason::BadClaim`]: the `kid`, which has a variable, holds a control character.
    pub fn parse(token: &'a [u8]) -> Result<UnverifiedToken<'a>, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::Malformed);
        }
        let (first, last) = match (memchr(b'.', token), memrchr(b'.', token)) {
            (Some(first), Some(last)) if first < last => (first, last),
            _ => return Err(Reason::Malformed),
        };
        // A third dot is no base64url.
        let payload = decode(&token[first + 1..last])?;
        let signature = decode(&token[last + 1..])?;
        Ok(UnverifiedToken {
            signed: &token[..last],
            header: Header::parse(&decode(&token[..first])?)?,
            payload,
            signature,
        })
    }

    /// The header's `kid`, the name of the key that is said to have signed.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }
}

/// The payload of a token that was parsed before; `None` when it is no such token.
pub(super) fn payload(token: &[u8]) -> Option<Vec<u8>> {
    let segment = token.get(memchr(b'.', token)? + 1..memrchr(b'.', token)?)?;
    decode(segment).ok()
}

/// Strict base64url of at least one byte: no padding, no other alphabet, trailing bits all zero.
fn decode(segment: &[u8]) -> Result<Vec<u8>, Reason> {
    let decoded = URL_SAFE_NO_PAD.decode_to_vec(segment).ok();
    decoded
        .filter(|bytes| !bytes.is_empty())
        .ok_or(Reason::Malformed)
}

impl Header {
    pub(crate) fn parse(header: &[u8]) -> Result<Header, Reason> {
        if header.len() > MAX_HEADER {
            return Err(Reason::Malformed);
        }
        let header = Object::parse_strict(header)?;
        let text = |name| {
            let read = |value| json::string(value).ok_or(Reason::Malformed);
            header.get(name).map(read).transpose()
        };
        let alg = text("alg")?.ok_or(Reason::Malformed)?;
        let (kid, typ) = (text("kid")?, text("typ")?);
        let unsupported = ["crit", "b64", "enc", "zip"];
        if unsupported
            .into_iter()
            .any(|name| header.get(name).is_some())
        {
            return Err(Reason::Unsupported);
        }
        let algorithm = Algorithm::from_name(&alg).ok_or(Reason::UnsupportedAlgorithm)?;
        if kid.as_deref().is_some_and(has_control) {
            return Err(Reason::BadClaim);
        }
        Ok(Header {
            algorithm,
            kid: kid.map(Into::into),
            typ: typ.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests;
