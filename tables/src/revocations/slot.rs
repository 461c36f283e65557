//! One slot of the table of revocations.

use core::mem::{self, offset_of};

use authgear_core::revocation::{Mark, State, MARKS};

use super::value::{Entry, Key};
use crate::layout_number;
use crate::word::{Word, IS_MODEL};

/// Marks of a slot: all that a state has.
const KEPT: usize = if IS_MODEL { 1 } else { MARKS };

/// One user's entry. Zeroed memory is an unused slot, whose entry counts until 0. All of it is atomic.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Odd while the rest is being written.
    version: Word,
    group: Word,
    digest: [Word; 2],
    until: Word,
    came_at: Word,
    ended_at: Word,
    /// `seq`, time and plan of each.
    marks: [[Word; 3]; KEPT],
}

pub(super) const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Slot>(),
    offset_of!(Slot, version),
    offset_of!(Slot, group),
    offset_of!(Slot, digest),
    offset_of!(Slot, until),
    offset_of!(Slot, came_at),
    offset_of!(Slot, ended_at),
    offset_of!(Slot, marks),
    KEPT,
]);

/// True for the version of what is being written, or is still to be.
pub(super) fn is_odd(version: u64) -> bool {
    version % 2 == 1
}

impl Slot {
    /// The content; `None` while it is being written. Needs no lock.
    pub fn read(&self) -> Option<(Key, Entry)> {
        let version = self.version.get();
        if is_odd(version) {
            return None;
        }
        let content = self.content();
        (self.version.get() == version).then_some(content)
    }

    /// The content, which a writer may be changing meanwhile.
    pub fn content(&self) -> (Key, Entry) {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&self.digest[0].get().to_le_bytes());
        digest[8..].copy_from_slice(&self.digest[1].get().to_le_bytes());
        let mut marks = [Mark::default(); MARKS];
        for (mark, [seq, at, plan]) in marks.iter_mut().zip(&self.marks) {
            *mark = Mark {
                seq: seq.get(),
                at: at.get(),
                plan: plan.get(),
            };
        }
        let key = Key {
            group: self.group.get(),
            digest,
        };
        let entry = Entry {
            state: State::from_parts(self.ended_at.get(), marks),
            came_at: self.came_at.get(),
            until: self.until.get(),
        };
        (key, entry)
    }

    /// Stores a content, without the version.
    pub fn write(&self, key: &Key, entry: &Entry) {
        self.group.set(key.group);
        for (word, bytes) in self.digest.iter().zip(key.digest.as_chunks().0) {
            word.set(u64::from_le_bytes(*bytes));
        }
        self.until.set(entry.until);
        self.came_at.set(entry.came_at);
        let (ended_at, marks) = entry.state.parts();
        self.ended_at.set(ended_at);
        for ([seq, at, plan], mark) in self.marks.iter().zip(marks) {
            seq.set(mark.seq);
            at.set(mark.at);
            plan.set(mark.plan);
        }
    }

    /// Replaces the content, for readers at once. It may be that a killed writer had begun to.
    pub fn replace(&self, key: &Key, entry: &Entry, set_tag: impl FnOnce()) {
        let writing = self.version.get() | 1;
        self.version.set(writing);
        set_tag();
        self.write(key, entry);
        self.version.set(writing.wrapping_add(1));
    }
}
