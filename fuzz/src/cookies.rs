//! Arbitrary `Cookie` headers.
//!
//! Each cookie of Authgear's has the value that Go's `net/http` reads. The resolver is told those and no other,
//! and never a JWT; the backend all others and none of those.
//!
//! Input: one header a line.

use authgear_core::credential::{
    add_others_cookies, bearer, classify, others_authorization, CookieNames, Cookies, Form, Line,
    OwnCookies,
};

use crate::reference::{go_cookies, Cookie};

const NAMES: [&str; 3] = ["app_session", "app_access_token", "session"];

/// One input.
pub fn run(data: &[u8]) {
    for prefix in ["", "my-"] {
        let names = CookieNames::new(prefix).expect("a prefix");
        // nginx lets no line end through.
        let headers: Vec<&[u8]> = data.split(|byte| matches!(byte, b'\n' | b'\r')).collect();
        let own = NAMES.map(|name| format!("{prefix}{name}").into_bytes());
        let all: Vec<Cookie> = headers
            .iter()
            .flat_map(|header| go_cookies(header))
            .collect();
        let mut cookies = Cookies::default();
        headers
            .iter()
            .for_each(|header| cookies.read(header, &names));
        let first = |all: &[Cookie], name: &[u8]| {
            let mut named = all.iter().filter(|(own, _)| own == name);
            named
                .next()
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty() || name == own[2])
        };
        let found = [
            cookies.app_session(),
            cookies.app_access_token(),
            cookies.session(),
        ];
        for (own, found) in own.iter().zip(found) {
            assert_eq!(first(&all, own).as_deref(), found);
        }
        for with_session in [true, false] {
            let line = cookies.for_resolver(with_session);
            let told = go_cookies(&line);
            assert!(told
                .iter()
                .all(|(name, value)| own.contains(name) && !(*name == own[1] && is_jwt(value))));
            assert_eq!(first(&told, &own[0]), first(&all, &own[0]));
            let session = first(&all, &own[2]).filter(|_| with_session);
            assert_eq!(first(&told, &own[2]), session);
            let token = first(&told, &own[1]);
            assert!(token.is_none() || token == first(&all, &own[1]));
            assert_eq!(
                cookies.has_any_for_resolver(with_session),
                told.iter().any(|(name, _)| first(&told, name).is_some())
            );
        }
        for with_sessions in [true, false] {
            let mut left = Line::new();
            let kept = [OwnCookies {
                names: &names,
                with_sessions,
            }];
            headers
                .iter()
                .for_each(|header| add_others_cookies(&mut left, header, &kept, &[]));
            let is_own =
                |name: &[u8]| name == own[1] || with_sessions && own.iter().any(|own| own == name);
            let others: Vec<&Cookie> = all.iter().filter(|(name, _)| !is_own(name)).collect();
            assert_eq!(go_cookies(&left).iter().collect::<Vec<_>>(), others);
        }
    }
    if let Some(value) = others_authorization(data, &[]) {
        assert_eq!(value, data);
        assert_eq!(bearer(data), None);
    }
}

/// True for a JWT, and for what is none but would be taken for one.
fn is_jwt(token: &[u8]) -> bool {
    classify(token).map_or(token.starts_with(b"eyJ"), |form| form == Form::Jwt)
}
