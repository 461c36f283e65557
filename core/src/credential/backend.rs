//! A client's `Authorization` and `Cookie` without Authgear's credentials, else byte for byte, so that a backend
//! never sees a credential that it could use again.

use super::cookies::{is_token_char, split_pair, unquote, CookieNames, Line};
use super::trim;

/// The cookies of one project that are kept from the backend.
#[derive(Clone, Copy, Debug)]
pub struct OwnCookies<'a> {
    /// Their names.
    pub names: &'a CookieNames,
    /// True for all three of them, false for `app_access_token` alone: without a resolver nobody looks at the
    /// others, which may belong to another application.
    pub with_sessions: bool,
}

impl OwnCookies<'_> {
    fn has(&self, name: &[u8]) -> bool {
        let names = self.names;
        *name == *names.app_access_token
            || self.with_sessions && (*name == *names.app_session || *name == *names.session)
    }
}

/// An `Authorization` header's value; `None` for the scheme `Bearer`, in any case, with or without a token, and
/// for one of `tokens` without a scheme.
#[must_use]
pub fn others_authorization<'a>(value: &'a [u8], tokens: &[&[u8]]) -> Option<&'a [u8]> {
    const SCHEME: &[u8] = b"bearer";
    let text = value.trim_ascii();
    let end = text.iter().position(|&byte| !is_token_char(byte));
    let scheme = &text[..end.unwrap_or(text.len())];
    let is_own = scheme.eq_ignore_ascii_case(SCHEME) || tokens.contains(&trim(value));
    (!is_own).then_some(value)
}

