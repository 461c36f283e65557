//! The host of a URL: a name or an address, in the one form it has here.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) struct Host {
    /// In lower case; an IPv6 address in brackets.
    pub(super) text: String,
    pub(super) is_loopback: bool,
}

impl Host {
    /// Reads a host that is not empty; `None` when it is neither a name nor an address. An internal one may
    /// hold `_`, and end with the dot of a name that is not to be completed.
    pub(super) fn parse(host: &str, is_internal: bool) -> Option<Host> {
        if let Some(bracketed) = host.strip_prefix('[') {
            let address: Ipv6Addr = bracketed.strip_suffix(']')?.parse().ok()?;
            return Some(Host {
                text: format!("[{address}]"),
                is_loopback: address.is_loopback(),
            });
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Some(Host {
                text: address.to_string(),
                is_loopback: address.is_loopback(),
            });
        }
        let text = host.to_ascii_lowercase();
        let name = match text.strip_suffix('.') {
            Some(name) if is_internal => name,
            _ => &*text,
        };
        if !is_name(name, is_internal) {
            return None;
        }
        let is_loopback = text == "localhost";
        Some(Host { text, is_loopback })
    }
}

/// A name in lower case by the rules of RFC 1123, section 2.1.
fn is_name(text: &str, allow_underscore: bool) -> bool {
    let is_allowed =
        |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (allow_underscore && b == b'_');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !is_number(last)
}

/// A last label that looks like a number makes the host an address, in one of the forms that only
/// some resolvers know: 127.1, 0x7f.1, 2130706433.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    label.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}
