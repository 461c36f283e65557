//! Digests that tell things apart.

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256 over the parts, each with its length before it, so that no two lists of parts make the same input.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// A random first part: without it nobody outside can make two lists collide on purpose, or tell from a digest what
/// it is of.
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn random_key() -> Result<[u8; 32], NoRandomness> {
    let mut key = [0; 32];
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
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&'static [u8]]| fingerprint(parts.iter().copied());
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
    }

    #[test]
    fn keys_differ() {
        assert_ne!(random_key().unwrap(), random_key().unwrap());
    }
}
