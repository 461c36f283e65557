//! Parsers that have no public face, for the targets in `fuzz/`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Object};
use crate::keys::fetch;
use crate::keys::{Origin, Url};
use crate::revocation::journal::{self, Loaded};
use crate::revocation::stream::{self, Message};

/// The names and values of a token's header or payload, in their order; `None` for what is malformed.
pub fn json_members(text: &[u8]) -> Option<Vec<(Vec<u8>, &RawValue)>> {
    let object = Object::parse_strict(text).ok()?;
    let members = object.iter().map(|(name, value)| (name.to_vec(), value));
    Some(members.collect())
}

/// The text of a JSON string.
pub fn json_string(value: &RawValue) -> Option<Cow<'_, str>> {
    json::string(value)
}

/// The texts of a JSON array of strings.
pub fn json_strings(value: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    json::strings(value)
}

/// A value as a variable shows it.
pub fn json_shown(value: &RawValue) -> Option<String> {
    json::shown(value)
}

/// A value without white space.
pub fn json_compact(value: &RawValue) -> String {
    json::compact(value.get())
}

/// The URL of the key set, by a discovery document of the endpoint; else the mistake in it.
///
/// # Errors
///
/// The text of the log line.
pub fn jwks_uri(document: &[u8], endpoint: &Origin) -> Result<Url, String> {
    fetch::jwks_uri(document, endpoint)
}

/// The revocations that still count in the text of a file.
pub fn read_journal(text: &[u8], now: u64, keep: u64) -> Loaded {
    journal::read(text, now, keep)
}

/// The text of a file that holds no more than that.
pub fn write_journal(loaded: &Loaded) -> String {
    journal::rewritten(loaded)
}

/// The messages of a reply in Redis' protocol, read as the answer to `XREAD` and to `ZRANGEBYSCORE`.
pub fn read_reply(reply: &[u8]) -> [Option<Vec<Message>>; 2] {
    stream::read_reply(reply)
}

/// A message after it was written to the sorted set and read again.
pub fn kept_message(message: &Message) -> Option<Message> {
    Message::from_member(&message.member(), message.until)
}
