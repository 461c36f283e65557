//! The table of what the resolver said; see [`authgear_tables::verdicts`].

pub use authgear_tables::verdicts::{Answer, Key, Lease, Table, Verdict};
