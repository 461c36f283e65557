//! Authgear's cookies, as its server reads them.

use memchr::memchr;
use smallvec::SmallVec;

use super::{classify, Form};
use crate::text::trim_blanks;

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

/// An invalid cookie prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cookie name may hold letters, digits and !#$%&'*+-.^_`|~ only")]
pub struct CookiePrefixError;

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

/// One of the three names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    AppSession,
    AppAccessToken,
    Session,
}

/// A `Cookie` header's value; a usual one takes no memory of its own.
pub type Line = SmallVec<[u8; 256]>;

/// A request's cookies of the three names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies<'a> {
    /// As they were sent, in their order.
    pairs: SmallVec<[(Name, &'a [u8]); 4]>,
    app_session: Option<&'a [u8]>,
    app_access_token: Option<&'a [u8]>,
    session: Option<&'a [u8]>,
}

impl<'a> Cookies<'a> {
    /// Reads the next `Cookie` header of the request, once. Of each name the first cookie counts.
    ///
    /// Reads like Authgear's server, which uses Go's `net/http`: pairs end at `;`, spaces and
    /// tabs around a pair are dropped, names keep their case, one pair of double quotes around a
    /// value is dropped, and a cookie is passed over when its value holds a byte that RFC 6265 does
    /// not allow (space and comma are let through).
    pub fn read(&mut self, header: &'a [u8], names: &CookieNames) {
        for pair in cookie_pairs(header) {
            let (found, value) = split_pair(pair);
            let (name, slot) = match found {
                _ if *found == *names.session => (Name::Session, &mut self.session),
                _ if *found == *names.app_session => (Name::AppSession, &mut self.app_session),
                _ if *found == *names.app_access_token => {
                    (Name::AppAccessToken, &mut self.app_access_token)
                }
                _ => continue,
            };
            self.pairs.push((name, pair));
            let value = unquote(value);
            if slot.is_none() && value.iter().copied().all(is_cookie_char) {
                *slot = Some(value);
            }
        }
    }

    /// The `Cookie` header of a question to the resolver: the cookies of the three names as they
    /// were sent, in their order, without JWTs. If the first `app_access_token` is a JWT, all cookies of
    /// that name are left out, since the first alone counts. With `with_session` false `session` is
    /// left out as well.
    ///
    /// The answer is filed under exactly these bytes, so requests that Authgear's server can tell
    /// apart never share one.
    pub fn for_resolver(&self, with_session: bool) -> Line {
        let first_is_jwt = self.app_access_token().is_some_and(is_judged_here);
        let is_left = |name: Name, pair: &[u8]| match name {
            Name::AppSession => true,
            Name::AppAccessToken => !first_is_jwt && !is_judged_here(unquote(split_pair(pair).1)),
            Name::Session => with_session,
        };
        let mut line = Line::new();
        for &(name, pair) in &self.pairs {
            if is_left(name, pair) {
                if !line.is_empty() {
                    line.extend_from_slice(b"; ");
                }
                line.extend_from_slice(pair);
            }
        }
        line
    }

    /// Tells whether any cookie is left that the resolver could accept; `with_session` as in
    /// [`Cookies::for_resolver`].
    pub fn has_any_for_resolver(&self, with_session: bool) -> bool {
        let is_opaque = |token: &[u8]| !is_judged_here(token);
        self.app_session().is_some()
            || self.app_access_token().is_some_and(is_opaque)
            || with_session && self.session().is_some()
    }

    /// `app_session`; `None` when it is absent or empty, of which Authgear's server says nothing.
    pub fn app_session(&self) -> Option<&'a [u8]> {
        self.app_session.filter(|value| !value.is_empty())
    }

    /// `app_access_token`; `None` when it is absent or empty.
    pub fn app_access_token(&self) -> Option<&'a [u8]> {
        self.app_access_token.filter(|value| !value.is_empty())
    }

    /// `session`; an empty one is a bad session to Authgear's server (`pkg/lib/session/middleware.go`).
    pub fn session(&self) -> Option<&'a [u8]> {
        self.session
    }
}

