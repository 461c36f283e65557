//! Revocations by user, shared by all workers.
//!
//! A hash table of fixed size. Of a user's two sets of slots hardly any is full before the table is; the oldest
//! instant of both gives way then.
//!
//! Writers hold the lock that guards the table; readers take none. A change is complete in the head before its slot
//! is touched, and stays there until the slot is complete. So a reader that meets a slot which is being written finds
//! the whole change there, and so does the writer after one that was killed: no revocation is ever gone.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::digest::{Digest, DigestKey};
use authgear_core::revocation::State;

use crate::layout_number;
use crate::word::{pause, HalfWord, Word, IS_MODEL};

#[cfg(all(test, feature = "loom"))]
mod models;
mod slot;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
mod value;

use slot::{is_odd, Slot};
pub use value::{Entry, Key, Merged};

/// Slots of one set.
const WAYS: usize = if IS_MODEL { 1 } else { 16 };
/// How often a reader tries again, which is far more than a change takes, before it reads spoiled memory.
const TRIES: usize = 100;

/// The head of a table; sets and slots follow it. Each field is atomic, or never changes after [`place`].
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C, align(64))]
pub struct Head {
    key: DigestKey,
    sets: usize,
    /// The last second at which any entry counts; 0 while there was none.
    until: Word,
    /// Odd while `draft` is a change that the slot of index `draft_of` does not yet have.
    draft_version: Word,
    draft_of: Word,
    /// Entries that gave way while they counted.
    evictions: Word,
    /// Changes so far.
    changes: Word,
    draft: Slot,
}

/// The tags of a set: a part of each slot's digest, 0 for a slot that was never used.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C, align(64))]
struct Set([HalfWord; WAYS]);

/// Bytes that a user takes, its part of the set included.
pub const ENTRY_SIZE: usize = mem::size_of::<Slot>() + mem::size_of::<Set>() / WAYS;

const _: () = assert!(IS_MODEL || ENTRY_SIZE == 132);

/// Differs when the memory is laid out in another way. The last number is for changes of meaning.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Head>(),
    offset_of!(Head, key),
    offset_of!(Head, sets),
    offset_of!(Head, until),
    offset_of!(Head, draft_version),
    offset_of!(Head, draft_of),
    offset_of!(Head, evictions),
    offset_of!(Head, changes),
    offset_of!(Head, draft),
    mem::size_of::<Set>(),
    WAYS,
    slot::LAYOUT as usize,
    1,
]);

/// The number of sets of a table that fits into `size` bytes, at least two, and the bytes that it takes.
#[must_use]
pub fn layout(size: usize) -> (usize, usize) {
    let pair = 2 * WAYS * ENTRY_SIZE;
    let pairs = (size.saturating_sub(mem::size_of::<Head>()) / pair).max(1);
    (2 * pairs, mem::size_of::<Head>() + pairs * pair)
}

/// Makes an empty table in zeroed memory.
///
/// # Safety
///
/// `memory` must be zeroed, aligned to 64 and as long as [`layout`] says for `sets`.
pub unsafe fn place(memory: NonNull<u8>, sets: usize, key: DigestKey) -> NonNull<Head> {
    let head = memory.cast::<Head>();
    // SAFETY: the caller vouches for the memory, and nobody else knows it yet. A zeroed head is one of an
    // empty table, and a zeroed slot an unused one.
    unsafe {
        (*head.as_ptr()).key = key;
        (*head.as_ptr()).sets = sets;
    }
    head
}

/// A table, to read from without a lock.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'m> {
    head: &'m Head,
    sets: &'m [Set],
    slots: &'m [Slot],
}

/// A table whose lock the caller holds.
#[derive(Debug)]
pub struct Writer<'m>(Reader<'m>);

/// The two sets in which a digest is looked up.
struct Position {
    sets: [usize; 2],
    tag: u32,
}

