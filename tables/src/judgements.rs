//! Everything that was judged, shared by all workers: the signatures and claims of tokens, and the
//! resolver's answers.
//!
//! A hash table of fixed size. A [`Key`] belongs to one bucket, which is one cache line with the numbers
//! of the slots that its keys have; slots are taken in order, so that an empty table takes no memory. When
//! all are taken, the one that is worth least among a few gives way (the order of `Rank`), of equals the
//! one that was used least recently. A *no* to a token that has not expired never does; where there is no
//! room for one, its bucket notes until when such tokens have to wait for an answer.
//!
//! Judgements that anybody can cause, questions and noes to sessions, have slots of their own, a part of
//! all. So anonymous requests never evict a judgement that counts.
//!
//! Readers take no lock ([`Table::read`]); they copy a slot and compare its sequence number. Writers hold
//! a lock that all processes share ([`Writer`]). A slot is marked as empty before it is written and gets
//! its state last, so that a killed writer leaves no half judgement.

use core::mem::{self, offset_of};
use core::ptr::NonNull;
use core::slice;

use authgear_core::digest::{Digest, DigestKey};

use crate::layout_number;
use crate::word::{HalfWord, Word, IS_MODEL};

#[cfg(all(test, feature = "loom"))]
mod models;
mod slot;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
mod value;
mod writer;

use slot::{Slot, Torn};
pub use value::{Answer, Failure, Key, Known, KnownToken, Text, Token, TryLease, Verdict};
pub use writer::Writer;

/// Slots that one bucket can name.
const WAYS: usize = if IS_MODEL { 2 } else { 14 };
/// Slots for each bucket, on average. One bucket in 50,000 of a full table has more keys than ways then.
const LOAD: usize = 4;
/// One slot in so many is for questions, and for noes to sessions.
const QUESTIONS_PART: usize = 16;
/// Most slots of a table: the number of one has 24 bits in its bucket.
const MOST_SLOTS: usize = (1 << 24) - 2;
/// Projects whose failures are told apart in the log.
const PROJECTS: usize = 64;
/// How often a reader without the lock tries again.
const TRIES: usize = 3;

/// The head of a table in shared memory; the buckets follow it, and the slots follow them. Processes share
/// references to all three: each field is atomic, or never changes after [`Table::place`].
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C, align(64))]
pub struct Head {
    key: DigestKey,
    buckets: usize,
    /// Slots for questions come first, then those for judgements.
    rooms: [Room; 2],
    /// Number of the newest lease.
    leases: Word,
    /// A bit for each project whose resolver failed the last recheck.
    failing: Word,
    /// Live judgements that gave way.
    live_evictions: Word,
    /// Judgements to be kept that found no room.
    without_room: Word,
    /// One of the `WARNING_…`.
    warning: Word,
}

/// The slots for one kind of entry.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C)]
struct Room {
    first: usize,
    slots: usize,
    /// So many of them were taken at some time, the first ones.
    taken: Word,
    /// The next to be looked at when one has to give way.
    hand: Word,
}

/// The kind of entry that a room is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoomFor {
    /// Questions, noes to sessions, and failures: anybody can cause them.
    Questions,
    /// Verified tokens, a yes, and a no to a token.
    Judgements,
}

/// One cache line.
#[derive(Debug)]
#[cfg_attr(test, derive(Default))]
#[repr(C, align(64))]
struct Bucket {
    /// The latest time at which a no that found no room here expires.
    crowded_until: Word,
    /// Numbers of slots from 1, with a part of their digests above; 0 for none.
    ways: [HalfWord; WAYS],
}

/// Bytes that a judgement takes, its part of the buckets included.
pub const JUDGEMENT_SIZE: usize = mem::size_of::<Slot>() + mem::size_of::<Bucket>() / LOAD;

const _: () = assert!(IS_MODEL || JUDGEMENT_SIZE == 656 && mem::size_of::<Bucket>() == 64);

/// Differs when the memory is laid out in another way. The last number is for changes of meaning.
pub const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Head>(),
    offset_of!(Head, key),
    offset_of!(Head, buckets),
    offset_of!(Head, rooms),
    offset_of!(Head, leases),
    offset_of!(Head, failing),
    offset_of!(Head, live_evictions),
    offset_of!(Head, without_room),
    offset_of!(Head, warning),
    mem::size_of::<Room>(),
    offset_of!(Room, first),
    offset_of!(Room, slots),
    offset_of!(Room, taken),
    offset_of!(Room, hand),
    mem::size_of::<Bucket>(),
    offset_of!(Bucket, crowded_until),
    offset_of!(Bucket, ways),
    LOAD,
    QUESTIONS_PART,
    slot::LAYOUT as usize,
    3,
]);

