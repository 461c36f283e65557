//! What tokens are told apart by, without being kept.

use polyval::universal_hash::UniversalHash;
use polyval::Polyval;

use crate::fingerprint::{random_key, NoRandomness};

/// Four blocks, which POLYVAL takes at once.
const PIECE: usize = 64;

/// Makes digests of 128 bits that nobody else can foretell.
///
/// A digest is the sum of two POLYVALs (RFC 8452, section 3) of every other piece of the text, each
/// under a key of its own, which stays in this process as the digests do. Whoever does not know the
/// keys makes two texts of at most 16 KiB collide with a probability below 2^-118: the degree of the
/// polynomials, 520, over 2^128. The two do not wait for each other. On a processor that multiplies
/// without carry this takes a sixth of what SipHash takes.
#[derive(Clone)]
pub struct Digester {
    even: Polyval,
    odd: Polyval,
}

impl Digester {
    /// A digester with new keys.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn new() -> Result<Digester, NoRandomness> {
        Ok(Digester {
            even: Polyval::new(&random_key()?.into()),
            odd: Polyval::new(&random_key()?.into()),
        })
    }

    /// Begins the digest of a text for one source.
    pub fn begin<'a>(&self, source: &[u8; 32], text: &'a [u8]) -> Digest<'a> {
        let mut sums = self.clone();
        // Texts of different length differ here, whatever they are filled up with. That it comes
        // first and is not 0 tells an empty text from those with more pieces.
        let mut head = [0; PIECE];
        head[..16].copy_from_slice(&(text.len() as u128 + 1).to_le_bytes());
        head[16..48].copy_from_slice(source);
        sums.even.update_padded(&head);
        Digest {
            sums,
            text,
            added: 0,
        }
    }

    fn add_pair(&mut self, pair: &[u8; 2 * PIECE]) {
        let (even, odd) = pair.split_at(PIECE);
        self.even.update_padded(even);
        self.odd.update_padded(odd);
    }
}

/// A digest in the making.
pub struct Digest<'a> {
    sums: Digester,
    text: &'a [u8],
    added: usize,
}

impl Digest<'_> {
    /// Goes on as far as the text has whole pairs of pieces before the place `end`.
    pub fn add_until(&mut self, end: usize) {
        let part = self.text.get(self.added..end).unwrap_or_default();
        let mut pairs = part.chunks_exact(2 * PIECE);
        for pair in &mut pairs {
            self.sums.add_pair(pair.try_into().expect("it is exact"));
        }
        self.added += part.len() - pairs.remainder().len();
    }

    /// Goes on to the end.
    pub fn finish(mut self) -> u128 {
        self.add_until(self.text.len());
        let rest = &self.text[self.added..];
        match self.text.last_chunk() {
            _ if rest.is_empty() => {}
            // The last pair, of which a part was added before.
            Some(last) => self.sums.add_pair(last),
            None => {
                let mut last = [0; 2 * PIECE];
                last[..rest.len()].copy_from_slice(rest);
                self.sums.add_pair(&last);
            }
        }
        let Digester { even, odd } = self.sums;
        let [even, odd] = [even, odd].map(|sum| u128::from_ne_bytes(sum.finalize().into()));
        even ^ odd
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SOURCE: [u8; 32] = [3; 32];

    fn of(digester: &Digester, text: &[u8]) -> u128 {
        digester.begin(&SOURCE, text).finish()
    }

    #[test]
    fn every_length_and_every_byte_of_a_text_counts() {
        let digester = Digester::new().unwrap();
        let zeros = [0; 700];
        let mut seen = HashSet::new();
        for length in 0..=zeros.len() {
            assert!(seen.insert(of(&digester, &zeros[..length])), "{length}");
        }
        for length in [
            1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 512, 700,
        ] {
            for at in 0..length {
                let mut text = zeros[..length].to_vec();
                text[at] = 1;
                assert!(seen.insert(of(&digester, &text)), "{length}, {at}");
            }
        }
    }

    #[test]
    fn pieces_of_a_text_do_not_change_places() {
        let digester = Digester::new().unwrap();
        let text: Vec<u8> = (0..512u16).map(|at| (at / 64) as u8).collect();
        let mut seen = HashSet::from([of(&digester, &text)]);
        for (one, other) in (0..8).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let mut text = text.clone();
            text[one * 64..][..64].fill(other as u8);
            text[other * 64..][..64].fill(one as u8);
            assert!(seen.insert(of(&digester, &text)), "{one}, {other}");
        }
    }

    #[test]
    fn sources_and_keys_make_other_digests() {
        let digester = Digester::new().unwrap();
        let digest = of(&digester, b"text");
        assert_eq!(digest, of(&digester, b"text"));
        assert_ne!(digest, digester.begin(&[4; 32], b"text").finish());
        assert_ne!(digest, of(&Digester::new().unwrap(), b"text"));
    }

    #[test]
    fn in_steps_it_is_the_same() {
        let digester = Digester::new().unwrap();
        let text: Vec<u8> = (0..700u16).map(|at| at as u8).collect();
        for length in [0, 100, 128, 129, 256, 500, 700] {
            let text = &text[..length];
            for step in [1, 64, 127, 128, 200, 300, 699] {
                let mut digest = digester.begin(&SOURCE, text);
                for end in (0..length).step_by(step) {
                    digest.add_until(end);
                }
                assert_eq!(digest.finish(), of(&digester, text), "{length}, {step}");
            }
        }
    }
}
