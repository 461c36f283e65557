//! Digests under a secret key, by which credentials are looked up without being kept.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128, SipHasher24};

/// A digest, under which a text is looked up.
pub type Digest = [u8; 16];

/// The secret of a [`Digester`].
pub type DigestKey = [u8; 16];

/// The kind of text that is digested. Digests of equal texts differ between kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A token, and the tenant that it was verified for.
    Token,
    /// A question to the resolver, and the tenant whose resolver it is.
    Question,
    /// A source of keys, which has its bucket in the zone.
    Bucket,
    /// A user, and the endpoint or issuer that it is known to.
    User,
    /// A client's address.
    Address,
}

/// Makes digests that nobody can predict or tell from random numbers without the key.
///
/// This is SipHash-2-4 with 128 bits of output and a key of 128 bits (Aumasson and Bernstein,
/// <https://eprint.iacr.org/2012/351>), a pseudo-random function as it stands. Digests may be seen, in
/// full or in part, through timing for one, without giving the key away. The best attacks known on it
/// are to guess the key, 2^-128 a try; to meet a given digest by chance, 2^-128 a text; and to find any
/// two texts with the same digest, `n`² / 2^129 for `n` texts that were digested: below 2^-64 for four
/// thousand million texts. Every lookup compares the tenant as well.
///
/// On the machine of `bench/README.md` it took less time than keyed BLAKE3 and HMAC-SHA256, for 100
/// bytes and for 1 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Digester(SipHasher24);

impl Digester {
    /// A digester with a new key.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when the system gives no random bytes.
    pub fn new() -> Result<Digester, NoRandomness> {
        Ok(Digester::with(random_key()?))
    }

    /// A digester with this key.
    #[must_use]
    pub fn with(key: DigestKey) -> Digester {
        Digester(SipHasher24::new_with_key(&key))
    }

    /// The digest of a list of texts. Each counts with its length before it, so that no two lists make
    /// the same input.
    #[must_use]
    pub fn of(&self, kind: Kind, parts: &[&[u8]]) -> Digest {
        self.input(kind, parts).finish128().as_bytes()
    }

    /// The digests of a token for a tenant, in one pass; `None` when the text has no dot.
    #[must_use]
    pub fn of_token(&self, tenant: &[u8; 32], token: &[u8]) -> Option<TokenDigests> {
        let dot = memchr::memrchr(b'.', token)?;
        let (signed, signature) = (&token[..dot], &token[dot + 1..]);
        let mut hasher = self.input(Kind::Token, &[tenant, signed]);
        let signed = hasher.finish128().as_bytes();
        add(&mut hasher, signature);
        let whole = hasher.finish128().as_bytes();
        Some(TokenDigests { signed, whole })
    }

    fn input(&self, kind: Kind, parts: &[&[u8]]) -> SipHasher24 {
        let mut hasher = self.0;
        hasher.write(&(kind as u64).to_le_bytes());
        for part in parts {
            add(&mut hasher, part);
        }
        hasher
    }
}

/// The digests of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigests {
    /// Of what is signed, the header and the payload: two spellings of one signature share it.
    pub signed: Digest,
    /// Of all of it.
    pub whole: Digest,
}

fn add(hasher: &mut SipHasher24, part: &[u8]) {
    hasher.write(&(part.len() as u64).to_le_bytes());
    hasher.write(part);
}

