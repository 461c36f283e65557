//! The signature, and what may be asked once it was checked.

use std::rc::Rc;
use std::sync::OnceLock;

use super::claims::{Claimed, Claims};
use super::jose::UnverifiedToken;
use crate::algorithm::{Algorithm, AlgorithmSet};
use crate::json::{self, Value};
use crate::keys::{KeyId, KeySet};
use crate::reason::Reason;
use crate::session::{Session, TokenSession};
use crate::span::{Span, Texts};

/// A token whose signature was checked and whose claims have the right types.
///
/// Says nothing about time, issuer or audience: [`policy::judge`](crate::policy::judge) does, on
/// every request.
#[derive(Debug)]
pub struct VerifiedToken {
    /// Holds every text of the token.
    session: TokenSession,
    claims: Claimed,
    /// The payload as compact JSON, unless it is that already; made when first asked for.
    compact: OnceLock<Box<str>>,
    /// See [`VerifiedToken::mark`].
    mark: OnceLock<[u8; 16]>,
    typ: Option<Span>,
    signed_by: SignedBy,
}

/// What a token's signature was checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBy {
    key_id: KeyId,
    algorithm: Algorithm,
    has_kid: bool,
}

impl SignedBy {
    /// Whether [`verify`] would come to the same key again: the key that signed is still in the set,
    /// for a token without a `kid` as the only one that fits, and the algorithm is still allowed.
    pub fn is_backed_by(&self, keys: &KeySet, allowed: AlgorithmSet) -> bool {
        allowed.contains(self.algorithm)
            && keys.contains(&self.key_id)
            && (self.has_kid || keys.has_one_for(self.algorithm))
    }

    /// Which key signed.
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
/// `sub`), has the wrong type or range, or holds a control character and has a variable of its own.
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
    let typ = token.header.typ();
    let payload = String::from_utf8(token.payload).map_err(|_| Reason::Malformed)?;
    let mut texts = Texts::new(&payload);
    let claims = Claimed::parse(&mut texts)?;
    let typ = typ.map(|typ| texts.push(typ));
    let more = texts.into_more();
    let texts = Texts::with(payload.into_boxed_str(), more);
    Ok(Rc::new(VerifiedToken {
        session: TokenSession::new(&claims, texts),
        claims,
        compact: OnceLock::new(),
        mark: OnceLock::new(),
        typ,
        signed_by,
    }))
}

impl VerifiedToken {
    /// The claims this crate knows.
    pub fn claims(&self) -> Claims<'_> {
        self.claims.read(self.session.texts())
    }

    /// What the token says of the caller, rendered as the resolver would.
    pub fn session(&self) -> Session<'_> {
        self.session.session(&self.claims)
    }

    /// What the signature was checked with; [`SignedBy::is_backed_by`] says whether it still counts.
    pub fn signed_by(&self) -> &SignedBy {
        &self.signed_by
    }

    /// What the caller knows the token by, made once: a remembered token need not be digested again.
    /// Nothing when `make` makes nothing.
    pub fn mark(&self, make: impl FnOnce(&Self) -> Option<[u8; 16]>) -> Option<[u8; 16]> {
        if self.known_mark().is_none() {
            let _ = self.mark.set(make(self)?);
        }
        self.known_mark()
    }

    /// The mark, if it has been made.
    pub fn known_mark(&self) -> Option<[u8; 16]> {
        self.mark.get().copied()
    }

    /// The header's `typ`.
    pub fn typ(&self) -> Option<&str> {
        self.typ.map(|typ| self.session.texts().get(typ))
    }

    /// All claims as compact JSON: the payload without white space between its tokens, numbers
    /// digit for digit, and no raw control character.
    pub fn claims_json(&self) -> &str {
        match self.claims.is_compact {
            true => self.payload(),
            false => self
                .compact
                .get_or_init(|| json::compact(self.payload()).into()),
        }
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
        let (mut exact, mut alike) = (None, Vec::new());
        let each = |found: &[u8], value| {
            if found == name.as_bytes() {
                exact = Some(value);
            } else if found.eq_ignore_ascii_case(name.as_bytes()) {
                alike.push(value);
            }
        };
        json::strict_object(Value::new(self.payload()), each).ok()?;
        match (exact, &alike[..]) {
            (Some(value), _) => json::shown(value),
            (None, [only]) => json::shown(*only),
            _ => None,
        }
    }

    /// As [`VerifiedToken::claim_text`], for a claim inside others: each step is one name. An empty
    /// path names no claim. Below the top level a name may occur twice, and the last counts.
    pub fn claim_path_text(&self, path: &[impl AsRef<str>]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let claim = json::member(Value::new(self.payload()), first.as_ref())?;
        let value = rest
            .iter()
            .try_fold(claim, |object, name| json::member(object, name.as_ref()))?;
        json::shown(value)
    }

    fn payload(&self) -> &str {
        self.session.texts().payload()
    }

    /// About how many bytes this takes, for a cache that is bounded by memory.
    ///
    /// Counts the compact JSON too where it may be made later.
    pub fn size(&self) -> usize {
        let compact = match self.claims.is_compact {
            true => 0,
            false => self.payload().len(),
        };
        size_of::<VerifiedToken>()
            + self.session.texts().heap_size()
            + self.claims.heap_size()
            + compact
    }
}
