//! The status page: numbers as data, and as text.
//!
//! [`Snapshot`] is all that the page shows, gathered by the caller. It becomes a page, JSON, or a text
//! of metrics by [`Snapshot::render`]; [`Format`] is chosen by configuration and `Accept`.

mod accept;
mod count;
mod json;
mod keys;
mod metrics;
mod page;
mod problems;
mod render;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use accept::accepts_html;
pub use accept::{Choice, Format};
pub use count::{
    Answer, Cause, Count, Duration, FetchResult, Found, Histogram, Mode, Received, Source, Table,
    Totals, UnmetKind, COUNTS,
};
pub use keys::Source as KeyFacts;
pub use snapshot::{
    Build, Key, KeyOrigin, KeyState, Keys, LastError, Project, Snapshot, Stream, TableState, Zone,
};
