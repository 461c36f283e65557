//! Texts that lie side by side: what a token says is its payload, and behind it what does not stand
//! there letter for letter.

use std::borrow::Cow;

use arrayvec::ArrayString;

/// Where a text lies among the [`Texts`] of its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Nothing comes near 4 GiB, since tokens and headers have limits of their own.
    fn new(start: usize, end: usize) -> Self {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Where a part of a text stands in it, told by its address.
    pub(crate) fn of_part(text: &str, part: &str) -> Option<Span> {
        let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        let end = start + part.len();
        (end <= text.len()).then(|| Span::new(start, end))
    }

    /// The text, in the one that the span was made for.
    pub(crate) fn within(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A payload, and the texts behind it; only borrowed while it is still read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Texts<P = Box<str>> {
    payload: P,
    more: Text,
}

impl<P: AsRef<str>> Texts<P> {
    /// Puts a text behind all others.
    pub(crate) fn push(&mut self, text: &str) -> Span {
        let start = self.len();
        self.more.push(text);
        Span::new(start, self.len())
    }

    /// Puts copies of the texts behind all others, with a separator between them.
    pub(crate) fn join(&mut self, spans: &[Span], separator: &str) {
        for (index, span) in spans.iter().enumerate() {
            if index > 0 {
                self.more.push(separator);
            }
            match span.within(self.payload.as_ref()) {
                Some(text) => self.more.push(text),
                None => {
                    let text = self.get(*span).to_string();
                    self.more.push(&text);
                }
            }
        }
    }

    pub(crate) fn get(&self, span: Span) -> &str {
        let payload = self.payload();
        match span.within(payload) {
            Some(text) => text,
            None => {
                let place = |at: u32| (at as usize).wrapping_sub(payload.len());
                let place = place(span.start)..place(span.end);
                self.more().get(place).unwrap_or_default()
            }
        }
    }

    pub(crate) fn payload(&self) -> &str {
        self.payload.as_ref()
    }

    /// What lies behind the payload, in the order in which it came there.
    pub(crate) fn more(&self) -> &str {
        self.more.as_str()
    }

    fn len(&self) -> usize {
        self.payload().len() + self.more().len()
    }
}

impl<'a> Texts<&'a str> {
    pub(crate) fn new(payload: &'a str) -> Self {
        let more = Text::default();
        Texts { payload, more }
    }

    /// As [`Texts::payload`], for as long as that is there.
    pub(crate) fn source(&self) -> &'a str {
        self.payload
    }

    /// A text that stands in the payload, or is put behind it.
    pub(crate) fn keep(&mut self, text: Cow<'a, str>) -> Span {
        match text {
            Cow::Borrowed(part) => {
                Span::of_part(self.payload, part).unwrap_or_else(|| self.push(part))
            }
            Cow::Owned(text) => self.push(&text),
        }
    }

    /// What lies behind the payload, to be [put behind](Texts::with) one that is kept.
    pub(crate) fn into_more(self) -> Text {
        self.more
    }
}

impl Texts {
    /// The payload that the texts were put behind.
    pub(crate) fn with(payload: Box<str>, more: Text) -> Texts {
        Texts { payload, more }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        self.payload.len() + self.more.heap_size()
    }
}

/// A text that grows. While it is short it lies where its owner lies, and takes no memory of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Has room for what Authgear says of a user.
    Short(ArrayString<200>),
    Long(String),
}

impl Default for Text {
    fn default() -> Self {
        Text::Short(ArrayString::new_const())
    }
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Text::Short(text) => text,
            Text::Long(text) => text,
        }
    }

    fn push(&mut self, part: &str) {
        match self {
            Text::Short(text) => {
                if text.try_push_str(part).is_err() {
                    *self = Text::Long([text.as_str(), part].concat());
                }
            }
            Text::Long(text) => text.push_str(part),
        }
    }

    fn heap_size(&self) -> usize {
        match self {
            Text::Short(_) => 0,
            Text::Long(text) => text.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_payload_take_no_room() {
        let payload = String::from("payload");
        let mut read = Texts::new(&payload);
        let part = read.keep(Cow::Borrowed(&payload[3..]));
        let copy = read.keep(Cow::Borrowed("load"));
        let owned = read.keep(Cow::Owned("own".to_string()));
        let empty = read.push("");
        assert_eq!(read.get(owned), "own");
        let more = read.into_more();
        let texts = Texts::with(payload.into(), more);
        assert_eq!((texts.payload(), texts.more()), ("payload", "loadown"));
        assert_eq!(
            [part, copy, owned, empty].map(|span| texts.get(span)),
            ["load", "load", "own", ""]
        );
        assert!(empty.is_empty() && Span::default().is_empty() && !part.is_empty());
    }

    #[test]
    fn joined_texts_come_from_anywhere() {
        let mut texts = Texts::new("a,b");
        let (a, c) = (texts.keep(Cow::Borrowed("a")), texts.push("c"));
        let a_of_payload = texts.keep(Cow::Borrowed(&texts.payload[..1]));
        for (spans, joined) in [
            (&[][..], ""),
            (&[a], "a"),
            (&[c], "c"),
            (&[a_of_payload, c], "a, c"),
            (&[c, a, c], "c, a, c"),
        ] {
            let before = texts.more().len();
            texts.join(spans, ", ");
            assert_eq!(&texts.more()[before..], joined);
        }
    }

    #[test]
    fn short_texts_take_no_memory_and_long_ones_are_whole() {
        let mut short = Texts::new("payload");
        let most = "x".repeat(200);
        let first = short.push(&most);
        let short = Texts::with("payload".into(), short.into_more());
        assert_eq!((short.get(first), short.heap_size()), (&*most, 7));

        let mut long = Texts::new("payload");
        let spans = [long.push(&most), long.push("y"), long.push("z")];
        let long = Texts::with("payload".into(), long.into_more());
        assert_eq!(spans.map(|span| long.get(span)), [&*most, "y", "z"]);
        assert!(long.heap_size() >= 7 + 202);
    }
}
