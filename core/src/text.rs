//! Text of unknown origin, made fit for one log line.

use std::fmt;

use arrayvec::ArrayVec;

/// Texts put together for a moment: on the stack, unless that is more than credentials and what
/// Authgear says of a user usually take.
#[derive(Default)]
pub struct Joined {
    short: ArrayVec<u8, 512>,
    /// All of it, once it does not fit.
    long: Vec<u8>,
}

impl Joined {
    pub(crate) fn push(&mut self, text: &[u8]) {
        if self.long.is_empty() {
            if self.short.try_extend_from_slice(text).is_ok() {
                return;
            }
            self.long.extend_from_slice(&self.short);
        }
        self.long.extend_from_slice(text);
    }

    pub(crate) fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self.long.is_empty() {
            true => &self.short,
            false => &self.long,
        }
    }
}

/// Shows the beginning of a text between double quotes, with control characters, quotes and
/// backslashes escaped.
pub(crate) struct Quoted<'a>(pub &'a str);

/// How many characters of a foreign text a log line shows.
const SHOWN: usize = 64;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        f.write_str("\"")?;
        for c in rest.by_ref().take(SHOWN) {
            write!(f, "{}", c.escape_debug())?;
        }
        f.write_str(if rest.next().is_some() { "\"..." } else { "\"" })
    }
}

/// Foreign text for a log line: control characters escaped, and cut off where it gets long.
pub(crate) fn printable(text: &str) -> String {
    const SHOWN: usize = 256;
    let mut rest = text.chars();
    let mut out = String::new();
    for c in rest.by_ref().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    if rest.next().is_some() {
        out.push_str("...");
    }
    out
}

/// Whether every byte is good. The compiler looks at many bytes at a time if `is_good` branches
/// nowhere.
pub(crate) fn all(bytes: &[u8], is_good: impl Fn(u8) -> bool) -> bool {
    const PIECE: usize = 32;
    let are_good = |piece: &[u8]| piece.iter().fold(true, |good, &b| good & is_good(b));
    // What is left of a long text is looked at with what stands before it.
    if let Some(last) = bytes.last_chunk::<PIECE>() {
        return bytes.chunks_exact(PIECE).all(are_good) && are_good(last);
    }
    let Some(first) = bytes.first() else {
        return true;
    };
    let mut padded = [*first; PIECE];
    padded[..bytes.len()].copy_from_slice(bytes);
    are_good(&padded)
}

/// Drops spaces and tabs at both ends, as optional white space in a header (RFC 9110, section
/// 5.6.3).
pub fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether a character would end or split a header or a log line: below 0x20, or 0x7f.
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20) | (byte == 0x7f)
}

/// Whether a byte is a letter, a digit, a mark or the space of ASCII.
pub(crate) fn is_printable_ascii(byte: u8) -> bool {
    byte.wrapping_sub(b' ') <= b'~' - b' '
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_texts_are_whole_at_any_length() {
        for length in [0, 1, 200, 255, 256, 257, 511, 512, 513, 2000] {
            let texts = [vec![1; length], vec![2; 256], vec![], vec![3; length]];
            let mut joined = Joined::default();
            texts.iter().for_each(|text| joined.push(text));
            assert_eq!(joined.bytes(), texts.concat(), "{length}");
        }
    }

    #[test]
    fn one_bad_byte_is_found_wherever_it_stands() {
        for length in 0..100 {
            let mut text = vec![b'a'; length];
            assert!(all(&text, |b| b == b'a'), "{length}");
            for place in 0..length {
                text[place] = b'b';
                assert!(!all(&text, |b| b == b'a'), "{place} of {length}");
                text[place] = b'a';
            }
        }
    }

    #[test]
    fn printable_text_stays_on_one_line_too() {
        assert_eq!(printable("a \"b\" \\ \u{e9}"), "a \"b\" \\ \u{e9}");
        assert_eq!(printable("a\r\nb\x1b"), "a\\r\\nb\\u{1b}");
        assert_eq!(printable(&"x".repeat(256)), "x".repeat(256));
        assert_eq!(printable(&"x".repeat(257)), "x".repeat(256) + "...");
    }

    #[test]
    fn quoted_text_stays_on_one_line() {
        for (text, shown) in [
            ("abc", r#""abc""#),
            ("", r#""""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\r\nb\0\x7f", r#""a\r\nb\0\u{7f}""#),
            ("\u{202e}x", r#""\u{202e}x""#),
        ] {
            assert_eq!(Quoted(text).to_string(), shown);
        }
        assert_eq!(
            Quoted(&"x".repeat(64)).to_string(),
            format!("\"{}\"", "x".repeat(64))
        );
        assert_eq!(
            Quoted(&"x".repeat(65)).to_string(),
            format!("\"{}\"...", "x".repeat(64))
        );
    }
}
