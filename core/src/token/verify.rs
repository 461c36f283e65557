//! Checks a token's signature and reads its claims.

use std::cell::OnceCell;
use std::rc::Rc;

use super::claims::Claims;
use super::jose::UnverifiedToken;
use crate::algorithm::{Algorithm, AlgorithmSet};
use crate::json::{self, Object};
use crate::keys::{KeyId, KeySet};
use crate::reason::Reason;
use crate::session::{Session, TokenSession};

/// A token whose signature was checked and whose claims have the right types.
///
/// Time, issuer and audience are not checked yet: [`policy::judge`](crate::policy::judge) does that on
/// every request.
#[derive(Debug)]
pub struct VerifiedToken {
    session: TokenSession,
    /// As compact JSON; see [`VerifiedToken::claims_json`].
    payload: Box<str>,
    /// See [`VerifiedToken::recheck_digest`].
    recheck_digest: OnceCell<[u8; 16]>,
    signed_by: SignedBy,
}

/// The key and algorithm that a token's signature was checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    key_id: KeyId,
    algorithm: Algorithm,
    has_kid: bool,
}

impl SignedBy {
    /// Tells whether [`verify`] would come to the same key again: the key that signed is still in the set,
    /// for a token without a `kid` as the only one that fits, and the algorithm is still allowed.
    pub fn is_backed_by(&self, keys: &KeySet, allowed: AlgorithmSet) -> bool {
        allowed.contains(self.algorithm)
            && keys.contains(&self.key_id)
            && (self.has_kid || keys.has_one_for(self.algorithm))
    }

    /// The key that signed.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }
}

/// Checks a token's signature and reads its claims. The only maker of a [`VerifiedToken`].
///
/// A token with a `kid` is tried against the keys of that `kid` that fit its algorithm; one without
/// is accepted only if exactly one key of the set fits.
///
/// # Errors
///
/// In this order: [`Reason::UnsupportedAlgorithm`] when `alg` is not allowed;
/// [`Reason::UnknownKey`] when the set has no key for it, or [`Reason::UnsupportedAlgorithm`] when
/// it has keys of that `kid` but for other algorithms only; [`Reason::BadSignature`];
/// [`Reason::Malformed`] when the payload is not one JSON object in UTF-8 with all names different,
/// at most 64 deep; [`Reason::Unsupported`] when it has a `cnf`, which binds the token to a key, so
/// that it is no bearer token (RFC 7800, section 3.1); [`Reason::BadClaim`] when a known claim is absent that must be there (`exp`,
/// `sub`), has the wrong type or range, or holds a control character and has a variable of its own; and
/// when the `kid` holds one.
pub fn verify(
    token: UnverifiedToken<'_>,
    keys: &KeySet,
    allowed: AlgorithmSet,
) -> Result<Rc<VerifiedToken>, Reason> {
    let algorithm = token.algorithm();
    if !allowed.contains(algorithm) {
        return Err(Reason::UnsupportedAlgorithm);
    }
    let key_id = keys.check_signature(token.kid(), algorithm, token.signed, &token.signature)?;
    let signed_by = SignedBy {
        key_id,
        algorithm,
        has_kid: token.kid().is_some(),
    };
    token.header.check_texts()?;
    let payload = Object::parse_strict(&token.payload)?;
    Ok(Rc::new(VerifiedToken {
        session: TokenSession::new(&Claims::read(&payload)?, &token.header),
        payload: payload.compact().into(),
        recheck_digest: OnceCell::new(),
        signed_by,
    }))
}

impl VerifiedToken {
    /// The claims that the rules are about.
    pub(crate) fn claims(&self) -> &TokenSession {
        &self.session
    }

    /// `sub`: the user's id, or `client_id_` and the client's; never empty.
    pub fn sub(&self) -> &str {
        self.session.sub()
    }

    /// `exp`, in Unix seconds.
    pub fn exp(&self) -> f64 {
        self.session.exp
    }

    /// `iat`, in Unix seconds.
    pub fn iat(&self) -> Option<f64> {
        self.session.iat
    }

    /// `auth_time`, in Unix seconds.
    pub fn auth_time(&self) -> Option<f64> {
        self.session.auth_time
    }

    /// Tells whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.session.is_meant_for(audience)
    }

    /// Tells whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub fn is_client(&self) -> bool {
        self.session.is_client
    }

    /// The caller's identity, rendered as the resolver would.
    pub fn session(&self) -> Session<'_> {
        Session::of_token(&self.session)
    }

    /// The key that signed; [`SignedBy::is_backed_by`] says whether it still counts.
    pub fn signed_by(&self) -> &SignedBy {
        &self.signed_by
    }

    /// The digest under which the resolver's answers about the token are kept. Made once by `make`, so
    /// that a remembered token is not digested again; `None` when `make` cannot make one.
    pub fn recheck_digest(&self, make: impl FnOnce(&Self) -> Option<[u8; 16]>) -> Option<[u8; 16]> {
        if self.known_recheck_digest().is_none() {
            let _ = self.recheck_digest.set(make(self)?);
        }
        self.known_recheck_digest()
    }

    /// The [recheck digest](VerifiedToken::recheck_digest), if it has been made.
    pub fn known_recheck_digest(&self) -> Option<[u8; 16]> {
        self.recheck_digest.get().copied()
    }

    /// The header's `typ`.
    pub fn typ(&self) -> Option<&str> {
        self.session.typ()
    }

    /// All claims as compact JSON: the payload without white space between its tokens, numbers
    /// digit for digit, and no raw control character.
    pub fn claims_json(&self) -> &str {
        &self.payload
    }

    /// The text of one top-level claim, as `$authgear_claim_NAME` shows it.
    ///
    /// Strings as they are with control characters percent-encoded (`%` itself is left alone),
    /// numbers digit for digit, booleans in JSON form, arrays of strings joined by `,`, anything
    /// else as compact JSON. `None` when the claim is absent, `null`, `[]` or `""`, and when a
    /// string is no Unicode text (half a surrogate pair).
    pub fn claim_text(&self, name: &str) -> Option<String> {
        self.claim_path_text(&[name])
    }

    /// As [`VerifiedToken::claim_text`], for a name in lower case, which is how nginx hands over
    /// the names of variables: the claim of that very name, or else the only one that differs from
    /// it by case alone.
    pub fn claim_text_of_lowercase(&self, name: &str) -> Option<String> {
        let claims = Object::parse(&self.payload)?;
        if let Some(exact) = claims.get(name) {
            return json::shown(exact);
        }
        let is_alike = |own: &[u8]| own.eq_ignore_ascii_case(name.as_bytes());
        let mut alike = claims.iter().filter(|(own, _)| is_alike(own));
        match (alike.next(), alike.next()) {
            (Some((_, only)), None) => json::shown(only),
            _ => None,
        }
    }

    /// As [`VerifiedToken::claim_text`], for a claim inside others: each step is one name. An empty
    /// path names no claim. Below the top level a name may occur twice, and the last counts.
    pub fn claim_path_text(&self, path: &[impl AsRef<str>]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let claim = Object::parse(&self.payload)?.get(first.as_ref())?;
        let value = rest.iter().try_fold(claim, |value, name| {
            Object::parse(value.get())?.get(name.as_ref())
        })?;
        json::shown(value)
    }

    /// About how many bytes this takes, for a cache that is bounded by memory.
    pub fn size(&self) -> usize {
        size_of::<VerifiedToken>() + self.payload.len() + self.session.heap_size()
    }
}
