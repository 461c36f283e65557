//! Web origins (RFC 6454) and URLs, read strictly.
//!
//! An endpoint may hold variables, so its text may come from a request. What is accepted here has
//! one reading only, so that the check and the fetch can never mean two hosts.

use std::fmt;

use super::host::Host;

/// `scheme://host` or `scheme://host:port`, in lower case, without the scheme's default port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    text: Box<str>,
    is_https: bool,
    is_loopback: bool,
}

/// An origin, a path and perhaps a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    origin: Origin,
    path: Box<str>,
}

/// The mistake in an origin or URL; its text says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Neither `https://` nor `http://` in front.
    #[error("begins with neither https:// nor http://, write https:// before the host")]
    Scheme,
    /// Plain `http`, off loopback.
    #[error(
        "plain http is allowed for loopback only (localhost, 127.0.0.0/8, [::1]), write https://"
    )]
    PlainHttp,
    /// White space, a control character, a backslash, or another character that no URL may hold.
    #[error(
        "has a character that is not allowed in a URL; write an international name in its xn-- form"
    )]
    Character,
    /// `user@` or `user:password@`.
    #[error("has a user name before the host, leave it out")]
    UserInfo,
    /// A path in an origin.
    #[error("has a path, write only scheme, host and port")]
    Path,
    /// A query in an origin.
    #[error("has a query, write only scheme, host and port")]
    Query,
    /// A fragment.
    #[error("has a fragment, leave out # and what follows")]
    Fragment,
    /// No host.
    #[error("has no host, write one after ://")]
    NoHost,
    /// A host that is neither a name nor an address.
    #[error("has a host that is neither a domain name, nor an IPv4 address, nor an IPv6 address in brackets")]
    Host,
    /// Not a port number.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
}

/// The hosts for which plain `http` is allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlainHttp {
    LoopbackOnly,
    Anywhere,
}

