//! Finds the credential that a request carries, as Authgear's server does
//! (`pkg/lib/session/middleware.go`, `pkg/lib/oauth/resolver.go`).

use memchr::memchr_iter;

use crate::reason::Reason;

mod backend;
mod cookies;

pub use crate::text::trim_blanks as trim;
pub use backend::{add_others_cookies, others_authorization, OwnCookies};
pub(crate) use cookies::{cookie_pairs, split_pair};
pub use cookies::{CookieNames, CookiePrefixError, Cookies, Line};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Three segments, the first a JOSE header: verified here.
    Jwt,
    /// Anything else: only the resolver can judge it.
    Opaque,
}

/// The token in one `Authorization` header value.
///
/// The scheme is case-insensitive and one space follows it (RFC 6750, section 2.1). `None` for
/// another scheme, and for `Bearer` with nothing but spaces behind it. The text behind the space
/// is returned as it is: [`classify`] judges it.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    (scheme.eq_ignore_ascii_case(SCHEME) && token.iter().any(|&b| b != b' ')).then_some(token)
}

/// Tells a JWT from an opaque token by its form alone; whether it is valid is not checked.
///
/// The first segment is a JOSE header when its base64 (either alphabet) begins an object. Whether
/// all of it is the strict base64 that RFC 7515 asks for is left to
/// [`UnverifiedToken::parse`](crate::token::UnverifiedToken::parse), so that a sloppy JWT is a
/// malformed JWT and not an opaque token, and a good one is read only once. So is its length.
///
/// # Errors
///
/// [`Reason::Malformed`] when the token is empty, or when it is no JWT and is longer than [`MAX_TOKEN`]
/// or has a character that no token may have (`b64token` of RFC 6750); [`Reason::Unsupported`] for
/// JWE in compact form (RFC 7516, section 3.1).
pub fn classify(token: &[u8]) -> Result<Form, Reason> {
    let mut dots = memchr_iter(b'.', token);
    let header_end = dots.next().filter(|&end| begins_object(&token[..end]));
    let payload_end = header_end.and(dots.next());
    let more = dots.count();
    match (header_end, payload_end) {
        (Some(first), Some(second))
            if more == 0 && second > first + 1 && second + 1 < token.len() =>
        {
            Ok(Form::Jwt)
        }
        _ if token.len() > MAX_TOKEN || !is_b64token(token) => Err(Reason::Malformed),
        (Some(_), Some(_)) if more == 2 => Err(Reason::Unsupported),
        _ => Ok(Form::Opaque),
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750, section 2.1).
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let text = &token[..token.len() - padding];
    !text.is_empty() && text.iter().copied().all(is_b64token_char)
}

fn is_b64token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// Tells whether base64 text decodes to JSON white space and then `{`.
fn begins_object(segment: &[u8]) -> bool {
    let (mut bits, mut held) = (0u32, 0);
    for &symbol in segment {
        let Some(value) = sextet(symbol) else {
            return false;
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            match (bits >> held) as u8 {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                byte => return byte == b'{',
            }
        }
    }
    false
}

/// The value of one base64 symbol of either alphabet (RFC 4648, sections 4 and 5).
fn sextet(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a' + 26),
        b'0'..=b'9' => Some(symbol - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_one_scheme_one_space_and_a_token() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER abc", Some("abc")),
            ("Bearer a b", Some("a b")),
            ("Bearer  abc", Some(" abc")),
            ("Bearer \tabc", Some("\tabc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer   ", None),
            ("Bearer\tabc", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
            (" Bearer abc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value:?}"
            );
        }
    }

    #[test]
    fn forms() {
        let jwt = Ok(Form::Jwt);
        let opaque = Ok(Form::Opaque);
        for (token, form) in [
            // {"alg":"RS256"} . {} . sig
            ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", jwt),
            ("e30.e30.c2ln", jwt),
            // white space before the object: " {}", "\t\r\n {}"
            ("IHt9.e30.c2ln", jwt),
            ("CQ0KIHt9.e30.c2ln", jwt),
            // strictness is parse's: trailing bits, the standard alphabet, a length of 1 modulo 4
            ("e31.e30.c2ln", jwt),
            ("e+A/.e30.c2ln", jwt),
            ("eyJhb.e30.c2ln", jwt),
            ("eyJhb~.e30.c2ln", jwt),
            ("eyJh.e30.c2ln=", jwt),
            ("e30=.e30.c2ln", jwt),
            ("e30.e30.c2 ln", jwt),
            ("e30.\u{e9}.c2ln", jwt),
            // an array, a string, text, nothing at all
            ("W10.e30.c2ln", opaque),
            ("ImEi.e30.c2ln", opaque),
            ("YWJj.e30.c2ln", opaque),
            ("IA.e30.c2ln", opaque),
            ("e.e30.c2ln", opaque),
            ("~e30.e30.c2ln", opaque),
            (".e30.c2ln", opaque),
            // the wrong number of segments
            ("e30", opaque),
            ("e30.e30", opaque),
            ("e30.e30.", opaque),
            ("e30..c2ln", opaque),
            ("e30.e30.c2ln.c2ln", opaque),
            ("e30.e30.c2ln.c2ln.c2ln.c2ln", opaque),
            // JWE, with and without an encrypted key
            ("e30.a.b.c.d", Err(Reason::Unsupported)),
            ("e30..b.c.d", Err(Reason::Unsupported)),
            ("abc.a.b.c.d", opaque),
            // opaque ones
            ("0123456789abcdefghijklmnopqrstuvwxyz", opaque),
            ("-._~+/", opaque),
            ("abc==", opaque),
            // no token at all
            ("", Err(Reason::Malformed)),
            ("=", Err(Reason::Malformed)),
            ("ab=c", Err(Reason::Malformed)),
            ("e30=.a.b.c.d", Err(Reason::Malformed)),
            ("e30..e3 0", Err(Reason::Malformed)),
            ("a b", Err(Reason::Malformed)),
            (" ab", Err(Reason::Malformed)),
            ("ab\0", Err(Reason::Malformed)),
            ("a,b", Err(Reason::Malformed)),
            ("a\"b", Err(Reason::Malformed)),
            ("\u{e9}", Err(Reason::Malformed)),
        ] {
            assert_eq!(classify(token.as_bytes()), form, "{token:?}");
        }
    }

    #[test]
    fn only_token_characters() {
        for byte in 0..=255u8 {
            let allowed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(classify(&[byte, b'a']).is_ok(), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn sixteen_kibibytes_are_the_limit() {
        let mut token = vec![b'a'; MAX_TOKEN];
        assert_eq!(classify(&token), Ok(Form::Opaque));
        token.push(b'a');
        assert_eq!(classify(&token), Err(Reason::Malformed));
    }

    /// A long JWT is refused as one, wherever it is.
    #[test]
    fn a_long_jwt_is_a_jwt() {
        let long = "a".repeat(MAX_TOKEN);
        for (token, form) in [
            (format!("e30.{long}.c2ln"), Ok(Form::Jwt)),
            (format!("e30.e30.{long}"), Ok(Form::Jwt)),
            (format!("eyJ{long}.e30.c2ln"), Ok(Form::Jwt)),
            (format!("e30.{long}"), Err(Reason::Malformed)),
            (format!("YWJj.{long}.c2ln"), Err(Reason::Malformed)),
            (format!("e30..b.c.{long}"), Err(Reason::Malformed)),
        ] {
            assert_eq!(classify(token.as_bytes()), form, "{}", &token[..8]);
        }
    }
}
