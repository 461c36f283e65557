//! One slot of the table of resolver answers.

use core::mem::{self, offset_of};
use core::slice;

use authgear_core::session::{Field, Fields};

use super::answer::{Answer, Key, Verdict};
use crate::layout_number;
use crate::word::Word;

/// Words for a session's texts. Of a longer session only the fact that it is too long is stored.
const TEXTS: usize = 48;
/// Bytes of a word.
const WORD: usize = mem::size_of::<Word>();

/// Questions without an answer hold at most so many slots of a set at the cost of live answers: a client
/// can cause as many questions as it likes.
pub(super) const QUESTIONS: usize = 2;

/// One answer, or a question without one. Zeroed memory is an empty slot. All of it is atomic.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot {
    /// One of the states below. All else is valid only if it is not [`EMPTY`].
    pub state: Word,
    tenant: [Word; 4],
    digest: [Word; 2],
    /// When it was last looked up.
    pub used: Word,
    /// When the resolver answered, well or badly.
    pub answered_at: Word,
    /// The verdict is not used from this time on.
    not_after: Word,
    /// Until this time the answer is in use; later it is evicted before those in use.
    live_until: Word,
    /// Number of the newest lease.
    pub lease: Word,
    /// Until this time somebody is asking.
    pub lease_until: Word,
    /// Ends of the session's eight fields in `texts`, 16 bits each.
    ends: [Word; 2],
    texts: [Word; TEXTS],
}

pub(super) const EMPTY: u64 = 0;
/// Nothing is known yet.
pub(super) const ASKED: u64 = 1;
const YES: u64 = 2;
const TOO_LARGE: u64 = 3;
const CONFIRMED: u64 = 4;
const NO: u64 = 5;
const DENIED: u64 = 6;
const FAILED: u64 = 7;
const UNCLEAR: u64 = 8;

pub(super) const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Slot>(),
    offset_of!(Slot, state),
    offset_of!(Slot, tenant),
    offset_of!(Slot, digest),
    offset_of!(Slot, used),
    offset_of!(Slot, answered_at),
    offset_of!(Slot, not_after),
    offset_of!(Slot, live_until),
    offset_of!(Slot, lease),
    offset_of!(Slot, lease_until),
    offset_of!(Slot, ends),
    offset_of!(Slot, texts),
]);

/// The worth of a slot, the least first. A no to a token that has not expired has no rank: it never
/// gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Empty,
    /// The request that asked has left.
    Asked,
    Failed,
    /// The verdict has run out.
    RunOut,
    /// A no to a session.
    No,
    /// Somebody is asking, and nothing that counts is known.
    Leased,
    /// A yes that counts.
    Live,
}

/// The kind of a new entry, which decides what it may evict.
#[derive(Debug, Clone, Copy)]
pub(super) enum NewEntry {
    /// A question, which anybody can cause.
    Question,
    /// A no to a session or a failure, which anybody can cause too.
    Minor,
    /// A yes, or a no to a token.
    Answer,
}

impl NewEntry {
    /// True when it may evict an entry of that rank. `questions`: pending questions in the set.
    pub fn takes(self, rank: Rank, questions: usize) -> bool {
        match self {
            NewEntry::Answer => true,
            NewEntry::Minor => rank < Rank::Leased,
            NewEntry::Question => {
                rank < Rank::Leased || (rank == Rank::Live && questions < QUESTIONS)
            }
        }
    }
}

impl Slot {
    pub fn is_of(&self, key: &Key) -> bool {
        self.state.get() != EMPTY && is(&self.digest, &key.digest) && is(&self.tenant, &key.tenant)
    }

    /// Marks the slot as empty.
    pub fn clear(&self) {
        self.state.set(EMPTY);
        self.lease_until.set(0);
        self.lease.set(0);
    }

    /// Gives an empty slot to a key.
    pub fn name(&self, key: &Key, now: u64) {
        put(&self.tenant, &key.tenant);
        put(&self.digest, &key.digest);
        self.used.set(now);
        self.answered_at.set(0);
        self.not_after.set(0);
        self.live_until.set(0);
    }

    /// The rank, or nothing if the slot must stay.
    pub fn rank(&self, now: u64) -> Option<Rank> {
        let state = self.state.get();
        let is_used = now < self.not_after.get();
        let is_live = is_used && now < self.live_until.get();
        Some(match state {
            EMPTY => Rank::Empty,
            DENIED | UNCLEAR if is_used => return None,
            YES | TOO_LARGE | CONFIRMED if is_live => Rank::Live,
            _ if now < self.lease_until.get() => Rank::Leased,
            ASKED => Rank::Asked,
            FAILED => Rank::Failed,
            NO if is_live => Rank::No,
            _ => Rank::RunOut,
        })
    }

