//! JSON (RFC 8259), by recursive descent.

/// A value. Numbers stay as they were written, and members in their order, those of the same name too.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it was written.
    Number(String),
    /// In UTF-8, but that half a surrogate pair stands as the three bytes of its code point.
    String(Vec<u8>),
    /// An array.
    Array(Vec<Json>),
    /// Names as [`Json::String`], and values.
    Object(Vec<(Vec<u8>, Json)>),
}

/// The reason for which a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON.
    Invalid,
    /// Deeper than this parser goes.
    Deep,
}

const DEEPEST: usize = 120;

/// Reads a text that is one value, and white space around it.
///
/// # Errors
///
/// [`Fault`].
pub fn parse(text: &[u8]) -> Result<Json, Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::Invalid)?;
    let mut parser = Parser { text, at: 0 };
    parser.blanks();
    let value = parser.value(0)?;
    parser.blanks();
    match parser.at == text.len() {
        true => Ok(value),
        false => Err(Fault::Invalid),
    }
}

impl Json {
    /// The text of a string that is Unicode.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The texts of an array of strings.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Json::Array(elements) => elements.iter().map(Json::text).collect(),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn members(&self) -> Option<&[(Vec<u8>, Json)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The last member of that name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        let members = self.members()?.iter().rev();
        let mut named = members.filter(|(own, _)| own == name.as_bytes());
        named.next().map(|(_, value)| value)
    }

    /// The number of members of that name.
    pub fn count(&self, name: &str) -> usize {
        let members = self.members().unwrap_or_default().iter();
        members.filter(|(own, _)| own == name.as_bytes()).count()
    }

    /// True if two members of this object have the same name.
    pub fn has_repeated_name(&self) -> bool {
        let names = self
            .members()
            .unwrap_or_default()
            .iter()
            .map(|(name, _)| name);
        let distinct: std::collections::HashSet<_> = names.clone().collect();
        distinct.len() != names.count()
    }

    /// The deepest nesting of arrays and objects.
    pub fn depth(&self) -> usize {
        match self {
            Json::Array(elements) => 1 + elements.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(members) => {
                1 + members
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::Invalid)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, wanted: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn expect(&mut self, wanted: &[u8]) -> Result<(), Fault> {
        self.take(wanted).then_some(()).ok_or(Fault::Invalid)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Fault> {
        if depth > DEEPEST {
            return Err(Fault::Deep);
        }
        match self.peek().ok_or(Fault::Invalid)? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(Json::String(self.string()?)),
            b'n' => self.expect(b"null").map(|()| Json::Null),
            b't' => self.expect(b"true").map(|()| Json::Bool(true)),
            b'f' => self.expect(b"false").map(|()| Json::Bool(false)),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, Fault> {
        self.expect(b"[")?;
        self.blanks();
        let mut elements = Vec::new();
        if self.take(b"]") {
            return Ok(Json::Array(elements));
        }
        loop {
            self.blanks();
            elements.push(self.value(depth + 1)?);
            self.blanks();
            if self.take(b"]") {
                return Ok(Json::Array(elements));
            }
            self.expect(b",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Fault> {
        self.expect(b"{")?;
        self.blanks();
        let mut members = Vec::new();
        if self.take(b"}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.expect(b":")?;
            self.blanks();
            members.push((name, self.value(depth + 1)?));
            self.blanks();
            if self.take(b"}") {
                return Ok(Json::Object(members));
            }
            self.expect(b",")?;
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(()).ok_or(Fault::Invalid)
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let start = self.at;
        self.take(b"-");
        // No zero before other digits.
        if !self.take(b"0") {
            self.digits()?;
        }
        if self.take(b".") {
            self.digits()?;
        }
        if self.take(b"e") || self.take(b"E") {
            let _ = self.take(b"+") || self.take(b"-");
            self.digits()?;
        }
        let text = self.text[start..self.at].to_vec();
        Ok(Json::Number(
            String::from_utf8(text).map_err(|_| Fault::Invalid)?,
        ))
    }

    fn string(&mut self) -> Result<Vec<u8>, Fault> {
        self.expect(b"\"")?;
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Ok(bytes),
                0..=0x1f => return Err(Fault::Invalid),
                b'\\' => match self.next()? {
                    byte @ (b'"' | b'\\' | b'/') => bytes.push(byte),
                    b'b' => bytes.push(8),
                    b'f' => bytes.push(12),
                    b'n' => bytes.push(b'\n'),
                    b'r' => bytes.push(b'\r'),
                    b't' => bytes.push(b'\t'),
                    b'u' => {
                        let unit = self.unit()?;
                        self.code_point(unit, &mut bytes)?;
                    }
                    _ => return Err(Fault::Invalid),
                },
                byte => bytes.push(byte),
            }
        }
    }

    fn unit(&mut self) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16);
            unit = unit << 4 | digit.ok_or(Fault::Invalid)?;
        }
        Ok(unit)
    }

    fn code_point(&mut self, unit: u32, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let before = self.at;
        if (0xd800..0xdc00).contains(&unit) && self.take(b"\\u") {
            let low = self.unit()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                let c = char::from_u32(code).ok_or(Fault::Invalid)?;
                bytes.extend(c.to_string().bytes());
                return Ok(());
            }
            self.at = before;
        }
        match char::from_u32(unit) {
            Some(c) => bytes.extend(c.to_string().bytes()),
            None => bytes.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
        Ok(())
    }
}
