//! What the resolver said, shared by all workers.
//!
//! A table of fixed size in the shared zone, by a keyed digest of the credentials. A digest has
//! its place in one small set of slots; when the set is full, its least recently used slot goes.
//! A set takes a slot from all that are left when it first needs one, and keeps it: so those in use
//! lie side by side, in few pages of memory, however large the zone is. Slots are read and written
//! under the zone's mutex; one that is being filled is marked as empty until it is complete, so
//! that a worker killed meanwhile leaves no half verdict.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use core::{array, mem};

use authgear_core::digest::DigestKeys;
use authgear_core::session::{Field, Fields};

use crate::memory;

/// A keyed digest of a project and a request's credentials.
pub type Digest = [u8; 16];

/// Slots of one set.
const WAYS: usize = 8;
/// Bytes for a session's texts. Of a session that needs more only that is kept.
const TEXTS: usize = 400;
/// Projects whose failures are told apart in the log.
const PROJECTS: usize = 64;

/// The table's head; the sets follow it, and the slots follow them.
#[repr(C, align(64))]
pub struct Table {
    keys: DigestKeys,
    sets: usize,
    /// How many slots sets have taken.
    taken: usize,
    /// A bit for each project whose resolver failed the last recheck.
    failing: u64,
}

/// Which slots hold the digests of one set. Written under the mutex, and read without it for what
/// is worth loading ahead.
#[repr(C, align(64))]
struct Set {
    /// A part of each slot's digest.
    tags: [AtomicU32; WAYS],
    /// The slots' numbers from 1, or 0 for none.
    numbers: [AtomicU32; WAYS],
}

/// What the README says of a verdict: 480 bytes, its part of the set included.
const _: () = assert!(mem::size_of::<Set>() + WAYS * mem::size_of::<Slot>() == WAYS * 480);

#[repr(C)]
struct Slot {
    digest: Digest,
    used: u64,
    /// When the resolver answered, well or badly.
    answered_at: u64,
    /// The verdict is not used after this time, whatever its age.
    not_after: u64,
    /// Until this time somebody is asking.
    lease_until: u64,
    state: State,
    /// Where each of the session's fields ends in `texts`.
    ends: [u16; 8],
    texts: [u8; TEXTS],
}

#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    /// Nothing is known yet.
    Asked,
    Yes,
    /// A session that has no room here.
    TooLarge,
    /// The token was confirmed; the session is the token's own.
    Confirmed,
    No,
    /// The resolver failed.
    Failed,
}

/// What the resolver last said.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The session is valid.
    Yes(Fields<'a>),
    /// The session is valid, but too large to be kept: whoever needs it asks.
    TooLarge,
    /// The token that the digest is of still stands.
    Confirmed,
    /// It is not.
    No,
    /// No verdict could be had.
    Failed,
}

/// What the table knows of a digest.
#[derive(Debug)]
pub struct Known<'a> {
    /// What the resolver last said, and when.
    pub verdict: Option<(Verdict<'a>, u64)>,
    /// Whether somebody is asking now.
    pub is_asked: bool,
}

impl Table {
    /// How many sets a table has that fits into `size`, at least one, and the bytes it takes.
    pub fn layout(size: usize) -> (usize, usize) {
        let set = mem::size_of::<Set>() + WAYS * mem::size_of::<Slot>();
        let sets = (size.saturating_sub(mem::size_of::<Table>()) / set).max(1);
        (sets, mem::size_of::<Table>() + sets * set)
    }

    /// Makes an empty table in zeroed memory.
    ///
    /// # Safety
    ///
    /// `memory` must be zeroed, aligned to 64 and as long as [`Table::layout`] says for `sets`.
    pub unsafe fn place(memory: NonNull<u8>, sets: usize, keys: DigestKeys) -> NonNull<Table> {
        let table = memory.cast::<Table>();
        // SAFETY: the caller vouches for the memory. A zeroed slot is an empty one.
        unsafe {
            table.write(Table {
                keys,
                sets,
                taken: 0,
                failing: 0,
            })
        };
        table
    }

    /// What makes digests of a table; needs no mutex, since they never change.
    ///
    /// # Safety
    ///
    /// The table must have been placed.
    pub unsafe fn keys_of(table: *const Table) -> DigestKeys {
        // SAFETY: the caller vouches for the table; no reference to the whole of it is made.
        unsafe { ptr::addr_of!((*table).keys).read() }
    }