/// The words of a head that never change, by their offsets: all others may hold anything in the target in
/// fuzz/.
#[cfg(feature = "fuzzing")]
pub const CONSTANT: [usize; 7] = {
    let rooms = offset_of!(Head, rooms);
    let next = rooms + mem::size_of::<Room>();
    let (first, slots) = (offset_of!(Room, first), offset_of!(Room, slots));
    let key = offset_of!(Head, key);
    [
        key,
        key + 8,
        offset_of!(Head, buckets),
        rooms + first,
        rooms + slots,
        next + first,
        next + slots,
    ]
};

/// The dimensions of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    buckets: usize,
    questions: usize,
    judgements: usize,
}

impl Dimensions {
    /// Those of the table in a zone of that many bytes. It leaves an eighth for key sets, counters and
    /// revocations, of what is above 32 MiB a quarter, and of a small zone more: 768 KiB, but at most three
    /// quarters.
    #[must_use]
    pub const fn in_zone(size: usize) -> Dimensions {
        const ENOUGH: usize = 768 << 10;
        let part = size / 8 + size.saturating_sub(32 << 20) / 8;
        let most = size / 4 * 3;
        let others = if part > ENOUGH {
            part
        } else if most < ENOUGH {
            most
        } else {
            ENOUGH
        };
        Dimensions::within(size - others)
    }

    /// Those of a table that fits into so many bytes; at least one slot of each kind.
    #[must_use]
    pub const fn within(size: usize) -> Dimensions {
        let unit = LOAD * JUDGEMENT_SIZE;
        let mut buckets = size.saturating_sub(mem::size_of::<Head>()) / unit;
        if buckets == 0 {
            buckets = 1;
        }
        if buckets > MOST_SLOTS / LOAD {
            buckets = MOST_SLOTS / LOAD;
        }
        let questions = (buckets * LOAD).div_ceil(QUESTIONS_PART);
        Dimensions {
            buckets,
            questions,
            judgements: buckets * LOAD - questions,
        }
    }

    /// The bytes that the table takes.
    #[must_use]
    pub const fn size(self) -> usize {
        let slots = (self.questions + self.judgements) * mem::size_of::<Slot>();
        mem::size_of::<Head>() + self.buckets * mem::size_of::<Bucket>() + slots
    }

    /// The number of tokens and sessions that it holds.
    #[must_use]
    pub const fn judgements(self) -> usize {
        self.judgements
    }
}

/// A table for reading, which takes no lock.
#[derive(Debug, Clone, Copy)]
pub struct Table<'m> {
    head: &'m Head,
    buckets: &'m [Bucket],
    slots: &'m [Slot],
}