impl Origin {
    /// Reads a public origin: `https`, or `http` on loopback. Case is folded, the default port and
    /// one `/` at the end are dropped.
    ///
    /// # Errors
    ///
    /// [`OriginError`], which says what to write instead.
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        Origin::parse_as(text, PlainHttp::LoopbackOnly)
    }

    /// Reads an internal origin: as [`Origin::parse`], but `http` is allowed anywhere, and so are
    /// `_` in a name, which container networks use, and a dot at its end.
    ///
    /// # Errors
    ///
    /// [`OriginError`], which says what to write instead.
    pub fn parse_internal(text: &str) -> Result<Origin, OriginError> {
        Origin::parse_as(text, PlainHttp::Anywhere)
    }

    /// Refuses an endpoint that no value of its variables (`$name` or `${name}`) can make valid. One that
    /// begins with a variable is not checked.
    ///
    /// # Errors
    ///
    /// [`OriginError`], which says what to write instead.
    pub fn check_template(text: &str) -> Result<(), OriginError> {
        if text.starts_with('$') {
            return Ok(());
        }
        let filled = |value: &str| {
            let mut parts = text.split('$');
            let mut filled = parts.next().unwrap_or_default().to_string();
            for part in parts {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                // Behind a colon stands a port.
                filled.push_str(if filled.ends_with(':') { "1" } else { value });
                filled.push_str(match part.strip_prefix('{') {
                    Some(braced) => braced.split_once('}').map_or("", |(_, rest)| rest),
                    None => part.trim_start_matches(is_name),
                });
            }
            filled
        };
        // A variable may stand for a part of a name or of an address.
        match (Origin::parse(&filled("x")), Origin::parse(&filled("1"))) {
            // The name may be one of loopback.
            (Ok(_) | Err(OriginError::PlainHttp), _) | (_, Ok(_)) => Ok(()),
            (Err(error), _) => Err(error),
        }
    }

    fn parse_as(text: &str, plain_http: PlainHttp) -> Result<Origin, OriginError> {
        let (origin, rest) = split(text, plain_http)?;
        match rest.as_bytes() {
            b"" | b"/" => Ok(origin),
            [b'?', ..] | [b'/', b'?', ..] => Err(OriginError::Query),
            [b'#', ..] | [b'/', b'#', ..] => Err(OriginError::Fragment),
            _ => Err(OriginError::Path),
        }
    }

    /// The origin as text, without a `/` at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of a `Host` header: `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.text[self.scheme().len() + "://".len()..]
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.is_https {
            "https"
        } else {
            "http"
        }
    }

    /// Tells whether the host is `localhost`, in 127.0.0.0/8, or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Tells whether others can read and change the traffic: plain `http`, off loopback.
    pub fn is_exposed(&self) -> bool {
        !self.is_https && !self.is_loopback
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Url {
    /// Reads a URL with `https` or `http`. Plain `http` off loopback is the caller's to judge: see
    /// [`Origin::is_exposed`].
    ///
    /// # Errors
    ///
    /// [`OriginError`], which says what to write instead. A path and a query are allowed, a
    /// fragment is not.
    pub fn parse(text: &str) -> Result<Url, OriginError> {
        let (origin, rest) = split(text, PlainHttp::Anywhere)?;
        if rest.contains('#') {
            return Err(OriginError::Fragment);
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Ok(Url {
            origin,
            path: [slash, rest].concat().into(),
        })
    }

    /// The URL of a path at an origin. The path begins with `/`.
    pub(super) fn at(origin: &Origin, path: &str) -> Url {
        Url {
            origin: origin.clone(),
            path: path.into(),
        }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// All of it, with the query, which may be private: not for the log.
    pub(super) fn whole(&self) -> String {
        [self.origin.as_str(), &self.path].concat()
    }

    /// Path and query; begins with `/`.
    pub fn path_and_query(&self) -> &str {
        &self.path
    }
}

/// Shows the URL without its query, which may be private.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self
            .path
            .split_once('?')
            .map_or(&*self.path, |(path, _)| path);
        write!(f, "{}{path}", self.origin)
    }
}

/// Splits a URL after its authority; the rest is empty or begins with `/`, `?` or `#`.
fn split(text: &str, plain_http: PlainHttp) -> Result<(Origin, &str), OriginError> {
    let is_allowed = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{'..=b'}')
    };
    let (is_https, rest) = match strip_scheme(text) {
        Some(split) => split,
        None => return Err(OriginError::Scheme),
    };
    if !rest.bytes().all(is_allowed) {
        return Err(OriginError::Character);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.contains('@') {
        return Err(OriginError::UserInfo);
    }
    let (host, port) = split_port(authority)?;
    if host.is_empty() {
        return Err(OriginError::NoHost);
    }
    let host = Host::parse(host, plain_http == PlainHttp::Anywhere).ok_or(OriginError::Host)?;
    let default_port = if is_https { 443 } else { 80 };
    let mut origin = format!(
        "{}://{}",
        if is_https { "https" } else { "http" },
        host.text
    );
    if let Some(port) = port.filter(|&port| port != default_port) {
        origin.push_str(&format!(":{port}"));
    }
    if !is_https && plain_http == PlainHttp::LoopbackOnly && !host.is_loopback {
        return Err(OriginError::PlainHttp);
    }
    Ok((
        Origin {
            text: origin.into(),
            is_https,
            is_loopback: host.is_loopback,
        },
        rest,
    ))
}

/// Splits a URL: `true` for `https`, `false` for `http`, and the text behind `://`.
fn strip_scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.eq_ignore_ascii_case("https") {
        Some((true, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Some((false, rest))
    } else {
        None
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginError> {
    // The colons of an IPv6 address stand before its bracket.
    let from = match authority.strip_prefix('[') {
        Some(_) => authority.rfind(']').ok_or(OriginError::Host)?,
        None => 0,
    };
    let Some(colon) = authority[from..].find(':').map(|at| from + at) else {
        return Ok((authority, None));
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if is_number && port != 0 => Ok((host, Some(port))),
        _ => Err(OriginError::Port),
    }
}

#[cfg(test)]
mod tests;