    /// Has the processor fetch what [`Table::look_up`] reads of a digest; needs no mutex.
    ///
    /// # Safety
    ///
    /// The table must have been placed.
    pub unsafe fn load_ahead(table: *const Table, digest: &Digest) {
        /// The beginning of a slot, and of the texts in it.
        const FIRST: usize = 4 * 64;
        // SAFETY: the caller vouches for the table, whose number of sets never changes; a set has
        // atomics only. A slot is not read, only its address is made.
        unsafe {
            let sets = ptr::addr_of!((*table).sets).read();
            let (set, tag) = place_of(sets, digest);
            let set = &*table.add(1).cast::<Set>().add(set);
            if let Some(number) = set.tagged(tag).into_iter().find(|number| *number != 0) {
                let slot = Self::slots(table, sets).wrapping_add(number - 1);
                memory::load_ahead(slot.cast(), FIRST);
            }
        }
    }

    /// Where the slots begin.
    ///
    /// # Safety
    ///
    /// The table must have been placed with so many sets.
    unsafe fn slots(table: *const Table, sets: usize) -> *const Slot {
        // SAFETY: the caller vouches for the sets that lie between.
        unsafe { table.add(1).cast::<Set>().add(sets).cast() }
    }

    /// The set of a digest, and the digest's tag in it.
    fn set(&self, digest: &Digest) -> (&Set, u32) {
        let (set, tag) = place_of(self.sets, digest);
        // SAFETY: `place` was told that so many sets follow the head.
        let set = unsafe { &*ptr::from_ref(self).add(1).cast::<Set>().add(set) };
        (set, tag)
    }

    /// A slot by its number; there is none behind the last.
    fn numbered(&mut self, number: usize) -> Option<&mut Slot> {
        let index = number.checked_sub(1)?;
        if index >= self.sets * WAYS {
            return None;
        }
        // SAFETY: so many slots follow the sets, and whoever holds the table by a unique reference
        // holds the mutex.
        unsafe { Some(&mut *Self::slots(self, self.sets).cast_mut().add(index)) }
    }

    fn slot(&mut self, digest: &Digest) -> Option<&mut Slot> {
        let (set, tag) = self.set(digest);
        let is_it = |slot: &mut Slot| slot.state != State::Empty && slot.digest == *digest;
        let mut tagged = set.tagged(tag).into_iter();
        let number = tagged.find(|number| self.numbered(*number).is_some_and(is_it))?;
        self.numbered(number)
    }

