//! Authgear's cookies, as its server reads them.

use memchr::memchr;
use smallvec::SmallVec;

use crate::text::{all, is_printable_ascii, trim_blanks};

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
    is_printable_ascii(byte) & (byte != b'"') & (byte != b';') & (byte != b'\\')
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
