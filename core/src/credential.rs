//! Which credential a request carries, as Authgear's server finds it
//! (`pkg/lib/session/middleware.go`, `pkg/lib/oauth/resolver.go`).

use memchr::{memchr, memchr_iter};
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::text::{all, trim_blanks};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// What a token looks like.
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
/// another scheme, and for `Bearer` with nothing but spaces behind it. What follows the space is
/// returned as it is: [`classify`] judges it.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    (scheme.eq_ignore_ascii_case(SCHEME) && token.iter().any(|&b| b != b' ')).then_some(token)
}

/// Tells a JWT from an opaque token by its form alone; says nothing about its worth.
///
/// The first segment is a JOSE header when its base64 (either alphabet) begins an object. Whether
/// all of it is the strict base64 that RFC 7515 asks for is left to
/// [`UnverifiedToken::parse`](crate::token::UnverifiedToken::parse), so that a sloppy JWT is a
/// malformed JWT and not an opaque token, and a good one is read only once.
///
/// # Errors
///
/// [`Reason::Malformed`] when the token is empty or longer than [`MAX_TOKEN`], or when it is no JWT
/// and has a character that no token may have (`b64token` of RFC 6750); [`Reason::Unsupported`] for
/// JWE in compact form (RFC 7516, section 3.1).
pub fn classify(token: &[u8]) -> Result<Form, Reason> {
    if token.len() > MAX_TOKEN {
        return Err(Reason::Malformed);
    }
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
        _ if !is_b64token(token) => Err(Reason::Malformed),
        (Some(_), Some(_)) if more == 2 => Err(Reason::Unsupported),
        _ => Ok(Form::Opaque),
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750, section 2.1).
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let text = &token[..token.len() - padding];
    !text.is_empty() && all(text, is_b64token_char)
}

fn is_b64token_char(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // `-`, `.`, `/` and the digits stand side by side.
    let is_digit_or_mark = byte.wrapping_sub(b'-') < 13;
    is_letter | is_digit_or_mark | (byte == b'_') | (byte == b'~') | (byte == b'+')
}

/// Whether base64 text decodes to JSON white space and then `{`.
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

/// The names of Authgear's cookies in one project, in the order in which they are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    /// `app_session`: only the resolver can judge it.
    pub app_session: Box<[u8]>,
    /// `app_access_token`: an access token of either form.
    pub app_access_token: Box<[u8]>,
    /// `session`: the session at Authgear itself; only the resolver can judge it.
    pub session: Box<[u8]>,
}

/// A cookie prefix that no cookie's name may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cookie name may hold letters, digits and !#$%&'*+-.^_`|~ only")]
pub struct CookiePrefixError;

/// Pairs of cookies; a few take no memory of their own.
pub type Pairs<'a> = SmallVec<[&'a [u8]; 4]>;

impl CookieNames {
    /// The three names, with the project's `http.cookie_prefix` before each; it may be empty.
    ///
    /// # Errors
    ///
    /// [`CookiePrefixError`] when the prefix is not made of token characters (RFC 6265, section
    /// 4.1.1).
    pub fn new(prefix: &str) -> Result<CookieNames, CookiePrefixError> {
        if !prefix.bytes().all(is_token_char) {
            return Err(CookiePrefixError);
        }
        let name = |base: &str| [prefix, base].concat().into_bytes().into_boxed_slice();
        Ok(CookieNames {
            app_session: name("app_session"),
            app_access_token: name("app_access_token"),
            session: name("session"),
        })
    }
}

/// A request's cookies of the three names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies<'a> {
    /// As they were sent.
    pairs: Pairs<'a>,
    app_session: Option<&'a [u8]>,
    app_access_token: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
}

impl<'a> Cookies<'a> {
    /// Reads the next `Cookie` header of the request, once. Of each name the first cookie counts.
    ///
    /// Reads what Authgear's server reads, which is Go's `net/http`: pairs end at `;`, spaces and
    /// tabs around a pair are dropped, names keep their case, one pair of double quotes around a
    /// value is dropped, and a cookie is passed over when its value holds a byte that RFC 6265 does
    /// not allow (space and comma are let through).
    pub fn read(&mut self, header: &'a [u8], names: &CookieNames) {
        for pair in cookie_pairs(header) {
            let (name, value) = split_pair(pair);
            let found = match name {
                _ if *name == *names.session => &mut self.session,
                _ if *name == *names.app_session => &mut self.app_session,
                _ if *name == *names.app_access_token => &mut self.app_access_token,
                _ => continue,
            };
            self.pairs.push(pair);
            let value = unquote(value);
            if found.is_none() && all(value, is_cookie_char) {
                *found = Some(value);
            }
        }
    }

    /// The pairs of the three names: what a key must hold so that requests which Authgear's server
    /// can tell apart never share it.
    ///
    /// Blanks around pairs and the order of different cookies do not matter. Pairs of one name
    /// stay in their order, because the first of them counts, and keep their name, which blanks may
    /// surround.
    pub fn pairs(&self) -> Pairs<'a> {
        let mut pairs = self.pairs.clone();
        pairs.sort_by_key(|pair| split_pair(pair).0);
        pairs
    }

    /// `app_session`; `None` when it is absent; an empty one counts as absent, here and below.
    pub fn app_session(&self) -> Option<&'a [u8]> {
        self.app_session.filter(|value| !value.is_empty())
    }

    /// `app_access_token`
    pub fn app_access_token(&self) -> Option<&'a [u8]> {
        self.app_access_token.filter(|value| !value.is_empty())
    }

    /// `session`
    pub fn session(&self) -> Option<&'a [u8]> {
        self.session.filter(|value| !value.is_empty())
    }
}

