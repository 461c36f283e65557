//! Arbitrary text as an origin, a URL, an internal origin, and an endpoint with a variable.
//!
//! An accepted URL means the same to the `url` crate: scheme, host and port, without a user name. An origin reads as
//! itself again. An endpoint with a variable is refused only if no value of it makes an origin.
//!
//! Input: the text up to the first line end, and a value for its variables.

use std::net::{Ipv4Addr, Ipv6Addr};

use authgear_core::keys::{Origin, Url};
use url::Host;

use crate::{assert_printable, line};

/// One input.
pub fn run(data: &[u8]) {
    let (text, value) = line(data);
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    for origin in [Origin::parse(text), Origin::parse_internal(text)] {
        match origin {
            Ok(origin) => {
                assert_eq!(
                    Origin::parse_internal(origin.as_str()).as_ref(),
                    Ok(&origin)
                );
                check_origin(text, &origin);
            }
            Err(error) => assert_printable(&error.to_string()),
        }
    }
    if let Ok(origin) = Origin::parse(text) {
        assert!(!origin.is_exposed());
        assert_eq!(Origin::parse(origin.as_str()), Ok(origin));
    } else {
        assert!(!is_plain(text), "{text}");
    }
    if let Ok(url) = Url::parse(text) {
        check_url(text, &url);
    }
    template(text, value);
}

/// An https origin of short labels of letters alone, which has to be accepted.
fn is_plain(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://") else {
        return false;
    };
    let is_label = |label: &str| {
        (1..=20).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_lowercase())
    };
    host.len() < 200 && host.split('.').all(is_label)
}

/// Checks that the `url` crate reads the same from the text.
pub fn check_url(text: &str, url: &Url) {
    check_origin(text, url.origin());
    assert!(url.path_and_query().starts_with('/') && !url.path_and_query().contains('#'));
    assert_printable(url.path_and_query());
    assert!(!url.to_string().contains('?'));
}

fn check_origin(text: &str, origin: &Origin) {
    assert!(origin.as_str().is_ascii() && !origin.as_str().contains(['@', '\\', ' ', '%']));
    let theirs = match url::Url::parse(text) {
        Ok(theirs) => theirs,
        // It reads and judges the encoded names, too.
        Err(error) => {
            return assert!(
                text.to_ascii_lowercase().contains("xn--"),
                "{text}: {error}"
            )
        }
    };
    assert_eq!(theirs.scheme(), origin.scheme(), "{text}");
    assert!(
        theirs.username().is_empty() && theirs.password().is_none(),
        "{text}"
    );
    let default = if origin.scheme() == "https" { 443 } else { 80 };
    let own = origin
        .host()
        .strip_prefix(origin.host_name())
        .expect("host and port");
    let port = own
        .strip_prefix(':')
        .map_or(default, |port| port.parse().expect("a port"));
    assert_eq!(theirs.port_or_known_default(), Some(port), "{text}");
    let name = origin.host_name();
    let is_loopback = match theirs.host().expect("a host") {
        Host::Domain(domain) => {
            assert_eq!(domain, name, "{text}");
            domain == "localhost"
        }
        Host::Ipv4(address) => {
            assert_eq!(name.parse::<Ipv4Addr>(), Ok(address), "{text}");
            address.is_loopback()
        }
        Host::Ipv6(address) => {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            assert_eq!(bare.parse::<Ipv6Addr>(), Ok(address), "{text}");
            address.is_loopback()
        }
    };
    assert_eq!(origin.is_loopback(), is_loopback, "{text}");
}

/// A value that could be a part of a host or a port.
fn is_part(value: &str) -> bool {
    (1..=40).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The text with each variable replaced, as nginx does.
fn filled(text: &str, value: &str) -> Option<String> {
    let mut parts = text.split('$');
    let mut filled = parts.next()?.to_string();
    for part in parts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match part.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => part.split_at(part.find(|c| !is_name(c)).unwrap_or(part.len())),
        };
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        filled += value;
        filled += rest;
    }
    Some(filled)
}

fn template(text: &str, value: &[u8]) {
    let checked = Origin::check_template(text);
    if let Err(error) = checked {
        assert_printable(&error.to_string());
    }
    let Some(value) = std::str::from_utf8(value)
        .ok()
        .filter(|value| is_part(value))
    else {
        return;
    };
    let Some(filled) = filled(text, value) else {
        return;
    };
    if Origin::parse(&filled).is_ok() {
        assert!(checked.is_ok(), "{text} with {value}");
    }
}
