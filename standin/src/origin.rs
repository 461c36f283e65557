//! A project's public origin, and which project a request's `Host` means.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `https` or `http`, host and port, as in `https://myapp.authgear.cloud`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// True if the scheme is `https`.
    pub secure: bool,
    /// Host, with the port unless it is the scheme's own; lower case.
    pub host: String,
}

/// The text is not `http://host[:port]` or `https://host[:port]`.
#[derive(Debug, thiserror::Error)]
#[error("not an origin: {0:?}")]
pub struct NotAnOrigin(String);

impl Origin {
    /// The origin of `host`, a `Host` header's value, under the given scheme.
    pub fn new(secure: bool, host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let port = if secure { ":443" } else { ":80" };
        let host = host.strip_suffix(port).map(str::to_owned).unwrap_or(host);
        Self { secure, host }
    }

    /// Tells whether a `Host` header's value means this origin.
    pub fn is_host(&self, host: &str) -> bool {
        Self::new(self.secure, host).host == self.host
    }

    /// Tells whether the host is the machine itself.
    pub fn is_loopback(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &self.host,
        };
        let name = name.trim_matches(['[', ']']);
        let address = name.parse::<IpAddr>();
        name == "localhost"
            || name.ends_with(".localhost")
            || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let (scheme, host) = text.split_once("://").unwrap_or_default();
        let host = host.strip_suffix('/').unwrap_or(host);
        let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        match scheme {
            "https" if plain => Ok(Self::new(true, host)),
            "http" if plain => Ok(Self::new(false, host)),
            _ => Err(NotAnOrigin(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_port_is_no_port() {
        let origin: Origin = "https://MyApp.example:443/".parse().unwrap();
        assert_eq!(origin.to_string(), "https://myapp.example");
        assert!(origin.is_host("myapp.example:443") && origin.is_host("MYAPP.example"));
        assert!(!origin.is_host("myapp.example:80"));
        assert!("ftp://a".parse::<Origin>().is_err() && "https://a/b".parse::<Origin>().is_err());
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for host in [
            "localhost",
            "a.localhost:1",
            "127.0.0.2:8080",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(Origin::new(true, host).is_loopback(), "{host}");
        }
        assert!(!Origin::new(true, "myapp.example").is_loopback());
    }
}
