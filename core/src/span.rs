//! Texts that lie in one buffer: what a token says takes one block of memory, and nothing is
//! copied that stands in its payload already.

use std::borrow::Cow;

/// Where a text lies in its buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The text, in the buffer that the span was made for.
    pub(crate) fn of(self, buffer: &str) -> &str {
        self.within(buffer).unwrap_or_default()
    }

    fn within(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A buffer in the making: a payload, and behind it what does not stand in it letter for letter.
///
/// Nothing in it comes near 4 GiB, since tokens and headers have limits of their own.
#[derive(Debug)]
pub(crate) struct Buffer<'a> {
    payload: &'a str,
    more: String,
}

impl<'a> Buffer<'a> {
    pub(crate) fn new(payload: &'a str) -> Self {
        Buffer {
            payload,
            more: String::with_capacity(256),
        }
    }

    /// The payload as a whole.
    pub(crate) fn payload(&self) -> Span {
        self.span(0, self.payload.len())
    }

    /// A text that stands in the payload, or is put behind it.
    pub(crate) fn keep(&mut self, text: Cow<'a, str>) -> Span {
        match text {
            Cow::Borrowed(part) => self.find(part).unwrap_or_else(|| self.push(part)),
            Cow::Owned(text) => self.push(&text),
        }
    }

    /// Puts a text behind all others.
    pub(crate) fn push(&mut self, text: &str) -> Span {
        let start = self.len();
        self.more.push_str(text);
        self.span(start, self.len())
    }

    /// Puts copies of the texts behind all others, with a separator between them.
    pub(crate) fn join(&mut self, spans: &[Span], separator: &str) -> Span {
        let start = self.len();
        for (index, span) in spans.iter().enumerate() {
            if index > 0 {
                self.more.push_str(separator);
            }
            match span.within(self.payload) {
                Some(text) => self.more.push_str(text),
                None => {
                    let text = self.text(*span).to_string();
                    self.more.push_str(&text);
                }
            }
        }
        self.span(start, self.len())
    }

    /// The texts so far.
    pub(crate) fn text(&self, span: Span) -> &str {
        let before = self.payload.len();
        match span.within(self.payload) {
            Some(text) => text,
            None => &self.more[span.start as usize - before..span.end as usize - before],
        }
    }

    /// All texts in one block.
    pub(crate) fn finish(self) -> Box<str> {
        [self.payload, &self.more].concat().into()
    }

    /// How long all texts are together.
    pub(crate) fn len(&self) -> usize {
        self.payload.len() + self.more.len()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where a part of the payload begins, told by its address.
    fn find(&self, part: &str) -> Option<Span> {
        let start = (part.as_ptr() as usize).checked_sub(self.payload.as_ptr() as usize)?;
        let end = start + part.len();
        (end <= self.payload.len()).then(|| self.span(start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_payload_take_no_room() {
        let payload = String::from("payload");
        let mut buffer = Buffer::new(&payload);
        let part = buffer.keep(Cow::Borrowed(&payload[3..]));
        let all = buffer.payload();
        let copy = buffer.keep(Cow::Borrowed("load"));
        let owned = buffer.keep(Cow::Owned("own".to_string()));
        let empty = buffer.push("");
        assert_eq!(buffer.text(owned), "own");
        let text = buffer.finish();
        assert_eq!(&*text, "payloadloadown");
        assert_eq!(
            [part, all, copy, owned, empty].map(|span| span.of(&text)),
            ["load", "payload", "load", "own", ""]
        );
        assert!(empty.is_empty() && Span::default().is_empty() && !part.is_empty());
    }

    #[test]
    fn joined_texts_come_from_anywhere() {
        let payload = String::from("a,b");
        let mut buffer = Buffer::new(&payload);
        let a = buffer.keep(Cow::Borrowed(&payload[..1]));
        let c = buffer.push("c");
        let spans = [&[][..], &[a], &[c], &[a, c], &[c, a, c]];
        let joined = spans.map(|spans| buffer.join(spans, ", "));
        let text = buffer.finish();
        assert_eq!(
            joined.map(|span| span.of(&text)),
            ["", "a", "c", "a, c", "c, a, c"]
        );
    }
}