/// A writer holds up this reader: the answer takes the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl<'m> Table<'m> {
    /// Makes an empty table in memory that may hold anything.
    ///
    /// # Safety
    ///
    /// `memory` must be writable, aligned to 64 and as long as [`Dimensions::size`] says. Nobody else may
    /// know it yet.
    pub unsafe fn place(
        memory: NonNull<u8>,
        dimensions: Dimensions,
        key: DigestKey,
    ) -> NonNull<Head> {
        let room = |first, slots| Room {
            first,
            slots,
            taken: Word::default(),
            hand: Word::default(),
        };
        let head = memory.cast::<Head>();
        // SAFETY: the caller vouches for the memory. Zeroed buckets name no slot, and a slot that none
        // names is initialised before it is taken.
        unsafe {
            head.write(Head {
                key,
                buckets: dimensions.buckets,
                rooms: [
                    room(0, dimensions.questions),
                    room(dimensions.questions, dimensions.judgements),
                ],
                leases: Word::default(),
                failing: Word::default(),
                live_evictions: Word::default(),
                without_room: Word::default(),
                warning: Word::default(),
            });
            head.add(1)
                .cast::<Bucket>()
                .write_bytes(0, dimensions.buckets);
        }
        head
    }

    /// The table behind a head.
    ///
    /// # Safety
    ///
    /// `head` must come from [`Table::place`], whose memory must stay for `'m`.
    #[must_use]
    pub unsafe fn new(head: NonNull<Head>) -> Table<'m> {
        // SAFETY: the pointer that `place` made is one to the whole memory. As many buckets as the head
        // says follow it, and the slots of both rooms follow them. What changes in all of it is atomic.
        unsafe {
            let buckets = head.add(1).cast::<Bucket>();
            let head = head.as_ref();
            let slots = buckets.add(head.buckets).cast::<Slot>();
            let [_, last] = &head.rooms;
            Table {
                head,
                buckets: slice::from_raw_parts(buckets.as_ptr(), head.buckets),
                slots: slice::from_raw_parts(slots.as_ptr(), last.first + last.slots),
            }
        }
    }

    /// The secret key of the digests in the table. It never changes.
    #[must_use]
    pub fn digest_key(&self) -> DigestKey {
        self.head.key
    }

    /// Looks a key up, and copies its text if `text` is there to take it.
    ///
    /// # Errors
    ///
    /// [`Busy`] when a writer is changing the slot or was killed while it did: [`Writer::read`] tells.
    pub fn read(&self, key: &Key, now: u64, mut text: Option<&mut Text>) -> Result<Known, Busy> {
        for _ in 0..TRIES {
            if let Ok(known) = self.try_read(key, now, text.as_deref_mut()) {
                return Ok(known);
            }
        }
        Err(Busy)
    }

    fn try_read(&self, key: &Key, now: u64, mut text: Option<&mut Text>) -> Result<Known, Torn> {
        let position = self.position(&key.digest);
        for way in &position.bucket.ways {
            let named = way.get();
            let Some(slot) = self.slot_of(named, position.tag) else {
                continue;
            };
            if let Some(known) = slot.read(key, now, text.as_deref_mut())? {
                slot.touch(now);
                return Ok(position.with_crowd(known, now));
            }
            // It may have moved to another slot meanwhile.
            if way.get() != named {
                return Err(Torn);
            }
        }
        Ok(position.with_crowd(Known::default(), now))
    }

    fn position(&self, digest: &Digest) -> Position<'m> {
        let number = u128::from_le_bytes(*digest);
        // A part of all buckets, as the digest's lower half is a part of 2^64.
        let bucket = (u128::from(number as u64) * self.buckets.len() as u128) >> 64;
        Position {
            bucket: &self.buckets[bucket as usize],
            tag: (number >> 120) as u32,
        }
    }

    /// The slot that a way names, if the tag is right.
    fn slot_of(&self, named: u32, tag: u32) -> Option<&'m Slot> {
        if named >> 24 != tag {
            return None;
        }
        self.slots.get(number_of(named)?)
    }

    fn room(&self, room: RoomFor) -> &'m Room {
        &self.head.rooms[room as usize]
    }

    /// The numbers of live judgements that were evicted, and of those that found no room.
    #[must_use]
    pub fn losses(&self) -> (u64, u64) {
        (self.head.live_evictions.get(), self.head.without_room.get())
    }

    /// The number of slots that were taken at some time, and of all. Those that have run out are taken
    /// again only when no other is left.
    #[must_use]
    pub fn fill(&self) -> (u64, u64) {
        let rooms = &self.head.rooms;
        let taken = |room: &Room| room.taken.get().min(room.slots as u64);
        let taken = rooms.iter().map(taken).sum();
        (taken, rooms.iter().map(|room| room.slots as u64).sum())
    }

    /// True when a project's resolver failed the last question about a token.
    #[must_use]
    pub fn is_failing(&self, project: usize) -> bool {
        self.head.failing.get() & (1 << (project % PROJECTS)) != 0
    }
}

/// A digest's position in the table: the only bucket that may name its slot, and the tag of the way there.
#[derive(Debug, Clone, Copy)]
struct Position<'m> {
    bucket: &'m Bucket,
    tag: u32,
}

impl Position<'_> {
    fn with_crowd(&self, known: Known, now: u64) -> Known {
        let has_verdict = !matches!(known.verdict, None | Some((Verdict::Failed, _)));
        Known {
            is_crowded: !has_verdict && now < self.bucket.crowded_until.get(),
            ..known
        }
    }
}

/// The index of the slot that a way names.
fn number_of(named: u32) -> Option<usize> {
    (named as usize & 0xff_ffff).checked_sub(1)
}

/// The way that names a slot.
fn way_to(index: usize, tag: u32) -> u32 {
    tag << 24 | (index as u32 + 1)
}
