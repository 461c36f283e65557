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

    /// The digest of a text for one source; `halfway` is called in between.
    pub fn digest(&self, source: &[u8; 32], text: &[u8], halfway: impl FnOnce()) -> u128 {
        let mut sums = self.clone();
        // Texts of different length differ here, whatever they are filled up with. That it comes
        // first and is not 0 tells an empty text from those with more pieces.
        let mut head = [0; PIECE];
        head[..16].copy_from_slice(&(text.len() as u128 + 1).to_le_bytes());
        head[16..48].copy_from_slice(source);
        sums.even.update_padded(&head);

        let pairs = text.len() / (2 * PIECE);
        let (first, second) = text.split_at(pairs / 2 * 2 * PIECE);
        sums.add(first);
        halfway();
        sums.add(second);
        match second.last_chunk() {
            // The last pair, of which a part was added before.
            Some(last) if second.len() % last.len() != 0 => sums.add_pair(last),
            Some(_) => {}
            None => {
                let mut last = [0; 2 * PIECE];
                last[..second.len()].copy_from_slice(second);
                sums.add_pair(&last);
            }
        }
        let [even, odd] =
            [sums.even, sums.odd].map(|sum| u128::from_ne_bytes(sum.finalize().into()));
        even ^ odd
    }

    /// Adds all whole pairs.
    fn add(&mut self, text: &[u8]) {
        for pair in text.chunks_exact(2 * PIECE) {
            self.add_pair(pair.try_into().expect("it is exact"));
        }
    }

    fn add_pair(&mut self, pair: &[u8; 2 * PIECE]) {
        let (even, odd) = pair.split_at(PIECE);
        self.even.update_padded(even);
        self.odd.update_padded(odd);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use super::*;

    const SOURCE: [u8; 32] = [3; 32];

    fn of(digester: &Digester, text: &[u8]) -> u128 {
        digester.digest(&SOURCE, text, || {})
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
        assert_ne!(digest, digester.digest(&[4; 32], b"text", || {}));
        assert_ne!(digest, of(&Digester::new().unwrap(), b"text"));
    }

    #[test]
    fn it_is_told_halfway_once() {
        let digester = Digester::new().unwrap();
        for length in [0, 100, 128, 256, 1000] {
            let told = Cell::new(0);
            digester.digest(&SOURCE, &vec![0; length], || told.set(told.get() + 1));
            assert_eq!(told.get(), 1, "{length}");
        }
    }
}
