//! Changes of the table, under its lock.

use core::ops::Deref;
use core::ptr;

use super::slot::{Rank, Slot};
use super::value::{Answer, Failure, Key, Known, Text, Token, TryLease, Verdict};
use super::{number_of, way_to, Position, RoomFor, Table, PROJECTS};
use crate::word::HalfWord;

/// Slots that are looked at at a time, to find the one that gives way.
const SAMPLE: usize = 8;
/// Samples before there is no room.
const SAMPLES: usize = 8;

const WARNING_DUE: u64 = 1;
const WARNING_GIVEN: u64 = 2;

/// A table whose lock the caller holds.
#[derive(Debug)]
pub struct Writer<'m>(Table<'m>);

impl<'m> Deref for Writer<'m> {
    type Target = Table<'m>;

    fn deref(&self) -> &Table<'m> {
        &self.0
    }
}

impl RoomFor {
    /// The room of an answer.
    fn answer(verdict: Verdict) -> RoomFor {
        match verdict {
            Verdict::No | Verdict::Failed => RoomFor::Questions,
            _ => RoomFor::Judgements,
        }
    }

    /// True when its entries may evict a slot of that rank.
    fn takes(self, rank: Rank) -> bool {
        match self {
            RoomFor::Judgements => true,
            RoomFor::Questions => rank < Rank::Leased,
        }
    }
}

impl<'m> Writer<'m> {
    /// The table for changes.
    ///
    /// # Safety
    ///
    /// The caller must hold the lock that all who change the table take, for as long as the writer is
    /// there.
    #[must_use]
    pub unsafe fn new(table: Table<'m>) -> Writer<'m> {
        Writer(table)
    }

    /// Looks a key up, and copies its text if `text` is there to take it. A slot whose writer was killed can be read without the lock
    /// again afterwards.
    pub fn read(&mut self, key: &Key, now: u64, text: Option<&mut Text>) -> Known {
        let position = self.position(&key.digest);
        for way in &position.bucket.ways {
            if let Some(slot) = self.slot_of(way.get(), position.tag) {
                slot.end();
            }
        }
        let known = self.find(key).map(|slot| {
            slot.touch(now);
            slot.known(now, text)
        });
        position.with_crowd(known.unwrap_or_default(), now)
    }

    fn find(&self, key: &Key) -> Option<&'m Slot> {
        let position = self.position(&key.digest);
        let mut ways = position.bucket.ways.iter();
        ways.find_map(|way| {
            let slot = self.slot_of(way.get(), position.tag)?;
            slot.is_of(key).then_some(slot)
        })
    }

    /// The slot that a way names.
    fn named(&self, way: &HalfWord) -> Option<&'m Slot> {
        self.slots.get(number_of(way.get())?)
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
        let Some(slot) = self.make_room(key, RoomFor::Questions, now) else {
            return TryLease::Unshared;
        };
        let number = self.head.leases.increment();
        slot.lease.set(number);
        slot.lease_until.set(deadline);
        slot.set_asked();
        slot.end();
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

    /// Keeps a yes to a session although a question got no verdict, notes that, and ends the lease. Returns
    /// false when there is no yes. A lease that has passed to somebody else stays as it is.
    pub fn keep_yes(&mut self, key: &Key, lease: Option<u64>, failure: Failure, now: u64) -> bool {
        let found = self.find(key);
        let Some(slot) = found.filter(|slot| slot.verdict(now) == Some(Verdict::Yes)) else {
            return false;
        };
        if lease == Some(slot.lease.get()) || slot.lease_until.get() <= now {
            slot.begin();
            slot.write_failure(failure);
            slot.lease_until.set(0);
            slot.end();
        }
        true
    }

    /// Keeps the resolver's answer, and ends the lease. Returns true when the answer was kept.
    ///
    /// A no to a token gives way only to the answer of its present lease. An answer of a lease that has
    /// passed to somebody else, or of none, replaces another only if it is a no: it may be the older
    /// one.
    pub fn store(&mut self, key: &Key, lease: Option<u64>, answer: &Answer<'_>, now: u64) -> bool {
        let room = RoomFor::answer(answer.verdict);
        if let Some(slot) = self.find(key) {
            let is_own = lease == Some(slot.lease.get());
            let is_kept = slot.accepts(answer.verdict, is_own, now);
            let slot = match (is_kept, room) {
                (true, RoomFor::Judgements) => self.promote(slot, key, now),
                _ => slot,
            };
            let is_leased = now < slot.lease_until.get();
            slot.begin();
            if is_kept {
                slot.write(answer, now);
            }
            if is_own || !is_leased {
                slot.lease_until.set(0);
            }
            if is_kept {
                // Last, since the lease is a part of what the state makes valid.
                slot.set_state(answer);
            }
            slot.end();
            return is_kept;
        }
        let Some(slot) = self.make_room(key, room, now) else {
            if matches!(answer.verdict, Verdict::Denied | Verdict::Unclear) {
                let crowded_until = &self.position(&key.digest).bucket.crowded_until;
                crowded_until.set(crowded_until.get().max(answer.not_after));
            }
            if room == RoomFor::Judgements {
                self.head.without_room.increment();
                self.warn();
            }
            return false;
        };
        slot.write(answer, now);
        slot.set_state(answer);
        slot.end();
        true
    }

