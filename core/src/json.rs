//! JSON as tokens use it: objects member by member, values left as they were written.
//!
//! Values are kept as text and read on demand, so that numbers stay digit for digit and a claim that
//! nobody asks for costs little. The scanner is held to serde_json's judgement by a test.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr_iter};
use serde::de::{Deserializer, Error, Visitor};

use crate::text::{all, is_control};
use scan::Scanner;

mod scan;

/// How deep arrays and objects may nest; the outermost object counts.
pub(crate) const MAX_DEPTH: usize = 64;

/// The text is not one JSON object, nests too deeply, or has a name twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A member's name, unescaped. Bytes, since an escape may stand for half a surrogate pair.
pub(crate) type Name<'a> = Cow<'a, [u8]>;

/// Hands each member of the object to `each`, and holds the whole text to the limits of tokens: one
/// object without trailing bytes, at most [`MAX_DEPTH`] deep, whose own names are all different.
pub(crate) fn strict_object<'a>(
    text: &'a str,
    mut each: impl FnMut(&[u8], &'a str),
) -> Result<(), Malformed> {
    let mut names = Vec::with_capacity(24);
    members(text, |name, value| {
        each(&name, value);
        names.push(name);
    })
    .ok_or(Malformed)?;
    // Sorting keeps the search for a repeated name below quadratic, however many names a token
    // brings.
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Malformed);
    }
    Ok(())
}

/// Hands each member of an object to `each`, in the order of the text, repeated names included;
/// `None` if the text is anything but one object.
fn members<'a>(text: &'a str, mut each: impl FnMut(Name<'a>, &'a str)) -> Option<()> {
    let mut scanner = Scanner::new(text);
    scanner.pass(b'{')?;
    let mut more = !scanner.pass_if(b'}');
    while more {
        let name = match scanner.name()? {
            (name, false) => Cow::Borrowed(&name.as_bytes()[1..name.len() - 1]),
            (name, true) => unescaped(name)?,
        };
        each(name, scanner.value()?);
        more = scanner.another(b'}')?;
    }
    scanner.end()
}

/// Hands each element of an array to `each`; `None` if the text is anything but one array.
fn elements<'a>(text: &'a str, mut each: impl FnMut(&'a str) -> Option<()>) -> Option<()> {
    let mut scanner = Scanner::new(text);
    scanner.pass(b'[')?;
    let mut more = !scanner.pass_if(b']');
    while more {
        each(scanner.value()?)?;
        more = scanner.another(b']')?;
    }
    scanner.end()
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

/// What a string's text holds, if it holds no escape.
fn plain(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    memchr(b'\\', inner.as_bytes()).is_none().then_some(inner)
}

/// The value of that member, as text. Of a repeated name the last, as most JSON parsers have it.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
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
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    match plain(value) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => serde_json::from_str(value).ok().map(Cow::Owned),
    }
}

/// Hands each string of the array that a value's text holds to `each`; `None` for any other type,
/// as [`string`], and once `each` says so.
pub(crate) fn each_string<'a>(
    value: &'a str,
    mut each: impl FnMut(Cow<'a, str>) -> Option<()>,
) -> Option<()> {
    elements(value, |element| each(string(element)?))
}

/// Whether a valid JSON text may have white space between its tokens, or holds a 0x7f. May say yes
/// of a text whose strings look like it, and never says no by mistake: strings hold no white space but
/// spaces, and of those between tokens one stands at either end or beside a bracket, comma or colon.
pub(crate) fn may_be_loose(json: &str) -> bool {
    let bytes = json.as_bytes();
    let beside = |at: Option<usize>| {
        let byte = at.and_then(|at| bytes.get(at));
        byte.is_none_or(|b| b"{}[],:".contains(b))
    };
    !all(bytes, |b| !is_control(b))
        || memchr_iter(b' ', bytes).any(|at| beside(at.checked_sub(1)) || beside(Some(at + 1)))
}

/// A valid JSON text without white space between its tokens, and with 0x7f escaped, which JSON
/// itself lets through.
pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    if !may_be_loose(json) {
        return Cow::Borrowed(json);
    }
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
    Cow::Owned(out)
}

/// A value as the text of a variable: strings as they are with control characters percent-encoded,
/// numbers and booleans as written, arrays of strings joined by `,`, anything else as compact JSON.
///
/// `None` for what is empty then (`null`, `[]`, `""`), and for a string that is no Unicode text.
pub(crate) fn shown(value: &str) -> Option<String> {
    let text = match value.as_bytes().first()? {
        b'n' => return None,
        b'"' => percent_encode(&string(value)?),
        b'[' => {
            let (mut strings, mut others) = (Vec::new(), false);
            elements(value, |element| {
                match element.starts_with('"') {
                    true => strings.push(string(element)),
                    false => others = true,
                }
                Some(())
            })?;
            if others {
                compact(value).into_owned()
            } else {
                let strings: Option<Vec<_>> = strings.into_iter().collect();
                percent_encode(&strings?.join(","))
            }
        }
        _ => compact(value).into_owned(),
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
