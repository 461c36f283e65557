//! One slot of the table of judgements.

use core::mem::{self, offset_of};

use authgear_core::digest::Digest;

use super::value::{Answer, Failure, Key, Known, KnownToken, Text, Token, Verdict, TEXTS};
use crate::layout_number;
use crate::word::Word;

/// Bytes of a word.
const WORD: usize = mem::size_of::<u64>();

/// One judgement: a resolver's answer, a question without one, or a verified token with the resolver's
/// answer about it, if it was asked. All of it is atomic.
#[derive(Debug)]
#[cfg_attr(all(test, feature = "loom"), derive(Default))]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Odd while a writer changes what readers copy.
    sequence: Word,
    /// One of the states below. All else is valid only if it is not [`EMPTY`].
    state: Word,
    /// When it was last looked up, to [`USED_STEP`].
    pub used: Word,
    /// The verdict is not used from this time on.
    not_after: Word,
    /// Until this time the answer is in use; later it is evicted before those in use.
    live_until: Word,
    /// Until this time somebody is asking.
    pub lease_until: Word,
    digest: [Word; 2],
    tenant: [Word; 4],
    /// When the resolver answered, well or badly.
    answered_at: Word,
    /// Number of the newest lease.
    pub lease: Word,
    /// The length of the text in bytes, with [`TOKEN`] and [`WHOLE`] added.
    form: Word,
    /// When the token expires.
    expires_at: Word,
    /// The token's digest, its signature included. Of a session, twice the time at
    /// which a question after the yes failed, and 1 more for an outage; 0 if none did.
    token: [Word; 2],
    text: [Word; TEXTS],
}

pub(super) const EMPTY: u64 = 0;
/// The resolver has not answered yet, or was never asked about this token.
const ASKED: u64 = 1;
const YES: u64 = 2;
const TOO_LARGE: u64 = 3;
const CONFIRMED: u64 = 4;
const NO: u64 = 5;
const DENIED: u64 = 6;
const FAILED: u64 = 7;
const UNCLEAR: u64 = 8;

/// The text is a token's record.
const TOKEN: u64 = 1 << 32;
/// All of it.
const WHOLE: u64 = 1 << 33;

/// How long a slot is used before that is noted again, in milliseconds: a line that all workers read is
/// written seldom.
const USED_STEP: u64 = 10;

pub(super) const LAYOUT: u64 = layout_number(&[
    mem::size_of::<Slot>(),
    offset_of!(Slot, sequence),
    offset_of!(Slot, state),
    offset_of!(Slot, used),
    offset_of!(Slot, not_after),
    offset_of!(Slot, live_until),
    offset_of!(Slot, lease_until),
    offset_of!(Slot, digest),
    offset_of!(Slot, tenant),
    offset_of!(Slot, answered_at),
    offset_of!(Slot, lease),
    offset_of!(Slot, form),
    offset_of!(Slot, expires_at),
    offset_of!(Slot, token),
    offset_of!(Slot, text),
]);

/// The worth of a slot, the least first. A no to a token that has not expired has no rank: it never
/// gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Empty,
    /// The request that asked has left.
    Asked,
    Failed,
    /// The verdict or the token has run out.
    RunOut,
    /// A no to a session.
    No,
    /// Somebody is asking, and nothing that counts is known.
    Leased,
    /// A yes that counts, or a verified token.
    Live,
}

/// A slot that a writer is changing, or was when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn;

impl Slot {
    pub fn is_of(&self, key: &Key) -> bool {
        self.state.get() != EMPTY && is(&self.digest, &key.digest) && is(&self.tenant, &key.tenant)
    }

