//! The compact form of a JWS (RFC 7515) and its header, before anything in it is trusted.

use std::rc::Rc;

use base64_simd::{AsOut, URL_SAFE_NO_PAD};
use memchr::{memchr, memrchr};
use smallvec::SmallVec;

use crate::algorithm::Algorithm;
use crate::credential::MAX_TOKEN;
use crate::json::{self, Value};
use crate::reason::Reason;

/// The longest header that is read, in decoded bytes.
pub const MAX_HEADER: usize = 8 * 1024;

/// The header that was read last: the tokens that one key signs all begin with the same text.
#[derive(Debug)]
pub struct LastHeader(Option<(Box<[u8]>, Rc<Header>)>);

impl LastHeader {
    /// No header has been read.
    pub const fn none() -> LastHeader {
        LastHeader(None)
    }

    fn read(&mut self, segment: &[u8]) -> Result<Rc<Header>, Reason> {
        match &self.0 {
            Some((last, header)) if **last == *segment => Ok(Rc::clone(header)),
            _ => {
                let header = Rc::new(Header::parse(&decode(segment)?)?);
                self.0 = Some((segment.into(), Rc::clone(&header)));
                Ok(header)
            }
        }
    }
}

/// A JWT in compact form, taken apart but not believed: only its header can be read.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// Header and payload as they were sent: what the signature covers (RFC 7515, section 5.2).
    pub(super) signed: &'a [u8],
    pub(super) header: Rc<Header>,
    /// Decoded, as the signature.
    pub(super) payload: Vec<u8>,
    pub(super) signature: Signature,
}

/// The length of a signature by RSA with 2048 bits. Longer ones take memory of their own.
const SIGNATURE: usize = 256;

type Signature = SmallVec<[u8; SIGNATURE]>;

/// What is used of a JOSE header.
#[derive(Debug)]
pub(super) struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart and reads its header. The payload's JSON is not looked at before the
    /// signature was checked.
    ///
    /// `jwk`, `jku`, `x5u` and `x5c` are never looked at. `last_header` spares the reading of the same
    /// header again, and changes no answer.
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
    pub fn parse(
        token: &'a [u8],
        last_header: &mut LastHeader,
    ) -> Result<UnverifiedToken<'a>, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::Malformed);
        }
        let (first, last) = match (memchr(b'.', token), memrchr(b'.', token)) {
            (Some(first), Some(last)) if first < last => (first, last),
            _ => return Err(Reason::Malformed),
        };
        // Another dot would be no base64url.
        let payload = decode(&token[first + 1..last])?;
        let signature = decode_signature(&token[last + 1..])?;
        Ok(UnverifiedToken {
            signed: &token[..last],
            header: last_header.read(&token[..first])?,
            payload,
            signature,
        })
    }

    /// The header's `kid`: which key is said to have signed.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `alg`.
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }
}

/// Strict base64url of at least one byte: no padding, no other alphabet, trailing bits all zero.
fn decode(segment: &[u8]) -> Result<Vec<u8>, Reason> {
    let decoded = URL_SAFE_NO_PAD.decode_to_vec(segment);
    not_empty(decoded.map_err(|_| Reason::Malformed)?)
}

fn decode_signature(segment: &[u8]) -> Result<Signature, Reason> {
    let length = URL_SAFE_NO_PAD.decoded_length(segment);
    let length = length.map_err(|_| Reason::Malformed)?;
    let mut signature = match length <= SIGNATURE {
        true => Signature::from_buf_and_len([0; SIGNATURE], length),
        false => Signature::from_vec(vec![0; length]),
    };
    URL_SAFE_NO_PAD
        .decode(segment, signature.as_mut_slice().as_out())
        .map_err(|_| Reason::Malformed)?;
    not_empty(signature)
}

fn not_empty<D: AsRef<[u8]>>(decoded: D) -> Result<D, Reason> {
    match decoded.as_ref() {
        [] => Err(Reason::Malformed),
        _ => Ok(decoded),
    }
}

impl Header {
    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    fn parse(header: &[u8]) -> Result<Header, Reason> {
        if header.len() > MAX_HEADER {
            return Err(Reason::Malformed);
        }
        let header = std::str::from_utf8(header).map_err(|_| Reason::Malformed)?;
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
        let (kid, typ) = (text(kid)?, text(typ)?);
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

fn text(value: Option<Value<'_>>) -> Result<Option<String>, Reason> {
    let text = value.map(|value| json::string(value).ok_or(Reason::Malformed));
    Ok(text.transpose()?.map(String::from))
}

#[cfg(test)]
mod tests;
