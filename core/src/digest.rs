//! Digests of 128 bits under secret keys: what credentials are told apart by, without being kept.

use polyval::universal_hash::{Reset, UniversalHash};
use polyval::{Block, Polyval};

use crate::text::Joined;

/// Four blocks, which POLYVAL takes at once.
const PIECE: usize = 64;

/// The keys of a [`Digester`].
pub type DigestKeys = [[u8; 16]; 2];

/// Makes digests that nobody can foretell who does not know the keys.
///
/// A digest is the sum of two POLYVALs (RFC 8452, section 3) of every other piece of the text, each
/// under a key of its own. Whoever knows neither keys nor digests makes two texts of at most 16 KiB
/// collide with a probability below 2^-118: the degree of the polynomials, 520, over 2^128. Digests
/// must stay in nginx's memory: from one and its text the keys could be reckoned.
///
/// The two sums do not wait for each other. On a processor that multiplies without carry it takes a
/// sixth of what SipHash takes.
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
        Ok(Digester::with(random_keys()?))
    }

    /// A digester with these keys.
    pub fn with(keys: DigestKeys) -> Digester {
        let [even, odd] = keys.map(|key| Polyval::new(&key.into()));
        Digester { even, odd }
    }

    /// The digest of a list of texts for one source, in which they do not run into each other.
    pub fn of_parts(&mut self, source: &[u8; 32], parts: &[&[u8]]) -> u128 {
        let mut joined = Joined::default();
        for part in parts {
            joined.push(&part.len().to_be_bytes());
            joined.push(part);
        }
        self.digest(source, joined.bytes())
    }

    /// The digest of a text for one source.
    pub fn digest(&mut self, source: &[u8; 32], text: &[u8]) -> u128 {
        self.even.reset();
        self.odd.reset();
        // Texts of different length differ here, whatever they are filled up with. That it comes
        // first and is not 0 tells an empty text from those with more pieces.
        let mut head = [0; PIECE];
        head[..16].copy_from_slice(&(text.len() as u128 + 1).to_le_bytes());
        head[16..48].copy_from_slice(source);
        add(&mut self.even, &head);

        let mut pairs = text.chunks_exact(2 * PIECE);
        for pair in &mut pairs {
            self.add_pair(pair.try_into().expect("it is exact"));
        }
        let rest = pairs.remainder();
        match text.last_chunk() {
            _ if rest.is_empty() => {}
            // The last pair, of which a part was added before.
            Some(last) => self.add_pair(last),
            None => {
                let mut last = [0; 2 * PIECE];
                last[..rest.len()].copy_from_slice(rest);
                self.add_pair(&last);
            }
        }
        let sums = [&self.even, &self.odd].map(|sum| sum.clone().finalize());
        let [even, odd] = sums.map(|sum| u128::from_ne_bytes(sum.into()));
        even ^ odd
    }

    fn add_pair(&mut self, pair: &[u8; 2 * PIECE]) {
        let (even, odd) = pair.split_at(PIECE);
        add(&mut self.even, even);
        add(&mut self.odd, odd);
    }
}

fn add(sum: &mut Polyval, piece: &[u8]) {
    sum.update(Block::slice_as_chunks(piece).0);
}

/// Keys for [`Digester::with`].
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn random_keys() -> Result<DigestKeys, NoRandomness> {
    Ok([random_key()?, random_key()?])
}

/// A secret key.
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn random_key() -> Result<[u8; 16], NoRandomness> {
    let mut key = [0; 16];
    // Straight from the system: aws-lc's own generator takes 50 ms to start, in every worker.
    getrandom::fill(&mut key).map_err(|_| NoRandomness)?;
    Ok(key)
}

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no randomness to be had from the system")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SOURCE: [u8; 32] = [3; 32];

    fn of(digester: &mut Digester, text: &[u8]) -> u128 {
        digester.digest(&SOURCE, text)
    }

    #[test]
    fn every_length_and_every_byte_of_a_text_counts() {
        let mut digester = Digester::new().unwrap();
        let zeros = [0; 700];
        let mut seen = HashSet::new();
        for length in 0..=zeros.len() {
            assert!(seen.insert(of(&mut digester, &zeros[..length])), "{length}");
        }
        for length in [
            1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 511, 512, 700,
        ] {
            for at in 0..length {
                let mut text = zeros[..length].to_vec();
                text[at] = 1;
                assert!(seen.insert(of(&mut digester, &text)), "{length}, {at}");
            }
        }
    }

    #[test]
    fn pieces_of_a_text_do_not_change_places() {
        let mut digester = Digester::new().unwrap();
        let text: Vec<u8> = (0..512u16).map(|at| (at / 64) as u8).collect();
        let mut seen = HashSet::from([of(&mut digester, &text)]);
        for (one, other) in (0..8).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let mut text = text.clone();
            text[one * 64..][..64].fill(other as u8);
            text[other * 64..][..64].fill(one as u8);
            assert!(seen.insert(of(&mut digester, &text)), "{one}, {other}");
        }
    }

    #[test]
    fn sources_and_keys_make_other_digests() {
        let mut digester = Digester::new().unwrap();
        let digest = of(&mut digester, b"text");
        assert_eq!(digest, of(&mut digester, b"text"));
        assert_ne!(digest, digester.digest(&[4; 32], b"text"));
        assert_ne!(digest, of(&mut Digester::new().unwrap(), b"text"));

        let keys = random_keys().unwrap();
        assert_ne!(keys[0], keys[1]);
        let text = [1; 2 * PIECE];
        let digest = of(&mut Digester::with(keys), &text);
        assert_eq!(digest, of(&mut Digester::with(keys), &text));
        for other in [[keys[0]; 2], [keys[1]; 2], [keys[1], keys[0]]] {
            assert_ne!(digest, of(&mut Digester::with(other), &text));
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let mut digester = Digester::new().unwrap();
        let mut of = |parts: &[&[u8]]| digester.of_parts(&SOURCE, parts);
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
        assert_ne!(of(&[b"ab"]), digester.of_parts(&[4; 32], &[b"ab"]));
    }

    #[test]
    fn long_parts_are_digested_as_short_ones() {
        let mut digester = Digester::new().unwrap();
        let text = [7; 1024];
        for length in [0, 1, 246, 247, 248, 249, 500, 512, 1024] {
            let parts = [&text[..length], &text[..248]];
            let joined = parts.map(|part| [&part.len().to_be_bytes(), part].concat());
            let wanted = of(&mut digester, &joined.concat());
            assert_eq!(digester.of_parts(&SOURCE, &parts), wanted, "{length}");
        }
    }
}
