//! Checks a token's signature and reads its claims.

use std::rc::Rc;

use super::claims::Claims;
use super::jose::{self, UnverifiedToken};
use super::signer::SignedBy;
use crate::algorithm::AlgorithmSet;
use crate::json::{self, Object};
use crate::keys::KeySet;
use crate::reason::Reason;
use crate::session::{Session, TokenSession};

/// A token whose signature was checked and whose claims have the right types.
///
/// Time, issuer and audience are not checked yet: [`policy::judge`](crate::policy::judge) does that on
/// every request.
///
/// It is one [record](VerifiedToken::record) of bytes, which holds what every request needs. Any other
/// claim is read from the token's text, which the caller hands over: it must be the token that was
/// verified.
#[derive(Debug)]
pub struct VerifiedToken {
    session: TokenSession,
    signed_by: SignedBy,
}

/// Checks a token's signature and reads its claims. Every [`VerifiedToken`] comes from here, if need be by
/// [`read_again`] or [`VerifiedToken::from_record`].
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
    read_again(token, signed_by)
}

/// Reads the claims of a token whose signature was checked before, with that result.
///
/// # Errors
///
/// Those of [`verify`] that concern the payload.
pub fn read_again(
    token: UnverifiedToken<'_>,
    signed_by: SignedBy,
) -> Result<Rc<VerifiedToken>, Reason> {
    let session = claims_of(&token, Some(signed_by))?;
    Ok(Rc::new(VerifiedToken::new(session, signed_by)))
}

/// Reads the claims of a token that a caller knows to be signed, or does not trust.
pub(super) fn claims_of(
    token: &UnverifiedToken<'_>,
    signed_by: Option<SignedBy>,
) -> Result<TokenSession, Reason> {
    let payload = Object::parse_strict(&token.payload)?;
    let claims = Claims::read(&payload)?;
    Ok(TokenSession::new(&claims, &token.header, signed_by))
}

impl VerifiedToken {
    fn new(session: TokenSession, signed_by: SignedBy) -> VerifiedToken {
        VerifiedToken { session, signed_by }
    }

    /// All that is known of the token, to be stored where only this module writes. It begins with the
    /// signer ([`SignedBy::from_record`]) and is shorter than 64 KiB; a token of Authgear's takes about 400
    /// bytes.
    pub fn record(&self) -> &[u8] {
        self.session.record()
    }

    /// The inverse of [`VerifiedToken::record`]: the token whose record that is. `None` when it is no
    /// record of this version of the module.
    pub fn from_record(record: &[u8]) -> Option<VerifiedToken> {
        let signed_by = SignedBy::from_record(record)?;
        let session = TokenSession::from_record(record)?;
        Some(VerifiedToken::new(session, signed_by))
    }

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
        self.session.exp()
    }

    /// `iat`, in Unix seconds.
    pub fn iat(&self) -> Option<f64> {
        self.session.iat()
    }

    /// `auth_time`, in Unix seconds.
    pub fn auth_time(&self) -> Option<f64> {
        self.session.auth_time()
    }

    /// Tells whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.session.is_meant_for(audience)
    }

    /// Tells whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub fn is_client(&self) -> bool {
        self.session.is_client()
    }

    /// The caller's identity, rendered as the resolver would.
    pub fn session(&self) -> Session<'_> {
        Session::of_token(&self.session)
    }

    /// The key that signed; [`SignedBy::is_backed_by`] says whether it still counts.
    pub fn signed_by(&self) -> &SignedBy {
        &self.signed_by
    }

    /// The header's `typ`.
    pub fn typ(&self) -> Option<&str> {
        self.session.typ()
    }

    /// All claims as compact JSON: the payload without white space between its tokens, numbers
    /// digit for digit, and no raw control character. `token` is the verified token's text.
    pub fn claims_json(&self, token: &[u8]) -> Option<String> {
        Some(json::compact(str::from_utf8(&jose::payload(token)?).ok()?))
    }

    /// The text of one top-level claim, as `$authgear_claim_NAME` shows it.
    ///
    /// Strings as they are with control characters percent-encoded (`%` itself is left alone),
    /// numbers digit for digit, booleans in JSON form, arrays of strings joined by `,`, anything
    /// else as compact JSON. `None` when the claim is absent, `null`, `[]` or `""`, and when a
    /// string is no Unicode text (half a surrogate pair).
    pub fn claim_text(&self, token: &[u8], name: &str) -> Option<String> {
        self.claim_path_text(token, &[name])
    }

    /// As [`VerifiedToken::claim_text`], for a name in lower case, which is how nginx hands over
    /// the names of variables: the claim of that very name, or else the only one that differs from
    /// it by case alone.
    pub fn claim_text_of_lowercase(&self, token: &[u8], name: &str) -> Option<String> {
        let payload = jose::payload(token)?;
        let claims = Object::parse(str::from_utf8(&payload).ok()?)?;
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
    pub fn claim_path_text(&self, token: &[u8], path: &[impl AsRef<str>]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let payload = jose::payload(token)?;
        let claims = Object::parse(str::from_utf8(&payload).ok()?)?;
        let claim = claims.get(first.as_ref())?;
        let value = rest.iter().try_fold(claim, |value, name| {
            Object::parse(value.get())?.get(name.as_ref())
        })?;
        json::shown(value)
    }

    /// About how many bytes this takes, for a cache that is bounded by memory.
    pub fn size(&self) -> usize {
        size_of::<VerifiedToken>() + self.session.heap_size()
    }
}
