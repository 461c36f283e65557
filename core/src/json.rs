//! JSON as tokens use it: objects member by member, values left as they were written.
//!
//! Values are kept as text and read on demand, so that numbers stay digit for digit and a claim that
//! nobody asks for costs little. The scanner is held to serde_json's judgement by a test.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{Deserializer, Error, Visitor};

use crate::fingerprint::mixed;
use crate::text::{all, is_control};
use scan::Scanner;

mod scan;

/// How deep arrays and objects may nest; the outermost object counts.
pub(crate) const MAX_DEPTH: usize = 64;

/// The text is not one JSON object, nests too deeply, or has a name twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A member's name, unescaped. Bytes, since an escape may stand for half a surrogate pair.
type Name<'a> = Cow<'a, [u8]>;

/// A value as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) text: &'a str,
    /// Whether it is known that there is no backslash and no control character in it, so that each
    /// string stands for itself.
    pub(crate) is_plain: bool,
}

impl<'a> Value<'a> {
    /// A text that nobody has looked at.
    pub(crate) fn new(text: &'a str) -> Self {
        let is_plain = all(text.as_bytes(), |b| !is_control(b) & (b != b'\\'));
        Value { text, is_plain }
    }

    fn part(self, text: &'a str) -> Self {
        Value { text, ..self }
    }
}

/// What is known of a text that has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Whether there is no white space between its tokens and no 0x7f anywhere.
    pub(crate) is_compact: bool,
}

/// Hands each member of the object to `each`, and holds the whole text to the limits of tokens: one
/// object without trailing bytes, at most [`MAX_DEPTH`] deep, whose own names are all different.
pub(crate) fn strict_object<'a>(
    object: Value<'a>,
    mut each: impl FnMut(&[u8], Value<'a>),
) -> Result<Object, Malformed> {
    let (mut seen, mut may_repeat) = (Seen::default(), false);
    let is_tight = members(object, |name, value| {
        may_repeat |= seen.meet(&name);
        each(&name, value);
    })
    .ok_or(Malformed)?;
    if may_repeat && has_repeated_name(object) {
        return Err(Malformed);
    }
    Ok(Object {
        is_compact: is_tight && (object.is_plain || !object.text.contains('\x7f')),
    })
}

/// Names that have been met, a bit for each. Two names may have the same bit.
struct Seen([u64; 64]);

impl Default for Seen {
    fn default() -> Self {
        Seen([0; 64])
    }
}

impl Seen {
    /// Whether a name with the same bit has been met before.
    fn meet(&mut self, name: &[u8]) -> bool {
        let mixed = mixed(key(name));
        let (word, bit) = (&mut self.0[(mixed >> 58) as usize], mixed >> 52 & 63);
        let was_met = *word >> bit & 1 == 1;
        *word |= 1 << bit;
        was_met
    }
}

/// A number by which most names differ: their length, and the eight bytes at both ends.
pub(crate) const fn key(name: &[u8]) -> u64 {
    let ends = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(7)
        }
        _ => {
            let (mut all, mut at) = (0, 0);
            while at < name.len() {
                all = all << 8 | name[at] as u64;
                at += 1;
            }
            all
        }
    };
    ends ^ name.len() as u64
}

/// Sorting keeps the search below quadratic, however many names a token brings.
#[cold]
fn has_repeated_name(object: Value<'_>) -> bool {
    let mut names = Vec::new();
    members(object, |name, _| names.push(name));
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Hands each member of an object to `each`, in the order of the text, repeated names included; says
/// whether it met no white space between tokens. `None` if the text is anything but one object.
fn members<'a>(object: Value<'a>, mut each: impl FnMut(Name<'a>, Value<'a>)) -> Option<bool> {
    let mut scanner = Scanner::new(object);
    scanner.pass(b'{')?;
    let mut more = !scanner.pass_if(b'}');
    while more {
        let name = scanner.name()?;
        let name = match object.is_plain || memchr(b'\\', name.as_bytes()).is_none() {
            true => Cow::Borrowed(&name.as_bytes()[1..name.len() - 1]),
            false => unescaped(name)?,
        };
        each(name, object.part(scanner.value()?));
        more = scanner.another(b'}')?;
    }
    scanner.end()
}

/// Hands each element of an array to `each`; `None` if the text is anything but one array.
fn elements<'a>(array: Value<'a>, mut each: impl FnMut(Value<'a>) -> Option<()>) -> Option<()> {
    let mut scanner = Scanner::new(array);
    scanner.pass(b'[')?;
    let mut more = !scanner.pass_if(b']');
    while more {
        each(array.part(scanner.value()?))?;
        more = scanner.another(b']')?;
    }
    scanner.end().map(drop)
}

/// What a string's text holds, as bytes.
fn unescaped(value: &str) -> Option<Name<'_>> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Name<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name")
        }

        fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(name))
        }

        fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
            Ok(Cow::Owned(name.to_vec()))
        }
    }
    let mut parser = serde_json::Deserializer::from_str(value);
    parser.deserialize_bytes(Bytes).ok()
}

/// The value of that member. Of a repeated name the last, as most JSON parsers have it.
pub(crate) fn member<'a>(object: Value<'a>, name: &str) -> Option<Value<'a>> {
    let mut found = None;
    members(object, |each, value| {
        if *each == *name.as_bytes() {
            found = Some(value);
        }
    })?;
    found
}

/// The string that a value's text holds; `None` for any other type, and for a string that is no
/// Unicode text because an escape stands for half a surrogate pair.
pub(crate) fn string(value: Value<'_>) -> Option<Cow<'_, str>> {
    let text = value.text.strip_prefix('"')?.strip_suffix('"')?;
    if value.is_plain || memchr(b'\\', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(value.text).ok().map(Cow::Owned)
}

/// Hands each string of the array that a value's text holds to `each`; `None` for any other type,
/// as [`string`], and once `each` says so.
pub(crate) fn each_string<'a>(
    array: Value<'a>,
    mut each: impl FnMut(Cow<'a, str>) -> Option<()>,
) -> Option<()> {
    elements(array, |element| each(string(element)?))
}

/// A valid JSON text without white space between its tokens, and with 0x7f escaped, which JSON
/// itself lets through.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            '\x7f' => out.push_str("\\u007f"),
            ' ' | '\t' | '\n' | '\r' if !in_string => {}
            _ => out.push(c),
        }
        // A quote ends a string unless a backslash that is not itself escaped stands before it.
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
    }
    out
}

/// A value as the text of a variable: strings as they are with control characters percent-encoded,
/// numbers and booleans as written, arrays of strings joined by `,`, anything else as compact JSON.
///
/// `None` for what is empty then (`null`, `[]`, `""`), and for a string that is no Unicode text.
pub(crate) fn shown(value: Value<'_>) -> Option<String> {
    let text = match value.text.as_bytes().first()? {
        b'n' => return None,
        b'"' => percent_encode(&string(value)?),
        b'[' => {
            let (mut strings, mut others) = (Vec::new(), false);
            elements(value, |element| {
                match element.text.starts_with('"') {
                    true => strings.push(string(element)),
                    false => others = true,
                }
                Some(())
            })?;
            if others {
                compact(value.text)
            } else {
                let strings: Option<Vec<_>> = strings.into_iter().collect();
                percent_encode(&strings?.join(","))
            }
        }
        _ => compact(value.text),
    };
    (!text.is_empty()).then_some(text)
}

/// Percent-encodes control characters, and nothing else.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) if is_control(byte) => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