impl<'m> Reader<'m> {
    /// The table behind a head.
    ///
    /// # Safety
    ///
    /// `head` must come from [`place`], whose memory must stay for `'m`.
    #[must_use]
    pub unsafe fn new(head: NonNull<Head>) -> Reader<'m> {
        // SAFETY: the pointer that `place` made is one to the whole memory. As many sets as the head says
        // follow it, and `WAYS` slots for each follow them. What changes in all of it is atomic.
        unsafe {
            let sets = head.add(1).cast::<Set>();
            let count = head.as_ref().sets;
            let slots = sets.add(count).cast::<Slot>();
            Reader {
                head: head.as_ref(),
                sets: slice::from_raw_parts(sets.as_ptr(), count),
                slots: slice::from_raw_parts(slots.as_ptr(), count * WAYS),
            }
        }
    }

    /// The secret key of the digests in the table.
    #[must_use]
    pub fn key(&self) -> DigestKey {
        self.head.key
    }

    /// True when no entry counts at `now`, in Unix seconds. One word is read.
    #[must_use]
    pub fn is_empty(&self, now: u64) -> bool {
        self.head.until.get() < now
    }

    /// The entry of a user, if it has one that counts at `now`, in Unix seconds.
    #[must_use]
    pub fn look_up(&self, key: &Key, now: u64) -> Option<Entry> {
        if self.is_empty(now) {
            return None;
        }
        let (position, mut tries) = (self.position(&key.digest), 0);
        loop {
            let (version, draft) = self.draft(key);
            let mut is_torn = false;
            let mut found = draft;
            for (_, slot) in self.tagged(&position) {
                let content = || (tries == TRIES).then(|| slot.content());
                match slot.read().or_else(content) {
                    Some((named, entry)) if named == *key => found = found.or(Some(entry)),
                    Some(_) => {}
                    None => is_torn = true,
                }
            }
            // The draft holds all that the slot will. A slot that is written while the draft is another
            // user's is not this one's any more, or not yet.
            let is_settled = is_odd(version) && self.head.draft_version.get() == version;
            if !is_torn || draft.is_some() || is_settled {
                return found.filter(|entry| now <= entry.until);
            }
            tries += 1;
            pause();
        }
    }

    /// The version of the draft, and the change if it is this user's.
    fn draft(&self, key: &Key) -> (u64, Option<Entry>) {
        loop {
            let version = self.head.draft_version.get();
            if !is_odd(version) {
                return (version, None);
            }
            let (named, entry) = self.head.draft.content();
            if self.head.draft_version.get() == version {
                return (version, (named == *key).then_some(entry));
            }
            pause();
        }
    }

    /// The number of entries that count at `now`, in Unix seconds.
    #[must_use]
    pub fn count(&self, now: u64) -> usize {
        self.counting(now).count()
    }

    /// The number of a group's users whose sessions have ended at `now`, in Unix seconds. Others have an entry
    /// for a plan that is ahead, or for an event that ends nothing.
    #[must_use]
    pub fn count_revoked(&self, group: u64, now: u64) -> usize {
        let is_revoked = |entry: &Entry| entry.state.instant(now as f64).is_some();
        self.counting(now)
            .filter(|(key, entry)| key.group == group && is_revoked(entry))
            .count()
    }

    fn counting(&self, now: u64) -> impl Iterator<Item = (Key, Entry)> + use<'m> {
        let entries = self.slots.iter().filter_map(Slot::read);
        entries.filter(move |(_, entry)| now <= entry.until)
    }

    /// The number of users that the table has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The number of entries that gave way while they counted.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.head.evictions.get()
    }

    /// The number of changes so far. It grows with each that [`Writer::merge`] makes, once readers find it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.head.changes.get()
    }

    fn position(&self, digest: &Digest) -> Position {
        let number = u128::from_le_bytes(*digest);
        let count = self.sets.len() as u128;
        // Parts of all sets, as parts of the digest are of 2^64 and 2^32.
        let first = ((number & u128::from(u64::MAX)) * count) >> 64;
        let second = ((number >> 64 & u128::from(u32::MAX)) * count) >> 32;
        let first = first as usize;
        Position {
            // There are as many even sets as odd ones.
            sets: [
                first,
                if second as usize == first {
                    first ^ 1
                } else {
                    second as usize
                },
            ],
            tag: (number >> 96) as u32 | 1,
        }
    }

    /// The slots of both sets, with their index.
    fn slots(&self, position: &Position) -> impl Iterator<Item = (usize, &'m Slot)> + use<'m> {
        let slots = self.slots;
        let first = position.sets.map(|set| set * WAYS);
        let indices = (first[0]..first[0] + WAYS).chain(first[1]..first[1] + WAYS);
        indices.map(move |index| (index, &slots[index]))
    }

    /// The slots of both sets that have the tag.
    fn tagged(&self, position: &Position) -> impl Iterator<Item = (usize, &'m Slot)> + use<'m> {
        let (sets, tag) = (self.sets, position.tag);
        self.slots(position)
            .filter(move |(index, _)| sets[index / WAYS].0[index % WAYS].get() == tag)
    }
}

impl<'m> Writer<'m> {
    /// The table behind a head. A change that a killed writer left is ended.
    ///
    /// # Safety
    ///
    /// As for [`Reader::new`]; the caller must hold the lock that all writers take.
    #[must_use]
    pub unsafe fn new(head: NonNull<Head>) -> Writer<'m> {
        // SAFETY: the caller vouches for the table.
        let writer = Writer(unsafe { Reader::new(head) });
        if is_odd(writer.0.head.draft_version.get()) {
            writer.finish();
        }
        writer
    }

    /// The table, to read from.
    #[must_use]
    pub fn reader(&self) -> Reader<'m> {
        self.0
    }

    /// Merges what was heard of a user into its entry, which counts until `keep` seconds after the last time
    /// that its state names. `now` in Unix seconds, `clock` in milliseconds of the workers' clock.
    pub fn merge(&mut self, key: &Key, heard: &State, keep: u64, now: u64, clock: u64) -> Merged {
        let known = self.0.look_up(key, now);
        let known_state = known.map_or(State::default(), |entry| entry.state);
        let came_at = known.map_or(0, |entry| entry.came_at);
        let state = known_state.merge(heard);
        // A delivery that is repeated voids no answer that was asked for since the first.
        let is_renewed = state != known_state && known_state.is_renewed_by(heard);
        let entry = Entry {
            state,
            came_at: if is_renewed { clock } else { came_at },
            until: state.last_time().saturating_add(keep),
        };
        if known == Some(entry) {
            return Merged::Known;
        }
        let position = self.0.position(&key.digest);
        let mut tagged = self.0.tagged(&position);
        let own = tagged.find(|(_, slot)| slot.content().0 == *key);
        let (index, merged) = match own {
            Some((index, _)) if known_state == state => (index, Merged::Renewed),
            Some((index, _)) => (index, Merged::Stored),
            None => match self.make_room(&position, &entry, now) {
                Some(room) => room,
                None => {
                    self.0.head.evictions.increment();
                    return Merged::NoRoom;
                }
            },
        };
        let head = self.0.head;
        if merged == Merged::Evicted {
            head.evictions.increment();
        }
        head.draft.write(key, &entry);
        head.draft_of.set(index as u64);
        head.until.set(head.until.get().max(entry.until));
        head.draft_version.increment();
        self.finish();
        merged
    }

    /// Takes in all that counts at `now` in another table of the same key, which nobody changes meanwhile. Returns
    /// the worst result.
    pub fn take_over(&mut self, other: &Reader, now: u64) -> Merged {
        let merged = other.counting(now).map(|(key, entry)| {
            let keep = entry.until.saturating_sub(entry.state.last_time());
            self.merge(&key, &entry.state, keep, now, entry.came_at)
        });
        merged.max().unwrap_or(Merged::Known)
    }

    /// The slot for a new entry: an unused one or one that no longer counts, in the set that has more
    /// of them; else that of the oldest instant, if it is older than the new one.
    fn make_room(&self, position: &Position, entry: &Entry, now: u64) -> Option<(usize, Merged)> {
        let content = |slot: &Slot| slot.content().1;
        let (mut free, mut counts) = ([None; 2], [0; 2]);
        for (at, (index, slot)) in self.0.slots(position).enumerate() {
            if content(slot).until < now {
                free[at / WAYS] = Some(index);
                counts[at / WAYS] += 1;
            }
        }
        let better = usize::from(counts[1] > counts[0]);
        if let Some(index) = free[better] {
            return Some((index, Merged::Stored));
        }
        let instant = |slot: &Slot| content(slot).state.last_instant();
        let slots = self.0.slots(position);
        let (oldest, index) = slots.map(|(index, slot)| (instant(slot), index)).min()?;
        (oldest <= entry.state.last_instant()).then_some((index, Merged::Evicted))
    }

    /// Copies the draft into its slot.
    fn finish(&self) {
        let head = self.0.head;
        let index = head.draft_of.get() as usize;
        let (key, entry) = head.draft.content();
        let tag = self.0.position(&key.digest).tag;
        if let Some(slot) = self.0.slots.get(index) {
            slot.replace(&key, &entry, || {
                self.0.sets[index / WAYS].0[index % WAYS].set(tag);
            });
        }
        head.changes.increment();
        head.draft_version.increment();
    }
}
