//! JSON as tokens use it: objects member by member, values left as they were written.
//!
//! Values are kept as text (`RawValue`) and read on demand, so that numbers stay digit for digit
//! and a claim that nobody asks for costs nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::is_control;

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
    if is_too_deep(text.as_bytes()) {
        return Err(Malformed);
    }
    let mut names = Vec::with_capacity(24);
    members(text, |name, value| {
        each(&name, value);
        names.push(name);
    })
    .map_err(|_| Malformed)?;
    // Sorting keeps the search for a repeated name below quadratic, however many names a token
    // brings.
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Malformed);
    }
    Ok(())
}

/// Whether arrays and objects nest deeper than [`MAX_DEPTH`].
///
/// Needed beside the parser, which skips over a value that stays text without counting. Exact on
/// valid JSON; on any other text the parser finds the error.
fn is_too_deep(text: &[u8]) -> bool {
    // Few brackets cannot nest deeply, and counting them is much faster than following strings.
    if text.iter().filter(|&&b| b == b'{' || b == b'[').count() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0usize;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Moves past the end of a string whose opening quote was just read.
fn skip_string<'a>(bytes: &mut impl Iterator<Item = &'a u8>) {
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// Hands each member of an object to `each`, in the order of the text, repeated names included.
fn members<'a>(text: &'a str, each: impl FnMut(Name<'a>, &'a str)) -> serde_json::Result<()> {
    let mut parser = serde_json::Deserializer::from_str(text);
    parser.deserialize_map(Members(each))?;
    parser.end()
}

struct Members<F>(F);

impl<'de, F: FnMut(Name<'de>, &'de str)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        // Names too are read as text first: only that way does the parser refuse raw control
        // characters in a name that is no Unicode text.
        while let Some(name) = map.next_key::<&RawValue>()? {
            let name = unescaped(name.get()).map_err(A::Error::custom)?;
            self.0(name, map.next_value::<&RawValue>()?.get());
        }
        Ok(())
    }
}

/// What a string's text holds, as bytes.
fn unescaped(value: &str) -> serde_json::Result<Name<'_>> {
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
    match plain(value) {
        Some(name) => Ok(Cow::Borrowed(name.as_bytes())),
        None => serde_json::Deserializer::from_str(value).deserialize_bytes(Bytes),
    }
}

/// What a string's text holds, if it holds no escape.
fn plain(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

/// The value of that member, as text. Of a repeated name the last, as most JSON parsers have it.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    if !object.starts_with('{') {
        return None;
    }
    let mut found = None;
    members(object, |each, value| {
        if *each == *name.as_bytes() {
            found = Some(value);
        }
    })
    .ok()?;
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

/// The elements of an array, as text; `None` for any other type.
pub(crate) fn elements(value: &str) -> Option<Vec<&str>> {
    if !value.starts_with('[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// Hands each string of the array that a value's text holds to `each`; `None` for any other type,
/// and as [`string`].
pub(crate) fn each_string<'a>(value: &'a str, each: impl FnMut(Cow<'a, str>)) -> Option<()> {
    struct Strings<F>(F);

    impl<'de, F: FnMut(Cow<'de, str>)> Visitor<'de> for Strings<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of strings")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
            while let Some(element) = array.next_element::<&RawValue>()? {
                let text = element.get();
                let text = text.starts_with('"').then(|| string(text)).flatten();
                self.0(text.ok_or_else(|| A::Error::custom("no string"))?);
            }
            Ok(())
        }
    }
    let mut parser = serde_json::Deserializer::from_str(value);
    parser.deserialize_seq(Strings(each)).ok()?;
    parser.end().ok()
}

/// Whether a valid JSON text may have white space between its tokens, or holds a 0x7f. May say yes
/// of a text whose strings look like it, and never says no by mistake: such white space stands at
/// either end, or has a bracket, comma or colon on one side.
pub(crate) fn may_be_loose(json: &str) -> bool {
    let is_blank = |b: u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
    let is_mark = |b: u8| matches!(b, b'{' | b'}' | b'[' | b']' | b',' | b':');
    let bytes = json.as_bytes();
    let [first, rest @ ..] = bytes else {
        return false;
    };
    let pairs = bytes.iter().zip(rest);
    is_blank(*first)
        | bytes.last().is_some_and(|&last| is_blank(last))
        | memchr::memchr(0x7f, bytes).is_some()
        | pairs.fold(false, |found, (&a, &b)| {
            found | (is_blank(a) & is_mark(b)) | (is_mark(a) & is_blank(b))
        })
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
            let elements = elements(value)?;
            if elements.iter().all(|element| element.starts_with('"')) {
                let strings: Option<Vec<_>> = elements.into_iter().map(string).collect();
                percent_encode(&strings?.join(","))
            } else {
                compact(value).into_owned()
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
