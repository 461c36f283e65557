//! Text of unknown origin, made fit for one log line.

use std::fmt;

/// Shows the beginning of a text between double quotes, with control characters, quotes and backslashes escaped.
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

/// Whether a character would end or split a header or a log line: below 0x20, or 0x7f.
pub(crate) fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

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
