//! Revocations shared between nodes through Redis: a stream of what was just told, and beside it all that still
//! counts.
//!
//! A message is a webhook as Authgear signed it, so that Redis need not be trusted: each node checks the
//! signature itself. All of it blocks, for at most the times below.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates,
};

use crate::text::printable;

/// For connecting, name look-up aside, and logging in.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a read waits for the next message, in milliseconds.
const BLOCK: usize = 1000;
/// Without a reply for so long, a connection is broken.
const BROKEN: Duration = Duration::from_secs(3);
/// About how many messages the stream holds. A node that missed more learns all that counts anew.
const MOST: usize = 100_000;

/// A Redis server and the keys in it.
#[derive(Clone)]
pub struct Address {
    client: Client,
    stream: String,
    kept: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client holds the password.
        f.debug_struct("Address")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// The mistake in an address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("must begin with redis:// or rediss://, as redis://127.0.0.1:6379")]
    Scheme,
    /// A password in it, which a configuration shows to everyone who may read it.
    #[error("holds a user or password; write \"credentials=path\" with a file of user:password")]
    Credentials,
    /// Not a host, a port and a database.
    #[error("is no address of Redis; write redis://host:port, or redis://host:port/database")]
    Url,
    /// The file of credentials is none.
    #[error("\"credentials\" must name a file that holds user:password in one line")]
    CredentialsFile,
    /// The file of certificates is none.
    #[error("\"ca\" must name a file of certificates in PEM")]
    Ca,
    /// `ca` without TLS.
    #[error("has \"ca\" and plain redis://; write rediss://")]
    CaWithoutTls,
}

impl Address {
    /// Reads a URL. `credentials` is the content of a file that holds `user:password`; `ca` certificates in PEM,
    /// without which the system's are trusted.
    ///
    /// # Errors
    ///
    /// See [`AddressError`].
    pub fn parse(
        url: &str,
        key: &str,
        credentials: Option<&[u8]>,
        ca: Option<Vec<u8>>,
    ) -> Result<Address, AddressError> {
        let is_tls = url.starts_with("rediss://");
        if !is_tls && !url.starts_with("redis://") {
            return Err(AddressError::Scheme);
        }
        if url.contains('@') {
            return Err(AddressError::Credentials);
        }
        let mut info = url
            .into_connection_info()
            .ok()
            .filter(|info| is_address(url, info))
            .ok_or(AddressError::Url)?;
        if let Some(file) = credentials {
            let line = str::from_utf8(file).map_err(|_| AddressError::CredentialsFile)?;
            let line = line.trim_end_matches(['\r', '\n']);
            let (user, password) = line.split_once(':').ok_or(AddressError::CredentialsFile)?;
            if line.contains('\n') || password.is_empty() {
                return Err(AddressError::CredentialsFile);
            }
            let mut settings = info.redis_settings().clone().set_password(password);
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
            info = info.set_redis_settings(settings);
        }
        let client = match ca {
            Some(_) if !is_tls => return Err(AddressError::CaWithoutTls),
            Some(root_cert) => {
                let root_cert = Some(root_cert);
                let client_tls = None;
                Client::build_with_tls(
                    info,
                    TlsCertificates {
                        client_tls,
                        root_cert,
                    },
                )
                .map_err(|_| AddressError::Ca)?
            }
            None => Client::open(info).map_err(|_| AddressError::Url)?,
        };
        Ok(Address {
            client,
            stream: key.to_string(),
            // The braces keep both keys on one server of a cluster.
            kept: format!("{{{key}}}:kept"),
        })
    }
}

/// False for what the library ignores, or takes for a setting of its own.
fn is_address(url: &str, info: &ConnectionInfo) -> bool {
    let (ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. }) = info.addr() else {
        return false;
    };
    *port > 0 && info.redis_settings().db() >= 0 && !url.contains(['?', '#'])
}

/// The error of a connection, or what the server said, as text for a log line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(String);

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> LinkError {
        if error.is_timeout() {
            return LinkError("time-out: Redis does not answer".to_string());
        }
        LinkError(printable(&error.to_string()))
    }
}

/// A webhook to be shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// The endpoint of the project that it came for.
    pub endpoint: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// Its signature, in lower-case hex.
    pub signature: String,
    /// The last second at which it counts, in Unix time.
    pub until: u64,
}

impl Message {
    /// The signed parts, by which messages are compared. `until` is not signed.
    #[must_use]
    pub fn identity(&self) -> (&str, &[u8], &str) {
        (&self.endpoint, &self.body, &self.signature)
    }

    /// The form in which it is kept beside the stream.
    pub(crate) fn member(&self) -> Vec<u8> {
        let head = format!("{}\n{}\n", self.signature, self.endpoint);
        [head.as_bytes(), &self.body].concat()
    }

    /// The message as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.until.to_be_bytes()[..], &self.member()].concat()
    }

    /// The message of such bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Message> {
        let (until, member) = bytes.split_first_chunk()?;
        Message::from_member(member, u64::from_be_bytes(*until))
    }

    pub(crate) fn from_member(member: &[u8], until: u64) -> Option<Message> {
        let mut parts = member.splitn(3, |byte| *byte == b'\n');
        let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
        let (signature, endpoint) = (text()?, text()?);
        Some(Message {
            endpoint,
            body: parts.next()?.to_vec(),
            signature,
            until,
        })
    }
}

/// A connection.
pub struct Link {
    connection: Connection,
    stream: String,
    kept: String,
    /// The last entry of the stream that was read.
    last: String,
}

