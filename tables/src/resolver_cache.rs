//! The resolver's answers, shared by all workers.
//!
//! A set-associative table of fixed size: a [`Key`] belongs to one small set of slots. When the set is
//! full, the slot that is worth least gives way (the order of `Rank`); a *no* to a token that has not
//! expired never does. Where there is no room for one, the set remembers until when such tokens have to
//! wait for an answer.
//!
//! The caller holds the lock that guards the table. A slot is marked as empty before it is written and
//! gets its state last, so that a killed worker leaves no half verdict.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::digest::{Digest, DigestKey};

use crate::layout_number;
use crate::word::{HalfWord, Word};

mod answer;
mod slot;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Key, Known, TryLease, Verdict};
use slot::{NewEntry, Rank, Slot};

/// Slots of one set.
const WAYS: usize = 8;
/// Projects whose failures are told apart in the log.
const PROJECTS: usize = 64;

/// The head of a table in shared memory; the sets follow it, and the slots follow them. Processes share
/// references to all three: each field is atomic, or never changes after [`Table::place`].
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Head {
    key: DigestKey,
    sets: usize,
    /// Number of the newest lease.
    leases: Word,
    /// A bit for each project whose resolver failed the last recheck.
    failing: Word,
    /// Live answers that gave way.
    live_evictions: Word,
    /// Answers to be kept that found no room.
    without_room: Word,
    /// One of the `WARNING_…`.
    warning: Word,
}

const WARNING_DUE: u64 = 1;
const WARNING_GIVEN: u64 = 2;

/// The head of a set of slots.
#[derive(Debug)]
#[repr(C, align(64))]
struct Set {
    /// The latest time at which a no that found no room here expires.
    crowded_until: Word,
    /// A part of each slot's digest.
    tags: [HalfWord; WAYS],
}

/// Bytes that a verdict takes, its part of the set included.
pub const VERDICT_SIZE: usize = mem::size_of::<Slot>() + mem::size_of::<Set>() / WAYS;

const _: () = assert!(VERDICT_SIZE == 512);

/// Differs when the memory is laid out in another way. The last number is for changes of meaning.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Head>(),
    offset_of!(Head, key),
    offset_of!(Head, sets),
    offset_of!(Head, leases),
    offset_of!(Head, failing),
    offset_of!(Head, live_evictions),
    offset_of!(Head, without_room),
    offset_of!(Head, warning),
    mem::size_of::<Set>(),
    offset_of!(Set, crowded_until),
    offset_of!(Set, tags),
    WAYS,
    slot::LAYOUT as usize,
    1,
]);

/// A table whose lock the caller holds.
#[derive(Debug)]
pub struct Table<'m> {
    head: &'m Head,
    sets: &'m [Set],
    slots: &'m [Slot],
}