/// The pairs of one `Cookie` header value, without the blanks around them.
fn cookie_pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b';', text);
        rest = end.map(|end| &text[end + 1..]);
        Some(trim_blanks(&text[..end.unwrap_or(text.len())]))
    })
}

/// A cookie's name and value, from a pair without blanks around it.
fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', pair) {
        Some(at) => (trim_blanks(&pair[..at]), &pair[at + 1..]),
        None => (pair, &pair[pair.len()..]),
    }
}

/// `token` of RFC 9110, section 5.6.2.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

fn is_cookie_char(byte: u8) -> bool {
    let is_ascii = byte.wrapping_sub(0x20) < 0x5f;
    is_ascii & (byte != b'"') & (byte != b';') & (byte != b'\\')
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

    #[test]
    fn names_carry_the_prefix() {
        let names = CookieNames::new("my-").unwrap();
        assert_eq!(&*names.app_session, b"my-app_session");
        assert_eq!(&*names.app_access_token, b"my-app_access_token");
        assert_eq!(&*names.session, b"my-session");
        assert_eq!(&*CookieNames::new("").unwrap().session, b"session");
        for prefix in [
            "a b", "a=", "a;", "a,", "a\"", "\t", "\u{e9}", "a/", "(", "a\x7f",
        ] {
            assert_eq!(
                CookieNames::new(prefix),
                Err(CookiePrefixError),
                "{prefix:?}"
            );
        }
    }

    #[test]
    fn cookies_are_read_as_go_reads_them() {
        for (header, value) in [
            ("session=a", Some("a")),
            ("a=b; session=c; d=e", Some("c")),
            ("a=b;session=c;d=e", Some("c")),
            ("  session=c \t; d=e", Some("c")),
            (" session =c", Some("c")),
            ("session=a=b==", Some("a=b==")),
            ("session=first; session=second", Some("first")),
            (r#"session="a""#, Some("a")),
            (r#"session="a"#, None),
            ("session=a b", Some("a b")),
            ("session= a", Some(" a")),
            ("session=a,b", Some("a,b")),
            // passed over, and the next of that name is taken
            ("session=a\\b; session=c", Some("c")),
            ("session=\u{e9}; session=c", Some("c")),
            ("session=a\x7f", None),
            // absent or empty
            ("", None),
            (";;;", None),
            ("session", None),
            ("session=", None),
            (r#"session="""#, None),
            ("session=; session=c", None),
            ("Session=a", None),
            ("xsession=a", None),
            ("sessionx=a", None),
            ("a=session=b", None),
            ("a=\"; session=b\"", None),
        ] {
            let mut cookies = Cookies::default();
            cookies.read(header.as_bytes(), &CookieNames::new("").unwrap());
            assert_eq!(cookies.session(), value.map(str::as_bytes), "{header:?}");
        }
    }

    #[test]
    fn the_first_cookie_of_a_name_counts_in_all_headers() {
        let names = CookieNames::new("my-").unwrap();
        let mut cookies = Cookies::default();
        for header in [
            "session=a; my-session=\"; my-app_access_token=b",
            "my-session=; my-app_access_token=c",
            "my-session=d",
        ] {
            cookies.read(header.as_bytes(), &names);
        }
        assert_eq!(cookies.app_access_token(), Some(&b"b"[..]));
        assert_eq!((cookies.session(), cookies.app_session()), (None, None));
    }

    fn pairs(prefix: &str, headers: &[&str]) -> Vec<String> {
        let names = CookieNames::new(prefix).unwrap();
        let mut cookies = Cookies::default();
        for header in headers {
            cookies.read(header.as_bytes(), &names);
        }
        let pairs = cookies.pairs().into_iter();
        pairs
            .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn pairs_of_the_same_credentials_are_the_same() {
        let same = ["app_access_token=b", "app_session=a", "session=c"];
        for headers in [
            &["app_session=a; app_access_token=b; session=c"][..],
            &["session=c; app_access_token=b; app_session=a"],
            &[" session=c\t;app_session=a ;;  app_access_token=b;"],
            &["theme=dark; session=c; app_access_token=b; lang=en; app_session=a"],
            &["session=c", "app_session=a; app_access_token=b"],
            &["Session=x; session=c; app_session=a; app_access_token=b"],
        ] {
            assert_eq!(pairs("", headers), same, "{headers:?}");
        }
        assert_eq!(pairs("", &["theme=dark; sessio=n", "", ";"]), [""; 0]);
    }

    #[test]
    fn pairs_that_can_be_told_apart_are_different() {
        let lists = [
            "session=a",
            "session=b",
            "session= a",
            "session =a",
            "session=a=",
            "session=\"a\"",
            "session",
            "session=",
            "app_session=a",
            "app_access_token=a",
            "session=a; session=b",
            "session=b; session=a",
            "session=a; session=a",
            "session; session=a",
            "session=a; session",
            "session=a, session=b",
            "a=\"; session=b\"",
            "session=b; app_session=a",
            "session=a; app_session=b",
        ];
        for (at, one) in lists.iter().enumerate() {
            for other in &lists[at + 1..] {
                assert_ne!(
                    pairs("", &[one]),
                    pairs("", &[other]),
                    "{one:?} and {other:?}"
                );
            }
        }
    }

    #[test]
    fn pairs_carry_the_prefix() {
        let headers = ["session=a; my-session=b; my-app_session=c; their-session=d"];
        assert_eq!(pairs("my-", &headers), ["my-app_session=c", "my-session=b"]);
    }
}