/// Entries of streams, as `XREAD` and `XREVRANGE` answer. Who can write to Redis may have added any bytes.
type Entries = Vec<(String, HashMap<Vec<u8>, Vec<u8>>)>;

/// The answer to `XREAD`.
type Streams = Option<Vec<(String, Entries)>>;

/// The answer to `ZRANGEBYSCORE`: members and their scores.
type Members = Vec<(Vec<u8>, f64)>;

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn open(address: &Address) -> Result<Link, LinkError> {
        let connection = address.client.get_connection_with_timeout(CONNECT)?;
        connection.set_read_timeout(Some(BROKEN))?;
        connection.set_write_timeout(Some(BROKEN))?;
        Ok(Link {
            connection,
            stream: address.stream.clone(),
            kept: address.kept.clone(),
            last: "0-0".to_string(),
        })
    }

    /// Writes messages, and forgets those that no longer count at `now`, in Unix seconds.
    ///
    /// # Errors
    ///
    /// Those of the connection, or of the server, which may be out of memory.
    pub fn publish(&mut self, messages: &[Message], now: u64) -> Result<(), LinkError> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for message in messages {
            pipe.cmd("XADD")
                .arg(&self.stream)
                .arg("MAXLEN")
                .arg("~")
                .arg(MOST)
                .arg("*")
                .arg("endpoint")
                .arg(&message.endpoint)
                .arg("body")
                .arg(&message.body)
                .arg("signature")
                .arg(&message.signature)
                .arg("until")
                .arg(message.until)
                .ignore();
            pipe.cmd("ZADD")
                .arg(&self.kept)
                .arg(message.until)
                .arg(message.member())
                .ignore();
        }
        pipe.cmd("ZREMRANGEBYSCORE")
            .arg(&self.kept)
            .arg("-inf")
            .arg(format!("({now}"))
            .ignore();
        Ok(pipe.query(&mut self.connection)?)
    }

    /// All that counts at `now`, in Unix seconds. [`Link::await_news`] goes on behind it.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn learn(&mut self, now: u64) -> Result<Vec<Message>, LinkError> {
        let newest: Entries = redis::cmd("XREVRANGE")
            .arg(&self.stream)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query(&mut self.connection)?;
        if let Some((id, _)) = newest.into_iter().next() {
            self.last = id;
        }
        let members: Members = redis::cmd("ZRANGEBYSCORE")
            .arg(&self.kept)
            .arg(now)
            .arg("+inf")
            .arg("WITHSCORES")
            .query(&mut self.connection)?;
        Ok(kept(members))
    }

    /// The next messages; none after a second without one.
    ///
    /// # Errors
    ///
    /// Those of the connection; also when nothing at all comes for three seconds.
    pub fn await_news(&mut self) -> Result<Vec<Message>, LinkError> {
        let streams: Streams = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(1000)
            .arg("BLOCK")
            .arg(BLOCK)
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(&self.last)
            .query(&mut self.connection)?;
        Ok(news(streams, &mut self.last))
    }
}

/// The messages of an `XREAD`, and the last entry's id; entries that are no messages are left out.
fn news(streams: Streams, last: &mut String) -> Vec<Message> {
    let mut messages = Vec::new();
    let entries = streams.into_iter().flatten();
    for (id, mut fields) in entries.flat_map(|(_, entries)| entries) {
        *last = id;
        let mut field = |name: &str| fields.remove(name.as_bytes());
        let mut text = |name| String::from_utf8(field(name)?).ok();
        let texts = (text("endpoint"), text("signature"), text("until"));
        if let ((Some(endpoint), Some(signature), Some(until)), Some(body)) = (texts, field("body"))
        {
            messages.push(Message {
                endpoint,
                body,
                signature,
                until: until.parse().unwrap_or(0),
            });
        }
    }
    messages
}

/// The messages of a `ZRANGEBYSCORE`.
fn kept(members: Members) -> Vec<Message> {
    let message = |(member, until): (Vec<u8>, f64)| Message::from_member(&member, until as u64);
    members.into_iter().filter_map(message).collect()
}

/// Both readings of a reply in Redis' protocol.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_reply(reply: &[u8]) -> [Option<Vec<Message>>; 2] {
    let value = redis::parse_redis_value(reply).ok();
    let streams = value
        .clone()
        .and_then(|value| redis::from_redis_value(value).ok());
    let members = value.and_then(|value| redis::from_redis_value(value).ok());
    [
        streams.map(|streams| news(streams, &mut String::new())),
        members.map(kept),
    ]
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_a_server_says_of_an_error_stays_on_one_line() {
        let said = "evil\n2026/01/01 00:00:00 [alert] forged\x1b[31m";
        let error: RedisError = (redis::ErrorKind::Io, "said", said.to_string()).into();
        let text = LinkError::from(error).to_string();
        assert!(text.contains(r"evil\n2026/01/01"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_a_time_out() {
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
            let text = LinkError::from(RedisError::from(io::Error::from(kind))).to_string();
            assert_eq!(text, "time-out: Redis does not answer");
        }
    }

    #[test]
    fn a_message_is_the_same_after_it_was_kept() {
        let message = Message {
            endpoint: "https://a.example".to_string(),
            body: b"{\n\"a\": \"\xff\n\"}".to_vec(),
            signature: "0f".to_string(),
            until: 1_800_000_000,
        };
        let bytes = message.to_bytes();
        assert_eq!(Message::from_bytes(&bytes), Some(message));
        assert_eq!(Message::from_bytes(&bytes[..7]), None);
        assert_eq!(Message::from_bytes(&bytes[..12]), None);
    }
}