    /// The digest of the key that the slot belongs to, or belonged to last.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        for (bytes, word) in digest.chunks_exact_mut(WORD).zip(&self.digest) {
            bytes.copy_from_slice(&word.get().to_ne_bytes());
        }
        digest
    }

    pub fn is_empty(&self) -> bool {
        self.state.get() == EMPTY
    }

    /// Makes an empty slot of memory that may hold anything, and begins a change of it.
    pub fn initialise(&self) {
        self.state.set(EMPTY);
        self.sequence.set(1);
        self.lease_until.set(0);
        self.lease.set(0);
        put(&self.digest, &Digest::default());
    }

    /// Copies the slot without the lock, if it belongs to the key.
    pub fn read(
        &self,
        key: &Key,
        now: u64,
        text: Option<&mut Text>,
    ) -> Result<Option<Known>, Torn> {
        let sequence = self.sequence.get();
        if sequence % 2 == 1 {
            return Err(Torn);
        }
        let known = self.is_of(key).then(|| self.known(now, text));
        // Each load is an acquire, so this one comes after all of those above.
        if self.sequence.get() != sequence {
            return Err(Torn);
        }
        Ok(known)
    }

    /// The slot's judgement. Its text is copied, if it has one.
    pub fn known(&self, now: u64, text: Option<&mut Text>) -> Known {
        let verdict = self.verdict(now);
        let token = self.known_token(now);
        let has_text = token.is_some() || verdict == Some(Verdict::Yes);
        if let Some(text) = text.filter(|_| has_text) {
            let length = (self.form.get() as u32 as usize).min(TEXTS * WORD);
            for (copy, word) in text
                .words
                .iter_mut()
                .zip(&self.text[..length.div_ceil(WORD)])
            {
                *copy = word.get();
            }
            text.length = length;
        }
        Known {
            verdict: verdict.map(|verdict| (verdict, self.answered_at.get())),
            token,
            is_asked: now < self.lease_until.get(),
            failure: self.failure().filter(|_| verdict == Some(Verdict::Yes)),
            is_crowded: false,
        }
    }

    fn failure(&self) -> Option<Failure> {
        let failed = self.token[0].get();
        let is_there = self.form.get() & TOKEN == 0 && failed != 0;
        is_there.then_some(Failure {
            at: failed >> 1,
            is_outage: failed & 1 == 1,
        })
    }

    /// Notes that a question got no verdict, beside the yes that stays.
    pub fn write_failure(&self, failure: Failure) {
        self.token[0].set(failure.at << 1 | u64::from(failure.is_outage));
    }

    fn known_token(&self, now: u64) -> Option<KnownToken> {
        let form = self.form.get();
        let is_there = form & TOKEN != 0 && now < self.expires_at.get();
        is_there.then(|| {
            let mut digest = Digest::default();
            for (bytes, word) in digest.chunks_exact_mut(WORD).zip(&self.token) {
                bytes.copy_from_slice(&word.get().to_ne_bytes());
            }
            let is_whole = form & WHOLE != 0;
            KnownToken { digest, is_whole }
        })
    }

    /// Notes that the slot is used.
    pub fn touch(&self, now: u64) {
        if now.wrapping_sub(self.used.get()) >= USED_STEP {
            self.used.set(now);
        }
    }

    /// Begins a change of what readers copy: until [`Slot::end`] they find the slot torn.
    pub fn begin(&self) {
        self.sequence.set(self.sequence.get() | 1);
    }

    /// Ends a change, one of a killed writer too.
    pub fn end(&self) {
        let sequence = self.sequence.get();
        if sequence % 2 == 1 {
            self.sequence.set(sequence.wrapping_add(1));
        }
    }

    /// Marks the slot as empty, and begins a change, which ends when the slot has another key.
    pub fn clear(&self) {
        self.begin();
        self.state.set(EMPTY);
        self.lease_until.set(0);
        self.lease.set(0);
    }

    /// Gives an empty slot to a key.
    pub fn name(&self, key: &Key, now: u64) {
        put(&self.tenant, &key.tenant);
        put(&self.digest, &key.digest);
        self.form.set(0);
        self.expires_at.set(0);
        self.used.set(now);
        self.answered_at.set(0);
        self.not_after.set(0);
        self.live_until.set(0);
    }

    /// Copies what is known of a key and the right to ask into an empty slot with the same key. A text is
    /// left behind.
    pub fn copy_to(&self, empty: &Slot) {
        let state = self.state.get();
        empty.answered_at.set(self.answered_at.get());
        empty.not_after.set(self.not_after.get());
        empty.live_until.set(self.live_until.get());
        empty.lease.set(self.lease.get());
        empty.lease_until.set(self.lease_until.get());
        empty.state.set(if state == YES { ASKED } else { state });
    }

    /// Makes a slot with a key valid, without an answer.
    pub fn set_asked(&self) {
        if self.is_empty() {
            self.state.set(ASKED);
        }
    }

    /// The rank, or nothing if the slot must stay.
    pub fn rank(&self, now: u64) -> Option<Rank> {
        let state = self.state.get();
        let is_used = now < self.not_after.get();
        let is_live = is_used && now < self.live_until.get();
        let is_token = || self.form.get() & TOKEN != 0;
        Some(match state {
            EMPTY => Rank::Empty,
            DENIED | UNCLEAR if is_used => return None,
            YES | TOO_LARGE | CONFIRMED if is_live => Rank::Live,
            _ if is_token() && now < self.expires_at.get() => Rank::Live,
            _ if now < self.lease_until.get() => Rank::Leased,
            _ if is_token() => Rank::RunOut,
            ASKED => Rank::Asked,
            FAILED => Rank::Failed,
            NO if is_live => Rank::No,
            _ => Rank::RunOut,
        })
    }

    /// The verdict, while it is still used.
    pub fn verdict(&self, now: u64) -> Option<Verdict> {
        if now >= self.not_after.get() {
            return None;
        }
        match self.state.get() {
            YES => Some(Verdict::Yes),
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
    pub fn accepts(&self, verdict: Verdict, is_own: bool, now: u64) -> bool {
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
        let is_no_again = self.state.get() == DENIED && answer.verdict == Verdict::Denied;
        if !is_no_again {
            self.state.set(EMPTY);
        }
        if answer.verdict == Verdict::Yes && answer.session.len() <= TEXTS * WORD {
            put(&self.text, answer.session);
            put(&self.token, &Digest::default());
            self.form.set(answer.session.len() as u64);
        }
        self.used.set(now);
        self.answered_at.set(now);
        self.not_after.set(answer.not_after);
        self.live_until.set(answer.live_until);
    }

    /// Sets the state for an answer.
    pub fn set_state(&self, answer: &Answer<'_>) {
        self.state.set(match answer.verdict {
            Verdict::Yes if answer.session.len() <= TEXTS * WORD => YES,
            Verdict::Yes | Verdict::TooLarge => TOO_LARGE,
            Verdict::Confirmed => CONFIRMED,
            Verdict::No => NO,
            Verdict::Denied => DENIED,
            Verdict::Failed => FAILED,
            Verdict::Unclear => UNCLEAR,
        });
    }

    /// Writes a verified token. What the resolver said of it stays.
    pub fn write_token(&self, token: &Token<'_>, now: u64) {
        self.form.set(0);
        let is_whole = token.record.len() <= TEXTS * WORD;
        let length = if is_whole {
            token.record.len()
        } else {
            token.prefix.min(TEXTS * WORD)
        };
        let Some(text) = token.record.get(..length) else {
            return;
        };
        put(&self.token, &token.digest);
        put(&self.text, text);
        self.expires_at.set(token.expires_at);
        self.used.set(now);
        let whole = if is_whole { WHOLE } else { 0 };
        self.form.set(TOKEN | whole | length as u64);
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
