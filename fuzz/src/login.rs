//! Arbitrary request targets, cookies and queries in a login and its callback.
//!
//! Every redirect leads to the endpoint's login or to a page of the callback's own origin, as a browser reads URLs (the
//! `url` crate): there is no open redirect. Without a cookie of the very login there is none at all. No header can
//! be split, no cookie has further attributes, and no page gets markup of a client's. A login that begins with any
//! target returns to it, or to `/`. At most 8 are outstanding.
//!
//! Input, a line each: the target, the query of the callback, then `Cookie` headers.

use std::sync::OnceLock;

use authgear_core::keys::Origin;
use authgear_core::login::{Answer, Client, Content, Login, Prompt};

use crate::{assert_printable, line};

const NOW: u64 = 1_800_000_000;

struct Site {
    login: Login,
    own: &'static str,
    is_https: bool,
}

fn sites() -> &'static [Site; 2] {
    static SITES: OnceLock<[Site; 2]> = OnceLock::new();
    SITES.get_or_init(|| {
        let site = |own: &'static str| {
            let endpoint = Origin::parse("https://auth.example").expect("an origin");
            let client = Client::new("id", &format!("{own}/callback")).expect("a client");
            let is_https = own.starts_with("https");
            let login = Login::new(&endpoint, client);
            Site {
                login,
                own,
                is_https,
            }
        };
        [site("https://www.example"), site("http://localhost:8080")]
    })
}

/// One input.
pub fn run(data: &[u8]) {
    let (target, rest) = line(data);
    let (query, cookies) = line(rest);
    let cookies: Vec<&[u8]> = cookies.split(|byte| *byte == b'\n').collect();
    for site in sites() {
        site.run(target, query, &cookies);
    }
    if let Ok(text) = std::str::from_utf8(target) {
        if let Err(error) = Client::new("id", text) {
            assert_printable(&error.to_string());
        }
    }
}

impl Site {
    fn run(&self, target: &[u8], query: &[u8], cookies: &[&[u8]]) {
        let all = || cookies.iter().copied();
        if let Some(cookie) = self.login.known(all()) {
            self.check_cookie(&cookie);
        }
        let end = self.login.end(query, all());
        self.check(&end);
        let is_begun = |cookies: &[&[u8]]| {
            cookies
                .concat()
                .windows(15)
                .any(|part| part == b"authgear_login_")
        };
        if let Content::Redirect(url) = &end.content {
            self.check_own(url);
            assert!(is_begun(cookies));
        }
        let nobody = self.login.end(query, [].into_iter());
        assert_eq!((nobody.status, nobody.cookies.len()), (400, 0));

        let begun = self
            .login
            .begin(target, Prompt::Again, all(), NOW)
            .expect("random bytes");
        self.check(&begun);
        let Content::Redirect(url) = &begun.content else {
            return assert_eq!(begun.status, 401);
        };
        let theirs = url::Url::parse(url).expect("a URL");
        assert_eq!(
            theirs.origin().ascii_serialization(),
            "https://auth.example"
        );
        assert_eq!(theirs.path(), "/oauth2/authorize");
        let mut pairs = theirs.query_pairs();
        let state = pairs.find(|(name, _)| name == "state").expect("a state").1;
        self.comes_back(target, &state, begun.cookies.last().expect("a cookie"));
        let forgotten = begun.cookies.len() - 1;
        let known = |cookie: &str| {
            cookies
                .concat()
                .windows(cookie.len())
                .any(|part| part == cookie.as_bytes())
        };
        for cookie in &begun.cookies[..forgotten] {
            assert!(known(cookie.split('=').next().expect("a name")));
        }
    }

    /// Goes back with the cookie that was set.
    fn comes_back(&self, target: &[u8], state: &str, cookie: &str) {
        let pair = cookie.split(';').next().expect("a pair").as_bytes();
        let end = self
            .login
            .end(format!("state={state}").as_bytes(), [pair].into_iter());
        self.check(&end);
        let Content::Redirect(url) = &end.content else {
            panic!("{end:?}");
        };
        self.check_own(url);
        let path = url.strip_prefix(self.own).expect("the own origin");
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~?=&+:,;%".contains(byte);
        if target.starts_with(b"/")
            && !target.starts_with(b"//")
            && target.len() <= 1024
            && target.iter().all(is_plain)
        {
            assert_eq!(path.as_bytes(), target);
        }
        let twice = self.login.end(
            format!("state={state}&state={state}").as_bytes(),
            [pair].into_iter(),
        );
        assert_eq!(twice.status, 400);
    }

    fn check_own(&self, url: &str) {
        let theirs = url::Url::parse(url).expect("a URL");
        assert_eq!(theirs.origin().ascii_serialization(), self.own, "{url}");
        let path = url.strip_prefix(self.own).expect("the own origin");
        // Relative to the page, too, should a proxy cut the origin off.
        let page = url::Url::parse("https://other.example/a/b").expect("a URL");
        let relative = page.join(path).expect("a path");
        assert_eq!(relative.host_str(), Some("other.example"), "{url}");
    }

    fn check(&self, answer: &Answer) {
        answer
            .cookies
            .iter()
            .for_each(|cookie| self.check_cookie(cookie));
        match &answer.content {
            Content::Redirect(url) => {
                assert_eq!(answer.status, 302);
                assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
            }
            Content::Page(page) => {
                // Of all pages that have a link, none has other markup than with the link "/".
                let (before, rest) = page.split_once("href=\"").expect("a link");
                let (link, after) = rest.split_once('"').expect("the end of a link");
                assert!(
                    link.starts_with('/') && !link.contains(['<', '>', '"', '\'', ' ']),
                    "{link}"
                );
                assert!(before.len() + after.len() < 8192);
                assert!(!page.to_ascii_lowercase().contains("<script"));
            }
        }
    }

    fn check_cookie(&self, cookie: &str) {
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        let (name, value) = pair.split_once('=').expect("a value");
        assert_eq!(name.starts_with("__Host-"), self.is_https, "{cookie}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(name.bytes().chain(value.bytes()).all(is_plain), "{cookie}");
        let attributes: Vec<&str> = attributes.split("; ").collect();
        let secure: &[&str] = if self.is_https { &["Secure"] } else { &[] };
        let age = attributes[1].strip_prefix("Max-Age=").expect("an age");
        assert!(age.parse::<u32>().is_ok_and(|age| age <= 3600));
        assert_eq!(attributes[0], "Path=/");
        assert_eq!(
            attributes[2..],
            [&["HttpOnly", "SameSite=Lax"], secure].concat()
        );
        assert!(cookie.len() < 4096);
    }
}
