//! The snapshot as text.

use super::accept::Format;
use super::snapshot::Snapshot;
use super::{json, metrics, page};

impl Snapshot {
    /// The snapshot in that format. Texts that a client or an administrator wrote are escaped.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Html => page::render(self),
            Format::Json => json::render(self),
            Format::Text => metrics::render(self, false),
            Format::OpenMetrics => metrics::render(self, true),
        }
    }
}
