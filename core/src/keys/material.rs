//! The parameters of a public key, by type (RFC 7518, section 6; RFC 8037, section 2), and the
//! algorithms that fit it.

use base64_simd::URL_SAFE_NO_PAD;

use super::parameters::{Parameters, Unusable};
use crate::algorithm::Algorithm;

/// A public key's own bytes, held to our limits.
#[derive(Debug)]
pub(super) enum Material {
    /// Big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// An uncompressed point (SEC 1, section 2.3.3), and the one algorithm of its curve.
    Ec {
        point: Vec<u8>,
        algorithm: Algorithm,
    },
    /// RFC 8032, section 5.1.5.
    Ed25519 { point: Vec<u8> },
}

impl Material {
    /// Decodes and checks the parameters of the key type.
    pub(super) fn new(parameters: &Parameters) -> Result<Material, Unusable> {
        match parameters.kty.as_str() {
            "RSA" => Material::rsa(parameters),
            "EC" => Material::ec(parameters),
            "OKP" => Material::okp(parameters),
            _ => Err(Unusable::Type(parameters.kty.clone())),
        }
    }

    fn rsa(parameters: &Parameters) -> Result<Material, Unusable> {
        // RFC 7518 forbids leading zeros, but knows of libraries that write one; they change
        // nothing.
        let n = without_leading_zeros(decode(&parameters.n, "n")?);
        let e = without_leading_zeros(decode(&parameters.e, "e")?);
        let bits = bit_length(&n);
        if !(2048..=8192).contains(&bits) {
            return Err(Unusable::ModulusSize(bits));
        }
        if is_even(&n) {
            return Err(Unusable::ModulusEven);
        }
        if bit_length(&e) > 32 || is_even(&e) || e == [1] {
            return Err(Unusable::Exponent);
        }
        Ok(Material::Rsa { n, e })
    }

    fn ec(parameters: &Parameters) -> Result<Material, Unusable> {
        let curve = parameters
            .crv
            .as_deref()
            .ok_or(Unusable::Parameter("crv"))?;
        let (algorithm, size) = match curve {
            "P-256" => (Algorithm::Es256, 32),
            "P-384" => (Algorithm::Es384, 48),
            "P-521" => (Algorithm::Es512, 66),
            _ => return Err(Unusable::Curve(curve.into())),
        };
        let (x, y) = (decode(&parameters.x, "x")?, decode(&parameters.y, "y")?);
        // RFC 7518, section 6.2.1.2: both of the curve's full size.
        if x.len() != size || y.len() != size {
            return Err(Unusable::Point);
        }
        Ok(Material::Ec {
            point: [&[4], &x[..], &y[..]].concat(),
            algorithm,
        })
    }

    fn okp(parameters: &Parameters) -> Result<Material, Unusable> {
        match parameters.crv.as_deref() {
            Some("Ed25519") => {}
            Some(curve) => return Err(Unusable::Curve(curve.into())),
            None => return Err(Unusable::Parameter("crv")),
        }
        let point = decode(&parameters.x, "x")?;
        if point.len() != 32 {
            return Err(Unusable::Point);
        }
        Ok(Material::Ed25519 { point })
    }

    /// The algorithms of the key's own type.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        match self {
            Material::Rsa { .. } => vec![
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
            ],
            Material::Ec { algorithm, .. } => vec![*algorithm],
            Material::Ed25519 { .. } => vec![Algorithm::EdDsa],
        }
    }

    /// Bytes on the heap.
    pub(super) fn size(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The bytes that make this key and no other.
    pub(super) fn parts(&self) -> Vec<&[u8]> {
        match self {
            Material::Rsa { n, e } => vec![n, e],
            Material::Ec { point, .. } | Material::Ed25519 { point } => vec![point],
        }
    }
}

fn decode(parameter: &Option<String>, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = parameter.as_ref().ok_or(Unusable::Parameter(name))?;
    URL_SAFE_NO_PAD
        .decode_to_vec(text)
        .map_err(|_| Unusable::Parameter(name))
}

pub(super) fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.drain(..zeros);
    number
}

/// The length in bits of a number without leading zeros.
fn bit_length(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|last| last & 1 == 0)
}