/// Tells whether a token is a JWT, or close enough to one that Authgear's server would take it for one
/// (prefix `eyJ`, `pkg/lib/oauth/token_encoding.go`): the resolver is never shown those.
fn is_judged_here(token: &[u8]) -> bool {
    match classify(token) {
        Ok(form) => form == Form::Jwt,
        Err(_) => token.starts_with(b"eyJ"),
    }
}

/// The pairs of one `Cookie` header value, without the blanks around them.
pub(crate) fn cookie_pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(b';', text);
        rest = end.map(|end| &text[end + 1..]);
        Some(trim_blanks(&text[..end.unwrap_or(text.len())]))
    })
}

/// A cookie's name and value, from a pair without blanks around it.
pub(crate) fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', pair) {
        Some(at) => (trim_blanks(&pair[..at]), &pair[at + 1..]),
        None => (pair, &pair[pair.len()..]),
    }
}

/// `token` of RFC 9110, section 5.6.2.
pub(super) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

fn is_cookie_char(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !b"\";\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            // empty
            ("session", Some("")),
            ("session=", Some("")),
            (r#"session="""#, Some("")),
            ("session=; session=c", Some("")),
            // absent
            ("", None),
            (";;;", None),
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
        assert_eq!(cookies.session(), Some(&b""[..]));
        assert_eq!(cookies.app_session(), None);
    }

    fn question(prefix: &str, headers: &[&str], with_session: bool) -> (String, bool) {
        let names = CookieNames::new(prefix).unwrap();
        let mut cookies = Cookies::default();
        for header in headers {
            cookies.read(header.as_bytes(), &names);
        }
        let line = cookies.for_resolver(with_session).to_vec();
        let has_any = cookies.has_any_for_resolver(with_session);
        (String::from_utf8(line).unwrap(), has_any)
    }

    #[test]
    fn a_question_has_the_cookies_as_they_were_sent_and_no_others() {
        for (headers, line) in [
            (
                &["app_session=a; app_access_token=b; session=c"][..],
                "app_session=a; app_access_token=b; session=c",
            ),
            (
                &["theme=dark; session=c; lang=en;app_session=a "],
                "session=c; app_session=a",
            ),
            (
                &["session=c", "x=y", "app_session=a"],
                "session=c; app_session=a",
            ),
            (&["Session=x; session =\"c\""], "session =\"c\""),
            (&["session=a; session=b"], "session=a; session=b"),
            (&["a=\"; session=b\""], "session=b\""),
            (&["theme=dark; sessio=n", "", ";"], ""),
        ] {
            assert_eq!(question("", headers, true).0, line, "{headers:?}");
        }
        let headers = ["session=a; my-session=b; my-app_session=c; their-session=d"];
        let line = "my-session=b; my-app_session=c";
        assert_eq!(question("my-", &headers, true), (line.into(), true));
    }

    #[test]
    fn a_question_never_has_a_jwt() {
        let long = format!("eyJ{}", "a".repeat(16 * 1024));
        for jwt in [
            "eyJh.e30.c2ln",
            "e30.e30.c2ln",
            "eyJh.a.b.c.d",
            &long,
            "eyJ,",
        ] {
            let header = format!("app_session=a; app_access_token={jwt}; session=c");
            let line = "app_session=a; session=c";
            assert_eq!(question("", &[&header], true), (line.into(), true), "{jwt}");
            let header = format!("app_access_token=\"{jwt}\"");
            assert_eq!(
                question("", &[&header], true),
                (String::new(), false),
                "{jwt}"
            );
            // The first alone counts, at the server as here.
            let header = format!("app_access_token={jwt}; app_access_token=opaque");
            assert_eq!(
                question("", &[&header], true),
                (String::new(), false),
                "{jwt}"
            );
            let header = format!("app_access_token=opaque; app_access_token={jwt}");
            let line = "app_access_token=opaque";
            assert_eq!(question("", &[&header], true), (line.into(), true), "{jwt}");
        }
    }

    #[test]
    fn a_session_that_a_jwt_precedes_is_left_out() {
        let headers = ["session=c; app_session=a"];
        assert_eq!(
            question("", &headers, false),
            ("app_session=a".into(), true)
        );
        assert_eq!(question("", &["session=c"], false), (String::new(), false));
        assert_eq!(question("", &["session="], true), ("session=".into(), true));
        assert!(!question("", &["app_session="], true).1);
    }
}
