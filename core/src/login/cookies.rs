//! The cookies of a login: one for each that has begun, and one that counts.

use std::str;

use super::target;
use crate::credential::{cookie_pairs, split_pair};

/// The lifetime of a login that has begun, in seconds.
const LONGEST_LOGIN: u32 = 60 * 60;

/// The most logins that a browser may have begun; the oldest is forgotten.
const MOST_BEGUN: usize = 8;

/// The most bytes of their cookies: nginx takes 8 KiB of cookies by default, the site's own included.
const MOST_BYTES: usize = 4096;

/// The most cookies that one answer makes a browser forget.
const MOST_FORGOTTEN: usize = 16;

/// The lifetime of the cookie that counts, in seconds.
const COUNTED_FOR: u32 = 10 * 60;

/// The length of a nonce: 16 bytes in base64url.
const NONCE: usize = 22;

/// The names of the cookies, and their attributes.
#[derive(Clone, Debug)]
pub(super) struct Names {
    begun: &'static str,
    rounds: &'static str,
    secure: &'static str,
}

/// A login that has begun.
struct Begun<'a> {
    nonce: &'a str,
    value: &'a [u8],
    /// In Unix seconds, as the browser says.
    time: u64,
    bytes: usize,
}

/// The cookies of a request.
pub(super) struct Jar<'a> {
    begun: Vec<Begun<'a>>,
    /// Logins that ended since a session was seen here.
    pub(super) rounds: u8,
    /// True if the browser counts.
    pub(super) has_rounds: bool,
}

impl Names {
    /// With https no other host can set them (RFC 6265bis, section 4.1.3.2).
    pub(super) fn new(is_https: bool) -> Names {
        let (begun, rounds, secure) = if is_https {
            (
                "__Host-authgear_login_",
                "__Host-authgear_logins",
                "; Secure",
            )
        } else {
            ("authgear_login_", "authgear_logins", "")
        };
        Names {
            begun,
            rounds,
            secure,
        }
    }

    fn set(&self, name: &str, nonce: &str, value: &str, max_age: u32) -> String {
        let secure = self.secure;
        format!("{name}{nonce}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
    }

    /// Ends a login.
    pub(super) fn forget(&self, nonce: &str) -> String {
        self.set(self.begun, nonce, "", 0)
    }

    /// Counts one more than `rounds`.
    pub(super) fn count_round(&self, rounds: u8) -> String {
        let rounds = rounds.saturating_add(1).min(9).to_string();
        self.set(self.rounds, "", &rounds, COUNTED_FOR)
    }

    /// Begins to count anew.
    pub(super) fn forget_rounds(&self) -> String {
        self.set(self.rounds, "", "", 0)
    }

    /// The nonce in a cookie's name.
    fn nonce<'a>(&self, name: &'a [u8]) -> Option<&'a str> {
        let nonce = name.strip_prefix(self.begun.as_bytes())?;
        let is_base64url =
            |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
        let is_nonce = nonce.len() == NONCE && nonce.iter().all(is_base64url);
        is_nonce.then(|| str::from_utf8(nonce).ok())?
    }
}

impl<'a> Jar<'a> {
    /// Reads the values of a request's `Cookie` headers.
    pub(super) fn read(names: &Names, headers: impl Iterator<Item = &'a [u8]>) -> Jar<'a> {
        let mut jar = Jar {
            begun: Vec::new(),
            rounds: 0,
            has_rounds: false,
        };
        for pair in headers.flat_map(cookie_pairs) {
            let (name, value) = split_pair(pair);
            if name == names.rounds.as_bytes() {
                jar.has_rounds = true;
                let rounds = number(value).and_then(|rounds| u8::try_from(rounds).ok());
                jar.rounds = jar.rounds.max(rounds.unwrap_or(0));
            } else if let Some(nonce) = names.nonce(name) {
                let time = value.split(|byte| *byte == b'.').next();
                jar.begun.push(Begun {
                    nonce,
                    value,
                    time: time.and_then(number).unwrap_or(0),
                    bytes: pair.len(),
                });
            }
        }
        jar
    }

    /// The `Set-Cookie`s of a login that begins at `now`: its own, and those that make room for it.
    pub(super) fn begin(
        mut self,
        names: &Names,
        nonce: &str,
        target: &str,
        now: u64,
    ) -> Vec<String> {
        let value = format!("{now}.{}", target::to_cookie(target));
        let mut bytes = names.begun.len() + NONCE + 1 + value.len();
        // Browsers send older ones first, which counts within a second.
        self.begun.reverse();
        self.begun
            .sort_by_key(|begun| std::cmp::Reverse(begun.time));
        let kept = self.begun.iter().take(MOST_BEGUN - 1).take_while(|begun| {
            bytes += begun.bytes;
            bytes <= MOST_BYTES
        });
        let kept = kept.count();
        let forgotten = self.begun[kept..].iter().take(MOST_FORGOTTEN);
        let mut set: Vec<_> = forgotten.map(|begun| names.forget(begun.nonce)).collect();
        set.push(names.set(names.begun, nonce, &value, LONGEST_LOGIN));
        set
    }

    /// The page to which the login with this nonce returns; `None` if this browser has not begun it, or has
    /// two cookies of that name.
    pub(super) fn target_of(&self, nonce: &str) -> Option<String> {
        let mut found = self.begun.iter().filter(|begun| begun.nonce == nonce);
        let (Some(begun), None) = (found.next(), found.next()) else {
            return None;
        };
        let dot = memchr::memchr(b'.', begun.value)?;
        number(&begun.value[..dot])?;
        target::of_cookie(&begun.value[dot + 1..])
    }
}

/// A number of up to ten digits.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 10 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}