    /// Keeps a token whose signature was checked. What the resolver said of it stays.
    pub fn store_token(&mut self, key: &Key, token: &Token<'_>, now: u64) {
        let slot = match self.find(key) {
            Some(slot) => {
                let slot = self.promote(slot, key, now);
                slot.begin();
                slot
            }
            None => match self.make_room(key, RoomFor::Judgements, now) {
                Some(slot) => slot,
                None => {
                    self.head.without_room.increment();
                    return self.warn();
                }
            },
        };
        slot.write_token(token, now);
        slot.set_asked();
        slot.end();
    }

    /// Moves what is known of a key from the room for questions to that for judgements, if there is room.
    /// One store makes it valid there. The slot may be in the midst of a change, which the caller ends.
    fn promote(&self, slot: &'m Slot, key: &Key, now: u64) -> &'m Slot {
        let questions = &self.slots[..self.room(RoomFor::Questions).slots];
        if !questions.as_ptr_range().contains(&ptr::from_ref(slot)) {
            return slot;
        }
        let Some((index, new)) = self.take(RoomFor::Judgements, now) else {
            return slot;
        };
        new.name(key, now);
        slot.copy_to(new);
        let position = self.position(&key.digest);
        for way in &position.bucket.ways {
            if self.named(way).is_some_and(|named| ptr::eq(named, slot)) {
                way.set(way_to(index, position.tag));
            }
        }
        slot.clear();
        new
    }

    /// An empty slot with the key in it, which its bucket names, in the midst of a change that the caller
    /// ends.
    fn make_room(&self, key: &Key, room: RoomFor, now: u64) -> Option<&'m Slot> {
        let position = self.position(&key.digest);
        let way = self.way_for(position, room, now)?;
        let (index, slot) = self.take(room, now)?;
        let way = &position.bucket.ways[way];
        let full = self.named(way);
        if let Some(evicted) = full.filter(|slot| self.is_in(slot, position)) {
            self.evict(evicted, now);
        }
        slot.name(key, now);
        way.set(way_to(index, position.tag));
        Some(slot)
    }

    /// The way of a bucket for one more slot: one that names none, or else one whose slot gives way.
    fn way_for(&self, position: Position<'m>, room: RoomFor, now: u64) -> Option<usize> {
        let worth = |(index, way): (usize, &HalfWord)| {
            match self.named(way).filter(|slot| self.is_in(slot, position)) {
                // A killed writer may have left a way to a slot that is empty or another bucket's.
                None => Some((Rank::Empty, 0, index)),
                Some(slot) => Some((slot.rank(now)?, slot.used.get(), index)),
            }
        };
        let ways = || position.bucket.ways.iter();
        // Most buckets have such a way. Taking it reads no slot, each of which would be a cache miss.
        if let Some(free) = ways().position(|way| way.get() == 0) {
            return Some(free);
        }
        let least = ways()
            .enumerate()
            .filter_map(worth)
            .filter(|(rank, ..)| room.takes(*rank))
            .min()?;
        Some(least.2)
    }

    /// True when a slot has a key whose bucket is that one.
    fn is_in(&self, slot: &Slot, position: Position<'_>) -> bool {
        let own = self.position(&slot.digest()).bucket;
        !slot.is_empty() && ptr::eq(own, position.bucket)
    }

    /// An empty slot that no bucket names, in the midst of a change that the caller ends: one that was never
    /// taken, or else the one of least worth among a few.
    fn take(&self, room: RoomFor, now: u64) -> Option<(usize, &'m Slot)> {
        let own = self.room(room);
        let taken = own.taken.get() as usize;
        if taken < own.slots {
            let index = own.first + taken;
            let slot = self.slots.get(index)?;
            slot.initialise();
            own.taken.increment();
            return Some((index, slot));
        }
        for _ in 0..SAMPLES {
            let first = own.hand.get() as usize % own.slots;
            own.hand.set(((first + SAMPLE) % own.slots) as u64);
            let sample =
                (first..first + SAMPLE.min(own.slots)).map(|at| own.first + at % own.slots);
            let ranked = sample.filter_map(|index| {
                let slot = self.slots.get(index)?;
                Some((slot.rank(now)?, slot.used.get(), index))
            });
            if let Some((.., index)) = ranked.filter(|(rank, ..)| room.takes(*rank)).min() {
                let slot = self.slots.get(index)?;
                self.evict(slot, now);
                return Some((index, slot));
            }
        }
        None
    }

    /// Empties a slot, and takes it from its bucket.
    fn evict(&self, slot: &'m Slot, now: u64) {
        if slot.rank(now) == Some(Rank::Live) {
            self.head.live_evictions.increment();
            self.warn();
        }
        slot.clear();
        for way in &self.position(&slot.digest()).bucket.ways {
            if self.named(way).is_some_and(|named| ptr::eq(named, slot)) {
                way.set(0);
            }
        }
    }

    fn warn(&self) {
        let warning = &self.head.warning;
        if warning.get() == 0 {
            warning.set(WARNING_DUE);
        }
    }

    /// True when the administrator is to be told that the table is too small: once in its life, after the
    /// first live judgement that gave way or found no room.
    pub fn take_warning(&mut self) -> bool {
        let warning = &self.head.warning;
        let is_due = warning.get() == WARNING_DUE;
        if is_due {
            warning.set(WARNING_GIVEN);
        }
        is_due
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
