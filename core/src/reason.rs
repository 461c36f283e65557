//! The reasons for which a request is let in or refused: the words of `$authgear_reason`.

use std::fmt;

/// Makes the enum and its functions of one row for each reason: its meaning, its name in Rust, the word
/// of `$authgear_reason`, the level at which a refusal is logged, and the description for the client.
macro_rules! reasons {
    ($($(#[$meaning:meta])* $name:ident = $word:literal, $level:ident, $description:literal;)*) => {
        /// The outcome of one request's judgement, as `$authgear_reason` names it.
        ///
        /// Functions that judge return a `Reason` as their error; they never return [`Reason::Ok`]
        /// that way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$meaning])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the variants.
            pub const ALL: [Reason; [$($word),*].len()] = [$(Reason::$name),*];

            /// The one word of `$authgear_reason`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => $word,)*
                }
            }

            /// The level at which a refusal is logged.
            pub const fn level(self) -> Level {
                match self {
                    $(Reason::$name => Level::$level,)*
                }
            }

            /// A short sentence for `error_description` in `WWW-Authenticate` (RFC 6750, section 3).
            ///
            /// Fixed text that needs no escape inside double quotes, and that repeats no claim, key
            /// or token.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Reason::$name => $description,)*
                }
            }
        }
    };
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An everyday event: a browser that has not logged in yet, a token to be refreshed, a session
    /// that is over.
    Info,
    /// Anything that an operator may have to act upon.
    Error,
}

reasons! {
    /// The caller was verified.
    Ok = "ok", Error, "the caller was verified";
    /// The request carries no credential of ours.
    NoCredential = "no_credential", Info, "no access token was sent";
    /// The token breaks the format of RFC 7515 or a limit, so nothing in it can be trusted to mean
    /// anything.
    Malformed = "malformed", Error, "the access token is malformed";
    /// `alg` is not in the allow-list, or does not fit the key that `kid` names.
    UnsupportedAlgorithm = "unsupported_algorithm", Error,
        "the access token is signed with an algorithm that is not accepted";
    /// The key set has no key for this token.
    UnknownKey = "unknown_key", Error, "the access token is signed with an unknown key";
    /// The signature does not match.
    BadSignature = "bad_signature", Error, "the signature of the access token is invalid";
    /// `exp` has passed.
    Expired = "expired", Info, "the access token expired";
    /// `nbf` has not come yet.
    NotYetValid = "not_yet_valid", Error, "the access token is not valid yet";
    /// `iss` is absent or another one.
    BadIssuer = "bad_issuer", Error, "the access token comes from another issuer";
    /// `aud` holds none of the audiences wanted.
    BadAudience = "bad_audience", Error, "the access token is meant for another audience";
    /// `client_id` is none of those wanted.
    BadClient = "bad_client", Error, "the access token was issued to another client";
    /// `typ` is another one (an ID token, for example), or a client's token came where a user's is
    /// wanted.
    BadType = "bad_type", Error, "this type of token is not accepted";
    /// A claim is absent that must be there, or has the wrong type; or it or the `kid` holds a control
    /// character.
    BadClaim = "bad_claim", Error, "a claim of the access token is invalid";
    /// A credential that cannot be judged here: a critical extension, JWE, a token that is bound to
    /// a key, or an opaque token without a resolver.
    Unsupported = "unsupported", Error, "this kind of access token is not supported";
    /// The resolver said no.
    SessionInvalid = "session_invalid", Info, "the session is invalid";
    /// Authgear told by a webhook that the user's sessions have ended.
    Revoked = "revoked", Info, "the access token was revoked";
    /// The caller is known but does not meet a requirement.
    Policy = "policy", Error, "the caller does not meet the requirements";
    /// No key set could be had, so no verdict is possible.
    KeysUnavailable = "keys_unavailable", Error, "the keys that verify access tokens are unavailable";
    /// The resolver gave no verdict.
    ResolverUnavailable = "resolver_unavailable", Error, "the session cannot be looked up at present";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// `t/config_reference.t` compares the words with `docs/reasons.md`.
    #[test]
    fn words_are_single_and_differ() {
        let words: HashSet<&str> = Reason::ALL.map(Reason::as_str).into();
        assert_eq!(words.len(), Reason::ALL.len());
        let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(words.iter().all(is_word), "{words:?}");
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
