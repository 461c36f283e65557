//! The table of the resolver's answers; see [`authgear_tables::verdicts`].

pub use authgear_tables::verdicts::{Answer, Key, Known, Lease, Table, Verdict};
