//! Mistakes in a configuration.

use crate::nginx::Failed;

/// A mistake in a directive, which is refused.
#[derive(Debug)]
pub enum Mistake {
    /// The end of a sentence that begins with the directive's name.
    Here(String),
    /// It has been logged where it was found.
    Logged,
}

impl Mistake {
    /// The same with a word before its text.
    pub fn after(self, word: &str) -> Self {
        match self {
            Self::Here(text) => Self::Here(format!("{word} {text}")),
            Self::Logged => Self::Logged,
        }
    }
}

impl From<String> for Mistake {
    fn from(text: String) -> Self {
        Self::Here(text)
    }
}

impl From<&str> for Mistake {
    fn from(text: &str) -> Self {
        Self::Here(text.to_string())
    }
}

impl From<Failed> for Mistake {
    /// nginx logs its own failures.
    fn from(_: Failed) -> Self {
        Self::Logged
    }
}