/// A secret key.
///
/// # Errors
///
/// [`NoRandomness`] when the system gives no random bytes.
pub fn random_key() -> Result<DigestKey, NoRandomness> {
    let mut key = [0; 16];
    // Straight from the system: aws-lc's own generator takes 50 ms to start, in every worker.
    getrandom::fill(&mut key).map_err(|_| NoRandomness)?;
    Ok(key)
}

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn of(digester: &Digester, text: &[u8]) -> Digest {
        digester.of(Kind::Token, &[text])
    }

    /// The first and the last vector of the reference implementation: texts 0, 1, 2, … under the key
    /// 0, 1, 2, … .
    #[test]
    fn it_is_siphash_2_4_with_128_bits() {
        let key = std::array::from_fn(|at| at as u8);
        let text: [u8; 63] = std::array::from_fn(|at| at as u8);
        let of = |text: &[u8]| {
            let mut hasher = Digester::with(key).0;
            hasher.write(text);
            hasher.finish128().as_bytes()
        };
        assert_eq!(
            of(&[]),
            0xa3817f04ba25a8e66df67214c7550293u128.to_be_bytes()
        );
        assert_eq!(
            of(&text),
            0x5150d1772f50834a503e069a973fbd7cu128.to_be_bytes()
        );
    }

    #[test]
    fn every_length_and_every_byte_of_a_text_counts() {
        let digester = Digester::new().unwrap();
        let zeros = [0; 700];
        let mut seen = HashSet::new();
        for length in 0..=zeros.len() {
            assert!(seen.insert(of(&digester, &zeros[..length])), "{length}");
        }
        for length in [1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 700] {
            for at in 0..length {
                let mut text = zeros[..length].to_vec();
                text[at] = 1;
                assert!(seen.insert(of(&digester, &text)), "{length}, {at}");
            }
        }
    }

    /// With a linear hash the difference of two digests depends on the difference of the texts alone:
    /// pairs of digests that a client can cause would give the key away.
    #[test]
    fn digests_are_not_linear_in_the_text() {
        let digester = Digester::new().unwrap();
        let difference = |text: [u8; 32]| {
            let other = text.map(|byte| byte ^ 1);
            let [one, other] = [text, other].map(|text| u128::from_ne_bytes(of(&digester, &text)));
            one ^ other
        };
        let differences: HashSet<u128> = (0..=255).map(|byte| difference([byte; 32])).collect();
        assert_eq!(differences.len(), 128, "each pair comes twice");
    }

    #[test]
    fn kinds_and_keys_make_other_digests() {
        let key = random_key().unwrap();
        assert_ne!(key, random_key().unwrap());
        let digester = Digester::with(key);
        let digest = digester.of(Kind::Token, &[b"text"]);
        assert_eq!(digest, Digester::with(key).of(Kind::Token, &[b"text"]));
        assert_ne!(digest, digester.of(Kind::Question, &[b"text"]));
        assert_ne!(digest, Digester::new().unwrap().of(Kind::Token, &[b"text"]));
    }

    #[test]
    fn a_tokens_digests_cover_the_tenant_and_what_is_signed_or_all_of_it() {
        let digester = Digester::new().unwrap();
        let of = |tenant, token: &[u8]| digester.of_token(&[tenant; 32], token).unwrap();
        let token = of(1, b"header.payload.signature");
        let parts: [&[u8]; 3] = [&[1; 32], b"header.payload", b"signature"];
        assert_eq!(token.signed, digester.of(Kind::Token, &parts[..2]));
        assert_eq!(token.whole, digester.of(Kind::Token, &parts));
        let other = of(1, b"header.payload.Signature");
        assert_eq!(other.signed, token.signed);
        assert_ne!(other.whole, token.whole);
        for other in [
            of(2, b"header.payload.signature"),
            of(1, b"header.Payload.signature"),
        ] {
            assert_ne!(other.signed, token.signed);
            assert_ne!(other.whole, token.whole);
        }
        assert_eq!(of(1, b"a.").signed, of(1, b"a.b").signed);
        assert_eq!(digester.of_token(&[1; 32], b"opaque"), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let digester = Digester::new().unwrap();
        let lists: [&[&[u8]]; 8] = [
            &[],
            &[b""],
            &[b"", b""],
            &[b"abc"],
            &[b"ab", b"c"],
            &[b"a", b"bc"],
            &[b"abc", b""],
            &[b"", b"abc"],
        ];
        let digests: HashSet<Digest> = lists.map(|parts| digester.of(Kind::Question, parts)).into();
        assert_eq!(digests.len(), lists.len());
    }
}
