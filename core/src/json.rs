//! JSON as tokens use it: serde_json finds the members of an object, and their values stay as they were
//! written.
//!
//! Numbers therefore stay digit for digit, and a claim that nobody asks for is never converted. The limits
//! that serde_json does not know are here: repeated names and the depth of raw values.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::reason::Reason;
use crate::text::is_control;

/// The deepest nesting of arrays and objects; the outermost object counts.
pub(crate) const MAX_DEPTH: usize = 64;

/// The members of an object, in the order of the text.
#[derive(Debug)]
pub(crate) struct Object<'a>(Vec<Member<'a>>);

#[derive(Debug)]
struct Member<'a> {
    /// Unescaped. Bytes, since an escape may stand for half a surrogate pair.
    name: Cow<'a, [u8]>,
    value: &'a RawValue,
}

impl<'a> Object<'a> {
    /// Reads a text that may name a member twice.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Reads a text within the limits of tokens.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one object in UTF-8 without trailing bytes, nests deeper than
    /// [`MAX_DEPTH`], or has a name twice.
    pub(crate) fn parse_strict(text: &'a [u8]) -> Result<Self, Reason> {
        let object = str::from_utf8(text).ok().and_then(Object::parse);
        let object = object.ok_or(Reason::Malformed)?;
        let is_too_deep = |value: &RawValue| depth(value.get()) >= MAX_DEPTH;
        if object.has_repeated_name() || object.iter().any(|(_, value)| is_too_deep(value)) {
            return Err(Reason::Malformed);
        }
        Ok(object)
    }

    /// The value of that name; of a repeated name the last, as in most JSON parsers.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut from_last = self.0.iter().rev();
        let member = from_last.find(|member| *member.name == *name.as_bytes())?;
        Some(member.value)
    }

    /// Each name and its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &'a RawValue)> {
        self.0.iter().map(|member| (&*member.name, member.value))
    }

    /// Sorts, so that a token with thousands of names costs no quadratic search.
    fn has_repeated_name(&self) -> bool {
        let mut names: SmallVec<[&[u8]; 24]> = self.iter().map(|(name, _)| name).collect();
        // Most names differ by their lengths.
        names.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((raw_name, value)) = map.next_entry::<&RawValue, _>()? {
                    members.push(Member {
                        name: unescaped(raw_name.get()).map_err(A::Error::custom)?,
                        value,
                    });
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The text of a JSON string that has no escape.
fn without_escapes(string: &str) -> Option<&str> {
    let text = string.strip_prefix('"')?.strip_suffix('"')?;
    memchr(b'\\', text.as_bytes()).is_none().then_some(text)
}

/// The bytes of a JSON string that serde_json has accepted.
fn unescaped(string: &str) -> serde_json::Result<Cow<'_, [u8]>> {
    if let Some(text) = without_escapes(string) {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Cow<'de, [u8]>;

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
    serde_json::Deserializer::from_str(string).deserialize_bytes(Bytes)
}

/// Converts a value; `None` for another type, and for a string that is no Unicode text because an escape
/// stands for half a surrogate pair.
pub(crate) fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The text of a string; `None` as in [`read`].
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    match without_escapes(value.get()) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => read(value).map(Cow::Owned),
    }
}

/// The texts of an array of strings; `None` as in [`read`].
pub(crate) fn strings(value: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    /// Borrows what has no escape, which a [`Cow`] of serde's does only as a field of a struct.
    #[derive(serde::Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let texts: Vec<Text<'_>> = serde_json::from_str(value.get()).ok()?;
    Some(texts.into_iter().map(|Text(text)| text).collect())
}

/// The bytes of a valid JSON text, each with `true` if it belongs to a string.
fn bytes_of(json: &str) -> impl Iterator<Item = (u8, bool)> + '_ {
    let (mut in_string, mut is_escaped) = (false, false);
    json.bytes().map(move |byte| {
        let was_in_string = in_string;
        // A quote ends a string unless a backslash that is not itself escaped stands before it.
        in_string ^= byte == b'"' && !is_escaped;
        is_escaped = in_string && byte == b'\\' && !is_escaped;
        (byte, was_in_string)
    })
}

/// The deepest nesting of arrays and objects in a valid JSON text; 0 for one that is too short to break
/// [`MAX_DEPTH`].
fn depth(json: &str) -> usize {
    // Each level takes two brackets.
    if !json.starts_with(['[', '{']) || json.len() < 2 * MAX_DEPTH - 2 {
        return 0;
    }
    let (mut depth, mut deepest) = (0, 0);
    for (byte, _) in bytes_of(json).filter(|(_, in_string)| !in_string) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A valid JSON text without white space between its tokens, numbers digit for digit, and with 0x7f escaped,
/// which JSON itself lets through. serde_json could write it only after converting numbers and strings.
pub(crate) fn compact(json: &str) -> String {
    let is_blank = |byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let kept = bytes_of(json).filter(|&(byte, in_string)| in_string || !is_blank(byte));
    let mut out = Vec::with_capacity(json.len());
    out.extend(kept.map(|(byte, _)| byte));
    // Without some ASCII characters it is still UTF-8.
    let out = String::from_utf8(out).unwrap_or_default();
    if out.contains('\x7f') {
        return out.replace('\x7f', "\\u007f");
    }
    out
}

/// A value as the text of a variable: strings as they are with control characters percent-encoded, numbers
/// and booleans as written, arrays of strings joined by `,`, anything else as [compact] JSON.
///
/// `None` for what is empty then (`null`, `[]`, `""`), and for a string that is no Unicode text.
pub(crate) fn shown(value: &RawValue) -> Option<String> {
    let is_string = |value: &RawValue| value.get().starts_with('"');
    let json = value.get();
    let text = match json.as_bytes().first()? {
        b'n' => return None,
        b'"' => percent_encode(&string(value)?),
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            if elements.into_iter().all(is_string) {
                percent_encode(&strings(value)?.join(","))
            } else {
                compact(json)
            }
        }
        _ => compact(json),
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
