//! One webhook that other nodes have yet to be told.

use core::mem::{self, offset_of};

use authgear_tables::layout_number;
use authgear_tables::word::{Link, Word};

/// One webhook: the header of a block, which `len` bytes follow. They never change. Processes share references to
/// it while they hold the zone's mutex.
#[repr(C)]
pub struct Outgoing {
    pub next: Link<Outgoing>,
    /// Never changes.
    pub number: u64,
    /// From this time on, in milliseconds of the workers' clock, any worker may tell it.
    pub due_at: Word,
    /// Never changes.
    pub len: usize,
}

/// Differs when these blocks are laid out in another way.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Outgoing>(),
    offset_of!(Outgoing, next),
    offset_of!(Outgoing, number),
    offset_of!(Outgoing, due_at),
    offset_of!(Outgoing, len),
]);
