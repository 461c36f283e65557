//! Where the values of a JSON text (RFC 8259) begin and end.

use super::{Value, MAX_DEPTH};

/// A place in a text. What it has passed is JSON to the letter; nothing is unescaped or converted.
///
/// Every method passes white space first, and returns `None` where the grammar is broken.
pub(super) struct Scanner<'a> {
    text: &'a str,
    is_plain: bool,
    at: usize,
    has_blanks: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(value: Value<'a>) -> Self {
        Scanner {
            text: value.text,
            is_plain: value.is_plain,
            at: 0,
            has_blanks: false,
        }
    }

    /// Passes that byte.
    pub(super) fn pass(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// Passes that byte if it comes next; says whether it did.
    pub(super) fn pass_if(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Passes the comma after a member or element, or the bracket that ends them all; says whether
    /// another follows.
    pub(super) fn another(&mut self, end: u8) -> Option<bool> {
        match self.next()? {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    /// Nothing may be left. Says whether there was no white space.
    pub(super) fn end(&mut self) -> Option<bool> {
        self.peek().is_none().then_some(!self.has_blanks)
    }

    /// Passes a member's name and its colon; the name is as it was written, with its quotes.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        self.blanks();
        let start = self.at;
        self.string()?;
        let name = self.text.get(start..self.at)?;
        self.pass(b':')?;
        Some(name)
    }

    /// Passes a value, in which arrays and objects nest less than [`MAX_DEPTH`] deep.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' | b'[' => self.composite()?,
            _ => self.scalar(first)?,
        }
        self.text.get(start..self.at)
    }

    #[inline(always)]
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    #[inline(never)]
    fn composite(&mut self) -> Option<()> {
        let mut open = Open::default();
        loop {
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    open.push(true)?;
                    if !self.pass_if(b'}') {
                        self.name()?;
                        continue;
                    }
                    open.pop();
                }
                b'[' => {
                    self.at += 1;
                    open.push(false)?;
                    if !self.pass_if(b']') {
                        continue;
                    }
                    open.pop();
                }
                first => self.scalar(first)?,
            }
            // A value has ended, and perhaps what it stands in.
            loop {
                let Some(is_object) = open.innermost() else {
                    return Some(());
                };
                if self.another(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.name()?;
                    }
                    break;
                }
                open.pop();
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
            self.has_blanks = true;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.byte()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.as_bytes().get(self.at..)?;
        self.at += word.len();
        found.starts_with(word.as_bytes()).then_some(())
    }

    /// `-? (0 | [1-9] [0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Option<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// At least one.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// The quotes and what stands between them.
    #[inline(never)]
    fn string(&mut self) -> Option<()> {
        let text = self.text.as_bytes().get(self.at..)?.strip_prefix(b"\"")?;
        if !self.is_plain {
            return self.string_with_escapes();
        }
        self.at += find(text, |word| equal(word, b'"'), |b| b == b'"')? + 2;
        Some(())
    }

    #[inline(never)]
    fn string_with_escapes(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            // All but quotes, backslashes and control characters stand for themselves.
            let special = |word| equal(word, b'"') | equal(word, b'\\') | below(word, 0x20);
            let is_special = |b| matches!(b, b'"' | b'\\' | ..0x20);
            self.at += find(self.text.as_bytes().get(self.at..)?, special, is_special)?;
            match self.byte()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// A backslash, and what it stands before.
    fn escape(&mut self) -> Option<()> {
        let length = match self.text.as_bytes().get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => {
                let digits = self.text.as_bytes().get(self.at + 2..self.at + 6)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(6)?
            }
            _ => return None,
        };
        self.at += length;
        Some(())
    }
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const TOPS: u64 = ONES << 7;

/// The lowest top bit that is set is that of the first byte below the limit.
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word & TOPS
}

/// The lowest top bit that is set is that of the first such byte.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Where the first byte is that is looked for, in a word of eight or alone.
#[inline(always)]
fn find(text: &[u8], in_word: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> Option<usize> {
    let mut words = text.chunks_exact(8);
    let mut at = 0;
    for word in words.by_ref() {
        let found = in_word(u64::from_le_bytes(word.try_into().ok()?));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Some(at + words.remainder().iter().position(|&b| is_it(b))?)
}

/// The arrays and objects around a place, a bit for each; 1 is an object.
#[derive(Default)]
struct Open {
    bits: u64,
    depth: usize,
}

impl Open {
    /// The object that [`MAX_DEPTH`] counts too is not among them.
    const MOST: usize = {
        assert!(MAX_DEPTH <= u64::BITS as usize);
        MAX_DEPTH - 1
    };

    fn push(&mut self, is_object: bool) -> Option<()> {
        if self.depth == Self::MOST {
            return None;
        }
        self.depth += 1;
        self.bits = self.bits << 1 | u64::from(is_object);
        Some(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
    }

    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}
