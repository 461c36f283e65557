//! Signature algorithms of RFC 7518 and RFC 8037, and sets of them.

use std::fmt;

/// A signature algorithm that a token may name in `alg`.
///
/// Only asymmetric ones exist here: HMAC would make every verifier a signer, and `none` signs
/// nothing, so neither can be written down. This is not `jsonwebtoken::Algorithm`, which has HMAC
/// and lacks ES512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256; Authgear's.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// EdDSA on Ed25519 (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order of the variants.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::EdDsa,
    ];

    /// The algorithm of that name in JOSE, compared with case as RFC 7515 (section 4.1.1) asks.
    ///
    /// `None` for any other, `none` and the HMAC family included.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Its name in JOSE.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of algorithms: an allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// The set that allows nothing.
    pub const EMPTY: AlgorithmSet = AlgorithmSet(0);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, algorithm: Algorithm) -> AlgorithmSet {
        AlgorithmSet(self.0 | 1 << algorithm as u16)
    }

    /// Tells whether the algorithm is in the set.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & 1 << algorithm as u16 != 0
    }

    /// Tells whether the set allows nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> AlgorithmSet {
        algorithms
            .into_iter()
            .fold(AlgorithmSet::EMPTY, AlgorithmSet::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in [
            "", "none", "None", "HS256", "HS384", "HS512", "rs256", "RS256 ", "ES256K", "Ed25519",
            "EDDSA",
        ] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        assert!(AlgorithmSet::EMPTY.is_empty());
        for algorithm in Algorithm::ALL {
            let only = AlgorithmSet::EMPTY.with(algorithm);
            for other in Algorithm::ALL {
                assert_eq!(only.contains(other), algorithm == other);
            }
        }
        let all: AlgorithmSet = Algorithm::ALL.into_iter().collect();
        assert!(Algorithm::ALL
            .into_iter()
            .all(|algorithm| all.contains(algorithm)));
    }
}