    /// The verdict, while it is still used.
    pub fn verdict(&self, now: u64) -> Option<Verdict<'_>> {
        if now >= self.not_after.get() {
            return None;
        }
        match self.state.get() {
            YES => self.fields().map(Verdict::Yes),
            TOO_LARGE => Some(Verdict::TooLarge),
            CONFIRMED => Some(Verdict::Confirmed),
            NO => Some(Verdict::No),
            DENIED => Some(Verdict::Denied),
            FAILED => Some(Verdict::Failed),
            UNCLEAR => Some(Verdict::Unclear),
            _ => None,
        }
    }

    /// True when an answer may replace what the slot holds. `is_own` says that it is that of the present
    /// lease.
    pub fn accepts(&self, verdict: &Verdict<'_>, is_own: bool, now: u64) -> bool {
        let is_leased = now < self.lease_until.get();
        match (self.verdict(now), verdict) {
            (_, Verdict::Denied) => true,
            (Some(Verdict::Denied), Verdict::No | Verdict::Failed | Verdict::Unclear) => false,
            _ if is_own => true,
            (Some(Verdict::Denied), _) => false,
            (_, Verdict::No) => true,
            (None, Verdict::Failed) => !is_leased,
            (_, Verdict::Unclear) => true,
            (known, _) => known.is_none(),
        }
    }

    /// Writes all of an answer but its state, which is for the caller to set last. Until then the slot is
    /// empty, unless a no to a token is followed by another: the denial stays valid during the write.
    pub fn write(&self, answer: &Answer<'_>, now: u64) {
        let is_no_again = self.state.get() == DENIED && matches!(answer.verdict, Verdict::Denied);
        if !is_no_again {
            self.state.set(EMPTY);
        }
        if let Verdict::Yes(fields) = &answer.verdict {
            if fields.text().len() <= TEXTS * WORD {
                put(&self.texts, fields.text());
                // All ends fit into 16 bits, since the text is short enough.
                for (word, ends) in self.ends.iter().zip(fields.ends().chunks(4)) {
                    let both = |word, end: &u32| word << 16 | u64::from(*end as u16);
                    word.set(ends.iter().rev().fold(0, both));
                }
            }
        }
        self.used.set(now);
        self.answered_at.set(now);
        self.not_after.set(answer.not_after);
        self.live_until.set(answer.live_until);
    }

    /// The state for a verdict.
    pub fn state_of(&self, verdict: &Verdict<'_>) -> u64 {
        match verdict {
            Verdict::Yes(fields) if fields.text().len() <= TEXTS * WORD => YES,
            Verdict::Yes(_) | Verdict::TooLarge => TOO_LARGE,
            Verdict::Confirmed => CONFIRMED,
            Verdict::No => NO,
            Verdict::Denied => DENIED,
            Verdict::Failed => FAILED,
            Verdict::Unclear => UNCLEAR,
        }
    }

    fn fields(&self) -> Option<Fields<'_>> {
        let mut ends = [0; 8];
        for (index, end) in ends.iter_mut().enumerate() {
            *end = (self.ends[index / 4].get() >> (index % 4 * 16)) as u32 & 0xffff;
        }
        let length = ends[7] as usize;
        if length > TEXTS * WORD {
            return None;
        }
        // SAFETY: the words are initialised, and so many bytes lie in them. Nobody writes them while the
        // caller holds the table's lock, which outlives the reference.
        let text = unsafe { slice::from_raw_parts(self.texts.as_ptr().cast::<u8>(), length) };
        let fields = Fields::new(text, ends);
        fields.get(Field::UserId).map(|_| fields)
    }
}

/// Stores bytes in words, in the order in which memory holds them.
fn put(words: &[Word], bytes: &[u8]) {
    for (word, piece) in words.iter().zip(bytes.chunks(WORD)) {
        let mut whole = [0; WORD];
        whole[..piece.len()].copy_from_slice(piece);
        word.set(u64::from_ne_bytes(whole));
    }
}

/// True when words hold these bytes.
fn is(words: &[Word], bytes: &[u8]) -> bool {
    let pieces = bytes.chunks_exact(WORD);
    words
        .iter()
        .zip(pieces)
        .all(|(word, piece)| word.get().to_ne_bytes() == piece)
}