impl Table<'_> {
    /// The number of sets of a table that fits into `size`, at least one, and the bytes it takes.
    #[must_use]
    pub fn layout(size: usize) -> (usize, usize) {
        let set = WAYS * VERDICT_SIZE;
        let sets = (size.saturating_sub(mem::size_of::<Head>()) / set).max(1);
        (sets, mem::size_of::<Head>() + sets * set)
    }

    /// Makes an empty table in zeroed memory.
    ///
    /// # Safety
    ///
    /// `memory` must be zeroed, aligned to 64 and as long as [`Table::layout`] says for `sets`.
    pub unsafe fn place(memory: NonNull<u8>, sets: usize, key: DigestKey) -> NonNull<Head> {
        let head = memory.cast::<Head>();
        // SAFETY: the caller vouches for the memory. A zeroed slot is an empty one.
        unsafe {
            head.write(Head {
                key,
                sets,
                leases: Word::default(),
                failing: Word::default(),
                live_evictions: Word::default(),
                without_room: Word::default(),
                warning: Word::default(),
            });
        }
        head
    }

    /// The table behind a head.
    ///
    /// # Safety
    ///
    /// `head` must come from [`Table::place`], whose memory must stay for `'m`. The caller must hold the
    /// lock that all who use the table take.
    #[must_use]
    pub unsafe fn locked<'m>(head: NonNull<Head>) -> Table<'m> {
        // SAFETY: the pointer that `place` made is one to the whole memory. As many sets as the head says
        // follow it, and `WAYS` slots for each follow them. What changes in all of it is atomic.
        unsafe {
            let sets = head.add(1).cast::<Set>();
            let count = head.as_ref().sets;
            let slots = sets.add(count).cast::<Slot>();
            Table {
                head: head.as_ref(),
                sets: slice::from_raw_parts(sets.as_ptr(), count),
                slots: slice::from_raw_parts(slots.as_ptr(), count * WAYS),
            }
        }
    }

    /// The secret key of the digests in the table. It never changes, so no lock is needed.
    ///
    /// # Safety
    ///
    /// As for [`Table::locked`], but for the lock.
    #[must_use]
    pub unsafe fn key_of(head: NonNull<Head>) -> DigestKey {
        // SAFETY: the caller vouches for the table.
        unsafe { head.as_ref().key }
    }

    /// Calls `prefetch` with the beginning and length of memory that [`Table::look_up`] will read for a
    /// digest. No lock is needed.
    ///
    /// # Safety
    ///
    /// As for [`Table::locked`], but for the lock.
    pub unsafe fn prefetch(
        head: NonNull<Head>,
        digest: &Digest,
        prefetch: impl Fn(*const u8, usize),
    ) {
        /// The beginning of a slot, and of the texts in it.
        const FIRST: usize = 4 * 64;
        // SAFETY: the caller vouches for the table. Tags alone are read, which are atomic.
        let table = unsafe { Table::locked(head) };
        let position = table.position(digest);
        let slot = table.tagged(position).next();
        if let Some(slot) = slot {
            prefetch(core::ptr::from_ref(slot).cast(), FIRST);
        }
    }

    fn position(&self, digest: &Digest) -> Position {
        let number = u128::from_le_bytes(*digest);
        // A part of all sets, as the digest's lower half is a part of 2^64.
        let set = (u128::from(number as u64) * self.sets.len() as u128) >> 64;
        Position {
            set: set as usize,
            // No zeroed tag, so that an unused slot is not looked at.
            tag: (number >> 96) as u32 | 1,
        }
    }

    /// The slots of a set.
    fn slots(&self, set: usize) -> &[Slot] {
        &self.slots[set * WAYS..][..WAYS]
    }

    /// The slots of a position's set that have its tag.
    fn tagged(&self, position: Position) -> impl Iterator<Item = &Slot> {
        let tags = &self.sets[position.set].tags;
        tags.iter()
            .zip(self.slots(position.set))
            .filter(move |(tag, _)| tag.get() == position.tag)
            .map(|(_, slot)| slot)
    }

    fn find(&self, key: &Key) -> Option<&Slot> {
        self.tagged(self.position(&key.digest))
            .find(|slot| slot.is_of(key))
    }

    /// Looks a key up.
    pub fn look_up(&mut self, key: &Key, now: u64) -> Known<'_> {
        let set = self.position(&key.digest).set;
        let is_crowded = now < self.sets[set].crowded_until.get();
        let Some(slot) = self.find(key) else {
            return Known {
                verdict: None,
                is_asked: false,
                is_crowded,
            };
        };
        slot.used.set(now);
        let verdict = slot.verdict(now);
        Known {
            is_crowded: is_crowded && matches!(verdict, None | Some(Verdict::Failed)),
            verdict: verdict.map(|verdict| (verdict, slot.answered_at.get())),
            is_asked: now < slot.lease_until.get(),
        }
    }

    /// Takes the right to ask until `deadline`, unless somebody has it.
    pub fn try_lease(&mut self, key: &Key, deadline: u64, now: u64) -> TryLease {
        if let Some(slot) = self.find(key) {
            if now < slot.lease_until.get() {
                return TryLease::Busy;
            }
            let number = self.head.leases.increment();
            slot.lease.set(number);
            slot.lease_until.set(deadline);
            return TryLease::Taken(number);
        }
        let Some(slot) = self.make_room(key, NewEntry::Question, now) else {
            return TryLease::Unshared;
        };
        let number = self.head.leases.increment();
        slot.lease.set(number);
        slot.lease_until.set(deadline);
        slot.state.set(slot::ASKED);
        TryLease::Taken(number)
    }

    /// Gives the right to ask back without an answer. A lease that has passed to somebody else stays.
    pub fn release(&mut self, key: &Key, lease: u64) {
        if let Some(slot) = self.find(key).filter(|slot| slot.lease.get() == lease) {
            slot.lease_until.set(0);
        }
    }

    /// Keeps the verdict that stands, and lets nobody ask again before `until`. A lease that has passed
    /// to somebody else stays as it is.
    pub fn postpone(&mut self, key: &Key, lease: Option<u64>, until: u64, now: u64) {
        if let Some(slot) = self.find(key) {
            let is_own = lease == Some(slot.lease.get());
            if is_own || slot.lease_until.get() <= now {
                // A number of its own, so that no late release frees it.
                slot.lease.set(self.head.leases.increment());
                slot.lease_until.set(until);
            }
        }
    }

    /// Keeps the resolver's answer, and ends the lease. Returns true when the answer was kept.
    ///
    /// A no to a token gives way only to the answer of its present lease. An answer of a lease that has
    /// passed to somebody else, or of none, replaces another only if it is a no: it may be the older
    /// one.
    pub fn store(&mut self, key: &Key, lease: Option<u64>, answer: &Answer<'_>, now: u64) -> bool {
        let is_denied = matches!(answer.verdict, Verdict::Denied | Verdict::Unclear);
        if let Some(slot) = self.find(key) {
            let is_own = lease == Some(slot.lease.get());
            let is_leased = now < slot.lease_until.get();
            let is_kept = slot.accepts(&answer.verdict, is_own, now);
            if is_kept {
                slot.write(answer, now);
            }
            if is_own || !is_leased {
                slot.lease_until.set(0);
            }
            if is_kept {
                // Last, since the lease is a part of what the state makes valid.
                slot.state.set(slot.state_of(&answer.verdict));
            }
            return is_kept;
        }
        let entry = match answer.verdict {
            Verdict::No | Verdict::Failed => NewEntry::Minor,
            _ => NewEntry::Answer,
        };
        let Some(slot) = self.make_room(key, entry, now) else {
            if is_denied {
                let set = self.position(&key.digest).set;
                let crowded_until = &self.sets[set].crowded_until;
                crowded_until.set(crowded_until.get().max(answer.not_after));
            }
            if !matches!(entry, NewEntry::Minor) {
                self.head.without_room.increment();
                self.warn();
            }
            return false;
        };
        slot.write(answer, now);
        slot.state.set(slot.state_of(&answer.verdict));
        true
    }

    /// An empty slot of the key's set, with the key in it: that of least worth which may give way.
    fn make_room(&self, key: &Key, entry: NewEntry, now: u64) -> Option<&Slot> {
        let Position { set, tag } = self.position(&key.digest);
        let slots = self.slots(set);
        let is_question = |slot: &&Slot| slot.rank(now) == Some(Rank::Leased);
        let questions = slots.iter().filter(is_question).count();
        let (rank, _, way) = slots
            .iter()
            .enumerate()
            .filter_map(|(way, slot)| Some((slot.rank(now)?, slot.used.get(), way)))
            .filter(|(rank, ..)| entry.takes(*rank, questions))
            .min()?;
        if rank == Rank::Live {
            self.head.live_evictions.increment();
            self.warn();
        }
        let slot = &slots[way];
        slot.clear();
        self.sets[set].tags[way].set(tag);
        slot.name(key, now);
        Some(slot)
    }

    fn warn(&self) {
        let warning = &self.head.warning;
        if warning.get() == 0 {
            warning.set(WARNING_DUE);
        }
    }

    /// True when the administrator is to be told that the table is too small: once in its life, after the
    /// first live answer that gave way or found no room.
    pub fn take_warning(&mut self) -> bool {
        let warning = &self.head.warning;
        let is_due = warning.get() == WARNING_DUE;
        if is_due {
            warning.set(WARNING_GIVEN);
        }
        is_due
    }

    /// The numbers of live answers that were evicted, and of answers that found no room.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        (self.head.live_evictions.get(), self.head.without_room.get())
    }

    /// True when a project's resolver failed the last question about a token.
    #[must_use]
    pub fn is_failing(&self, project: usize) -> bool {
        self.head.failing.get() & (1 << (project % PROJECTS)) != 0
    }

    /// Records that a project's resolver fails, or no longer does. Returns true when that is new.
    pub fn set_failing(&mut self, project: usize, failing: bool) -> bool {
        let bit = 1 << (project % PROJECTS);
        let was = self.is_failing(project);
        let bits = self.head.failing.get();
        self.head.failing.set(match failing {
            true => bits | bit,
            false => bits & !bit,
        });
        was != failing
    }
}

/// A digest's position in the table: the only set that may hold it, and the tag of its slot there.
#[derive(Debug, Clone, Copy)]
struct Position {
    set: usize,
    tag: u32,
}
