//! Text from outside: escaped for log lines, trimmed, checked for control characters.

use std::fmt;

/// Shows the beginning of a text between double quotes, with control characters, quotes and
/// backslashes escaped.
pub(crate) struct Quoted<'a>(pub &'a str);

/// The most characters of a foreign text that a log line shows.
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

/// Drops spaces and tabs at both ends, as optional white space in a header (RFC 9110, section
/// 5.6.3).
pub fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Tells whether a character would end or split a header or a log line: below 0x20, or 0x7f.
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20) | (byte == 0x7f)
}

/// Tells whether a text holds such a character. It looks at all of them, so that the compiler can compare
/// many at once.
pub(crate) fn has_control(text: &str) -> bool {
    text.bytes().fold(false, |has, byte| has | is_control(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

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
