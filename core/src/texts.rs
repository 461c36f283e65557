//! The texts of one token, side by side in one buffer.
//!
//! The buffer is a part of the token unless it is long, so that a remembered token is one block of memory,
//! which the cache of tokens can prefetch.

use smallvec::SmallVec;

/// The place of a text in [`Texts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// Texts that are found by their [`Span`].
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Texts(SmallVec<[u8; 512]>);

impl Texts {
    /// Appends a text.
    pub(crate) fn push(&mut self, text: &str) -> Span {
        let start = self.len();
        self.0.extend_from_slice(text.as_bytes());
        Span {
            start,
            end: self.len(),
        }
    }

    /// Appends texts with a separator between them, and returns the place of each.
    pub(crate) fn join<L: FromIterator<Span>>(
        &mut self,
        texts: &[impl AsRef<str>],
        separator: &str,
    ) -> L {
        let each = texts.iter().enumerate().map(|(index, text)| {
            if index > 0 {
                self.push(separator);
            }
            self.push(text.as_ref())
        });
        each.collect()
    }

    /// The text at that place.
    pub(crate) fn get(&self, span: Span) -> &str {
        let text = self.0.get(span.start as usize..span.end as usize);
        str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }

    /// Compares the text at that place, as bytes: that is cheaper than to make a text of them.
    pub(crate) fn is(&self, span: Span, text: &str) -> bool {
        self.0.get(span.start as usize..span.end as usize) == Some(text.as_bytes())
    }

    /// All texts from a place on, as bytes.
    pub(crate) fn from(&self, start: u32) -> &[u8] {
        self.0.get(start as usize..).unwrap_or_default()
    }

    /// The length of all texts. Nothing comes near 4 GiB, since tokens are short.
    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_place() {
        let mut texts = Texts::default();
        let one = texts.push("one");
        let list: Vec<Span> = texts.join(&["a", "b,c", ""], ",");
        let empty = texts.push("");
        assert_eq!(texts.get(one), "one");
        assert!(texts.is(one, "one") && !texts.is(one, "on") && texts.is(empty, ""));
        let list: Vec<&str> = list.into_iter().map(|span| texts.get(span)).collect();
        assert_eq!(list, ["a", "b,c", ""]);
        assert_eq!((texts.get(empty), texts.get(Span::default())), ("", ""));
        assert_eq!(texts.from(3), b"a,b,c,");
    }

    #[test]
    fn short_texts_take_no_memory_and_long_ones_are_whole() {
        let mut texts = Texts::default();
        let most = "x".repeat(512);
        let first = texts.push(&most);
        assert_eq!((texts.get(first), texts.heap_size()), (&*most, 0));
        let second = texts.push("y");
        assert_eq!([first, second].map(|span| texts.get(span)), [&*most, "y"]);
        assert!(texts.heap_size() > 512);
    }
}
