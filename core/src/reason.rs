//! The reasons for which a request is let in or refused: the words of `$authgear_reason`.

use std::fmt;

/// The outcome of one request's judgement, as `$authgear_reason` names it.
///
/// Functions that judge return a `Reason` as their error; they never return [`Reason::Ok`] that
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The caller was verified.
    Ok,
    /// The request carries no credential of ours.
    NoCredential,
    /// The token breaks the format of RFC 7515 or a limit, so nothing in it can be trusted to mean
    /// anything.
    Malformed,
    /// `alg` is not in the allow-list, or does not fit the key that `kid` names.
    UnsupportedAlgorithm,
    /// The key set has no key for this token.
    UnknownKey,
    /// The signature does not match.
    BadSignature,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come yet.
    NotYetValid,
    /// `iss` is absent or another one.
    BadIssuer,
    /// `aud` holds none of the audiences wanted.
    BadAudience,
    /// `client_id` is none of those wanted.
    BadClient,
    /// `typ` is another one (an ID token, for example), or a client's token came where a user's is
    /// wanted.
    BadType,
    /// A claim is absent that must be there, or has the wrong type, or holds a control character.
    BadClaim,
    /// A credential that cannot be judged here: a critical extension, JWE, a token that is bound to
    /// a key, or an opaque token without a resolver.
    Unsupported,
    /// The resolver said no.
    SessionInvalid,
    /// The caller is known but does not meet a requirement.
    Policy,
    /// No key set could be had, so no verdict is possible.
    KeysUnavailable,
    /// The resolver gave no verdict.
    ResolverUnavailable,
}

impl Reason {
    /// Every reason, in the order of the variants.
    pub const ALL: [Reason; 18] = [
        Reason::Ok,
        Reason::NoCredential,
        Reason::Malformed,
        Reason::UnsupportedAlgorithm,
        Reason::UnknownKey,
        Reason::BadSignature,
        Reason::Expired,
        Reason::NotYetValid,
        Reason::BadIssuer,
        Reason::BadAudience,
        Reason::BadClient,
        Reason::BadType,
        Reason::BadClaim,
        Reason::Unsupported,
        Reason::SessionInvalid,
        Reason::Policy,
        Reason::KeysUnavailable,
        Reason::ResolverUnavailable,
    ];

    /// The one word of `$authgear_reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Ok => "ok",
            Reason::NoCredential => "no_credential",
            Reason::Malformed => "malformed",
            Reason::UnsupportedAlgorithm => "unsupported_algorithm",
            Reason::UnknownKey => "unknown_key",
            Reason::BadSignature => "bad_signature",
            Reason::Expired => "expired",
            Reason::NotYetValid => "not_yet_valid",
            Reason::BadIssuer => "bad_issuer",
            Reason::BadAudience => "bad_audience",
            Reason::BadClient => "bad_client",
            Reason::BadType => "bad_type",
            Reason::BadClaim => "bad_claim",
            Reason::Unsupported => "unsupported",
            Reason::SessionInvalid => "session_invalid",
            Reason::Policy => "policy",
            Reason::KeysUnavailable => "keys_unavailable",
            Reason::ResolverUnavailable => "resolver_unavailable",
        }
    }

    /// A short sentence for `error_description` in `WWW-Authenticate` (RFC 6750, section 3).
    ///
    /// Fixed text that needs no escape inside double quotes, and that repeats no claim, key or
    /// token.
    pub const fn description(self) -> &'static str {
        match self {
            Reason::Ok => "the caller was verified",
            Reason::NoCredential => "no access token was sent",
            Reason::Malformed => "the access token is malformed",
            Reason::UnsupportedAlgorithm => {
                "the access token is signed with an algorithm that is not accepted"
            }
            Reason::UnknownKey => "the access token is signed with an unknown key",
            Reason::BadSignature => "the signature of the access token is invalid",
            Reason::Expired => "the access token expired",
            Reason::NotYetValid => "the access token is not valid yet",
            Reason::BadIssuer => "the access token comes from another issuer",
            Reason::BadAudience => "the access token is meant for another audience",
            Reason::BadClient => "the access token was issued to another client",
            Reason::BadType => "this type of token is not accepted",
            Reason::BadClaim => "a claim of the access token is invalid",
            Reason::Unsupported => "this kind of access token is not supported",
            Reason::SessionInvalid => "the session is invalid",
            Reason::Policy => "the caller does not meet the requirements",
            Reason::KeysUnavailable => "the keys that verify access tokens are unavailable",
            Reason::ResolverUnavailable => "the session cannot be looked up at present",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_variable() {
        let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(
            words.join(", "),
            "ok, no_credential, malformed, unsupported_algorithm, unknown_key, bad_signature, expired, \
             not_yet_valid, bad_issuer, bad_audience, bad_client, bad_type, bad_claim, unsupported, \
             session_invalid, policy, keys_unavailable, resolver_unavailable"
        );
    }

    #[test]
    fn descriptions_fit_a_quoted_string() {
        for reason in Reason::ALL {
            let text = reason.description();
            // RFC 6750, section 3: %x20-21 / %x23-5B / %x5D-7E
            assert!(
                text.bytes()
                    .all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{text}"
            );
        }
    }
}