    /// What is known of a digest.
    pub fn look_up(&mut self, digest: &Digest, now: u64) -> Known<'_> {
        let Some(slot) = self.slot(digest) else {
            return Known {
                verdict: None,
                is_asked: false,
            };
        };
        slot.used = now;
        Known {
            verdict: slot.verdict(now).map(|verdict| (verdict, slot.answered_at)),
            is_asked: now < slot.lease_until,
        }
    }

    /// Takes the right to ask until `deadline`, unless somebody has it. Makes room if need be,
    /// but not at the cost of somebody who is asking.
    pub fn try_lease(&mut self, digest: &Digest, deadline: u64, now: u64) -> bool {
        if let Some(slot) = self.slot(digest) {
            let free = slot.lease_until <= now;
            if free {
                slot.lease_until = deadline;
            }
            return free;
        }
        let Some(slot) = self.make_room(digest, now) else {
            return true;
        };
        slot.digest = *digest;
        slot.used = now;
        slot.answered_at = 0;
        slot.not_after = 0;
        slot.lease_until = deadline;
        slot.ends = [0; 8];
        slot.state = State::Asked;
        true
    }

    /// A slot of the digest's set for it, marked as empty: a new one, or else the least recently used
    /// of those that nobody is asking for.
    fn make_room(&mut self, digest: &Digest, now: u64) -> Option<&mut Slot> {
        let (set, tag) = self.set(digest);
        let numbers = set.numbers();
        let unused = numbers.iter().position(|number| *number == 0);
        let (way, number) = match unused.filter(|_| self.taken < self.sets * WAYS) {
            Some(way) => {
                self.taken += 1;
                (way, self.taken)
            }
            None => {
                let free = numbers.into_iter().enumerate().filter_map(|(way, number)| {
                    let slot = self.numbered(number)?;
                    let is_free = slot.state == State::Empty || slot.lease_until <= now;
                    is_free.then_some(((slot.state != State::Empty, slot.used), way, number))
                });
                let (_, way, number) = free.min_by_key(|(rank, ..)| *rank)?;
                (way, number)
            }
        };
        self.numbered(number)?.state = State::Empty;
        let (set, _) = self.set(digest);
        set.tags[way].store(tag, Ordering::Relaxed);
        set.numbers[way].store(number as u32, Ordering::Relaxed);
        self.numbered(number)
    }

    /// Gives the right to ask back without an answer.
    pub fn release(&mut self, digest: &Digest) {
        if let Some(slot) = self.slot(digest) {
            slot.lease_until = 0;
        }
    }

    /// Keeps what the resolver said, and ends the lease.
    pub fn store(&mut self, digest: &Digest, verdict: &Verdict<'_>, not_after: u64, now: u64) {
        let Some(slot) = self.slot(digest) else {
            return;
        };
        slot.state = State::Empty;
        let state = match verdict {
            Verdict::Yes(fields) if slot.write(fields) => State::Yes,
            Verdict::Yes(_) | Verdict::TooLarge => State::TooLarge,
            Verdict::Confirmed => State::Confirmed,
            Verdict::No => State::No,
            Verdict::Failed => State::Failed,
        };
        slot.used = now;
        slot.answered_at = now;
        slot.not_after = not_after;
        slot.lease_until = 0;
        slot.state = state;
    }

    /// Keeps the verdict that stands, and lets nobody ask again before `until`.
    pub fn postpone(&mut self, digest: &Digest, until: u64) {
        if let Some(slot) = self.slot(digest) {
            slot.lease_until = until;
        }
    }

    /// Whether a project's resolver failed when it was last asked about a token.
    pub fn is_failing(&self, project: usize) -> bool {
        self.failing & (1 << (project % PROJECTS)) != 0
    }

    /// Records whether a project's resolver fails; says whether that is new.
    pub fn set_failing(&mut self, project: usize, failing: bool) -> bool {
        let bit = 1 << (project % PROJECTS);
        let was = self.is_failing(project);
        if failing {
            self.failing |= bit;
        } else {
            self.failing &= !bit;
        }
        was != failing
    }
}

impl Set {
    fn numbers(&self) -> [usize; WAYS] {
        array::from_fn(|way| self.numbers[way].load(Ordering::Relaxed) as usize)
    }

    /// The numbers of slots that may hold a digest with that tag, others as 0.
    fn tagged(&self, tag: u32) -> [usize; WAYS] {
        let numbers = self.numbers();
        array::from_fn(|way| match self.tags[way].load(Ordering::Relaxed) == tag {
            true => numbers[way],
            false => 0,
        })
    }
}

/// The number of a digest's set among so many, and the digest's tag in it.
fn place_of(sets: usize, digest: &Digest) -> (usize, u32) {
    let number = u128::from_ne_bytes(*digest);
    // A part of all sets, as the digest's lower half is a part of 2^64.
    let set = ((u128::from(number as u64) * sets as u128) >> 64) as usize;
    (set, (number >> 96) as u32)
}

impl Slot {
    fn verdict(&self, now: u64) -> Option<Verdict<'_>> {
        match self.state {
            State::Yes if now < self.not_after => self.read().map(Verdict::Yes),
            State::TooLarge => Some(Verdict::TooLarge),
            State::Confirmed => Some(Verdict::Confirmed),
            State::No => Some(Verdict::No),
            State::Failed => Some(Verdict::Failed),
            State::Yes | State::Empty | State::Asked => None,
        }
    }

    /// Writes a session's fields, if there is room for them.
    fn write(&mut self, fields: &Fields<'_>) -> bool {
        let text = fields.text();
        let Some(texts) = self.texts.get_mut(..text.len()) else {
            return false;
        };
        texts.copy_from_slice(text);
        // No end lies behind the text.
        self.ends = fields.ends().map(|end| end as u16);
        true
    }

    fn read(&self) -> Option<Fields<'_>> {
        let text = self.texts.get(..self.ends[self.ends.len() - 1] as usize)?;
        let fields = Fields::new(text, self.ends.map(u32::from));
        fields.get(Field::UserId).map(|_| fields)
    }
}