/// Appends a `Cookie` header without Authgear's cookies to `line`, which holds what is left of those before it.
///
/// A pair goes whole, with the `;` before it, where its name is one of `own`, whatever its value is, or its
/// value is one of `tokens`, quoted or not. All other bytes stay, but for blanks where the line begins.
pub fn add_others_cookies(
    line: &mut Line,
    header: &[u8],
    own: &[OwnCookies<'_>],
    tokens: &[&[u8]],
) {
    let is_own = |pair: &[u8]| {
        let (name, value) = split_pair(pair.trim_ascii());
        let name = name.trim_ascii();
        own.iter().any(|own| own.has(name))
            || tokens.contains(&value.trim_ascii())
            || tokens.contains(&unquote(value.trim_ascii()))
    };
    let (mut is_first, mut has_lost) = (true, false);
    for pair in header.split(|&byte| byte == b';') {
        if is_own(pair) {
            has_lost = true;
            continue;
        }
        if !is_first {
            line.push(b';');
            line.extend_from_slice(pair);
            continue;
        }
        // The blanks stood behind the pair that was left out.
        let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
        let blanks = if has_lost {
            pair.iter().take_while(is_blank).count()
        } else {
            0
        };
        let pair = &pair[blanks..];
        if has_lost && pair.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        line.extend_from_slice(pair);
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Cookies;
    use super::*;

    #[test]
    fn another_scheme_than_bearer_stays_as_it_is() {
        for value in [
            "Basic dXNlcjpwYXNz",
            "basic",
            "Bearerabc",
            "Bearer-x abc",
            "Digest a=\"Bearer x\"",
            "Basic  Bearer x",
            "\tBasic x",
            "",
            "abc",
            "xBearer abc",
        ] {
            let value = value.as_bytes();
            assert_eq!(others_authorization(value, &[]), Some(value), "{value:?}");
        }
    }

    #[test]
    fn bearer_goes_in_any_spelling() {
        for value in [
            "Bearer abc",
            "bearer abc",
            "BEARER abc",
            "bEARER  abc",
            "Bearer",
            "Bearer ",
            " Bearer abc",
            "\tBearer abc ",
            "Bearer\tabc",
            "Bearer,abc",
            "Bearer=abc",
            "Bearer:abc",
            "Bearer \"abc\"",
            "Bearer\u{a0}abc",
            "\u{c}Bearer abc",
        ] {
            assert_eq!(
                others_authorization(value.as_bytes(), &[]),
                None,
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_token_without_a_scheme_goes_where_it_is_the_one_that_was_looked_for() {
        assert_eq!(others_authorization(b" abc ", &[b"abc"]), None);
        assert_eq!(others_authorization(b"abcd", &[b"abc"]), Some(&b"abcd"[..]));
    }

    fn others(headers: &[&str], with_sessions: bool, tokens: &[&[u8]]) -> String {
        let names = CookieNames::new("my-").unwrap();
        let own = [OwnCookies {
            names: &names,
            with_sessions,
        }];
        let mut line = Line::new();
        for header in headers {
            add_others_cookies(&mut line, header.as_bytes(), &own, tokens);
        }
        String::from_utf8(line.to_vec()).unwrap()
    }

    #[test]
    fn cookies_of_others_stay_as_they_are() {
        for header in [
            "a=b",
            "a=b; c=d",
            "a=b;c=d",
            " a=b ;\t c = d ",
            "a=b;;c",
            ";",
            "a",
            "=b",
            "session=x; app_session=y",
            "My-session=x",
            "my-sessio=n",
            "my-sessionx=1",
            "xmy-session=1",
            "a=my-session=b",
            "a=\"b; c=d\"",
            "my_session=1",
            "a=b, my-session=c",
            "a=\u{e9}\\",
            "\"my-session\"=x",
            "my-%73ession=x",
        ] {
            assert_eq!(others(&[header], true, &[]), header);
        }
        assert_eq!(
            others(&["a=b", "c=d", "", "e=f"], true, &[]),
            "a=b; c=d; ; e=f"
        );
    }

    #[test]
    fn authgears_own_cookies_go_in_any_spelling() {
        for (headers, left) in [
            (&["my-session=x"][..], ""),
            (&["my-session=x;"], ""),
            (&["my-session=x; a=b"], "a=b"),
            (&["a=b; my-session=x"], "a=b"),
            (&["a=b; my-session=x; c=d"], "a=b; c=d"),
            (&["a=b;my-session=x;c=d;"], "a=b;c=d;"),
            (&["a=b; my-session=x;; c=d"], "a=b;; c=d"),
            (
                &["my-app_session=1; my-app_access_token=2; my-session=3"],
                "",
            ),
            (&["my-session=1; a=b; my-session=2"], "a=b"),
            (&[" my-session = x ;a=b"], "a=b"),
            (&["\tmy-session\t=\"x\"; a=b"], "a=b"),
            (&["a=b; my-session=\"x"], "a=b"),
            (&["a=b; my-session"], "a=b"),
            (&["a=b; my-session="], "a=b"),
            (&["a=b; my-session=x=y, z\\\u{e9}"], "a=b"),
            (&["a=b; \u{c}my-session=x"], "a=b"),
            // No blank: without it the server would read a cookie that the client has not sent.
            (&["my-session=x; \u{c}a=b"], "\u{c}a=b"),
            (&["a=\"b; my-session=x\""], "a=\"b"),
            (
                &[
                    "my-session=1",
                    "a=b",
                    "my-app_session=2; c=d",
                    "my-session=3",
                ],
                "a=b; c=d",
            ),
        ] {
            assert_eq!(others(headers, true, &[]), left, "{headers:?}");
        }
    }

    #[test]
    fn without_a_resolver_an_app_access_token_alone_goes() {
        let header = "my-app_session=1; my-app_access_token=2; my-session=3";
        assert_eq!(
            others(&[header], false, &[]),
            "my-app_session=1; my-session=3"
        );
    }

    #[test]
    fn a_cookie_that_holds_the_token_goes_too() {
        let header = "a=abc; b=abcd; c=\"abc\"; d= abc; e=xabc";
        assert_eq!(others(&[header], true, &[b"abc"]), "b=abcd; e=xabc");
    }

    fn pair() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "my-session",
            "my-app_session",
            "my-app_access_token",
            "session",
            "a",
            "my-",
            "",
            "My-session",
        ]);
        (
            " ?\t?",
            name,
            prop::sample::select(vec!["", "=", " ="]),
            "[a-c=\", ]{0,4}",
            " ?",
        )
            .prop_map(|(before, name, equals, value, after)| {
                let value = if equals.is_empty() {
                    String::new()
                } else {
                    value
                };
                format!("{before}{name}{equals}{value}{after}")
            })
    }

    fn pairs(line: &[u8]) -> Vec<Vec<u8>> {
        let pairs = line
            .split(|&byte| byte == b';')
            .map(|pair| trim(pair).to_vec());
        let mut pairs: Vec<_> = pairs.filter(|pair| !pair.is_empty()).collect();
        pairs.sort();
        pairs
    }

    proptest! {
        #[test]
        fn backend_and_resolver_together_have_each_pair_once(
            headers in prop::collection::vec(prop::collection::vec(pair(), 0..6), 0..4),
        ) {
            let names = CookieNames::new("my-").unwrap();
            let headers: Vec<String> = headers.iter().map(|pairs| pairs.join(";")).collect();
            let mut cookies = Cookies::default();
            let mut backend = Line::new();
            for header in &headers {
                cookies.read(header.as_bytes(), &names);
                let own = [OwnCookies { names: &names, with_sessions: true }];
                add_others_cookies(&mut backend, header.as_bytes(), &own, &[]);
            }
            // No value is a JWT, which neither gets.
            let mut both = pairs(&cookies.for_resolver(true));
            both.extend(pairs(&backend));
            both.sort();
            prop_assert_eq!(both, pairs(headers.join(";").as_bytes()));

            let mut seen_by_authgear = Cookies::default();
            seen_by_authgear.read(&backend, &names);
            prop_assert_eq!(seen_by_authgear, Cookies::default());
        }

        #[test]
        fn a_header_without_authgears_cookies_is_left_alone(header in "[a-z=;\", \t\\\\]{0,40}") {
            let names = CookieNames::new("MY-").unwrap();
            let own = [OwnCookies { names: &names, with_sessions: true }];
            let mut line = Line::new();
            add_others_cookies(&mut line, header.as_bytes(), &own, &[]);
            prop_assert_eq!(&line[..], header.as_bytes());
        }
    }
}
