//! The table in plain memory.

use std::alloc::{alloc, dealloc, Layout};

use authgear_core::digest::{Digester, Kind};

use super::*;
use crate::word::kill;

mod killed;
mod random;
mod readers;
mod room;
mod tokens;

const NOW: u64 = 1 << 42;
const FAR: u64 = u64::MAX;

/// Slots for questions and for judgements of a small table, whose only bucket can name all of them.
const SMALL: Dimensions = Dimensions {
    buckets: 1,
    questions: 4,
    judgements: 8,
};

/// A change of a table, with its name.
type Change = (&'static str, fn(&mut Writer<'_>));

/// A table in memory of its own.
struct Memory {
    layout: Layout,
    head: NonNull<Head>,
}

impl Memory {
    fn new(dimensions: Dimensions) -> Memory {
        let layout = Layout::from_size_align(dimensions.size(), 64).unwrap();
        // SAFETY: the memory is aligned, long enough, and filled with what may have been there before.
        let head = unsafe {
            let memory = NonNull::new(alloc(layout)).unwrap();
            memory.write_bytes(0xa5, layout.size());
            Table::place(memory, dimensions, [1; 16])
        };
        Memory { layout, head }
    }

    fn table(&self) -> Table<'_> {
        // SAFETY: the table was placed.
        unsafe { Table::new(self.head) }
    }

    fn writer(&self) -> Writer<'_> {
        // SAFETY: a test has one writer at a time.
        unsafe { Writer::new(self.table()) }
    }
}

impl kill::Shared for Memory {
    fn words(&self) -> Vec<u64> {
        let words = self.layout.size() / 8;
        // SAFETY: the memory is that long, initialised, and nobody changes it meanwhile.
        unsafe { slice::from_raw_parts(self.head.as_ptr().cast(), words).to_vec() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.head.as_ptr().cast(), self.layout) };
    }
}

/// A key by a number.
fn key(number: u64) -> Key {
    let digester = Digester::with([2; 16]);
    Key {
        tenant: [7; 32],
        digest: digester.of(Kind::Question, &[&number.to_le_bytes()]),
    }
}

fn answer(verdict: Verdict) -> Answer<'static> {
    Answer {
        verdict,
        session: b"",
        not_after: FAR,
        live_until: NOW + 60_000,
    }
}

fn yes(session: &str) -> Answer<'_> {
    Answer {
        session: session.as_bytes(),
        ..answer(Verdict::Yes)
    }
}

fn denied(not_after: u64) -> Answer<'static> {
    Answer {
        not_after,
        live_until: 0,
        ..answer(Verdict::Denied)
    }
}

/// The result of a reader without the lock, which equals that of one with it.
fn read(writer: &mut Writer<'_>, key: &Key, now: u64) -> (Known, Vec<u8>) {
    let (mut text, mut own) = (Text::new(), Text::new());
    let known = writer.read(key, now, Some(&mut own));
    assert_eq!(Table::read(writer, key, now, Some(&mut text)), Ok(known));
    let bytes = match known {
        Known {
            verdict: Some((Verdict::Yes, _)),
            ..
        }
        | Known { token: Some(_), .. } => text.bytes().to_vec(),
        _ => Vec::new(),
    };
    assert!(bytes.is_empty() || bytes == own.bytes());
    (known, bytes)
}

fn verdict(writer: &mut Writer<'_>, key: &Key, now: u64) -> Option<Verdict> {
    read(writer, key, now).0.verdict.map(|(verdict, _)| verdict)
}

fn take(writer: &mut Writer<'_>, key: &Key, now: u64) -> u64 {
    match writer.try_lease(key, now + 10_000, now) {
        TryLease::Taken(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Asks and keeps the answer.
fn ask(writer: &mut Writer<'_>, key: &Key, answer: &Answer<'_>, now: u64) -> bool {
    let lease = match writer.try_lease(key, now + 10_000, now) {
        TryLease::Taken(number) => Some(number),
        TryLease::Unshared => None,
        TryLease::Busy => panic!("somebody is asking"),
    };
    writer.store(key, lease, answer, now)
}

#[test]
fn an_answer_is_found_by_its_key_alone() {
    // Miri goes through a whole table whenever a reference to it is copied.
    let size = if cfg!(miri) { 8 << 10 } else { 1 << 20 };
    let memory = Memory::new(Dimensions::within(size));
    let mut table = memory.writer();
    let long = "x".repeat(496);
    for (number, text) in ["user", "", &long].into_iter().enumerate() {
        let key = key(number as u64);
        assert!(ask(&mut table, &key, &yes(text), NOW));
        let (known, found) = read(&mut table, &key, NOW);
        assert_eq!(known.verdict, Some((Verdict::Yes, NOW)), "{number}");
        assert_eq!(found, text.as_bytes(), "{number}");
    }
    let too_long = "x".repeat(497);
    assert!(ask(&mut table, &key(9), &yes(&too_long), NOW));
    assert_eq!(verdict(&mut table, &key(9), NOW), Some(Verdict::TooLarge));

    for at in 0..32 {
        let mut other = key(0);
        other.tenant[at] ^= 1;
        let found = verdict(&mut table, &other, NOW);
        assert_eq!(found, None, "another tenant, byte {at}");
    }
    for at in 0..16 {
        let mut other = key(0);
        other.digest[at] ^= 1;
        let found = verdict(&mut table, &other, NOW);
        assert_eq!(found, None, "another digest, byte {at}");
    }
}

#[test]
fn a_verdict_is_not_used_after_its_time() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    for (number, word) in [
        Verdict::Yes,
        Verdict::TooLarge,
        Verdict::Confirmed,
        Verdict::No,
        Verdict::Denied,
        Verdict::Failed,
    ]
    .into_iter()
    .enumerate()
    {
        let key = key(number as u64);
        let answer = Answer {
            not_after: NOW + 1000,
            ..answer(word)
        };
        ask(&mut table, &key, &answer, NOW);
        assert_eq!(verdict(&mut table, &key, NOW + 999), Some(word));
        assert_eq!(verdict(&mut table, &key, NOW + 1000), None);
    }
}

#[test]
fn one_asks_and_a_late_release_frees_nobody_elses_lease() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let key = key(1);
    let is_asked = |table: &mut Writer, now| read(table, &key, now).0.is_asked;
    let first = take(&mut table, &key, NOW);
    assert_eq!(table.try_lease(&key, FAR, NOW + 9_999), TryLease::Busy);
    let second = take(&mut table, &key, NOW + 10_000);
    assert_ne!(first, second);
    table.release(&key, first);
    assert!(is_asked(&mut table, NOW + 10_000));
    table.postpone(&key, Some(first), NOW + 10_001, NOW + 10_000);
    assert!(is_asked(&mut table, NOW + 10_001));
    table.release(&key, second);
    assert!(!is_asked(&mut table, NOW + 10_000));

    let third = take(&mut table, &key, NOW + 20_000);
    table.postpone(&key, Some(third), NOW + 21_000, NOW + 20_000);
    table.release(&key, third);
    assert!(
        is_asked(&mut table, NOW + 20_999),
        "what is postponed stays so"
    );
    assert!(!is_asked(&mut table, NOW + 21_000));
}

#[test]
fn a_late_answer_replaces_no_newer_one_unless_it_is_a_no() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let key = key(1);
    let late = take(&mut table, &key, NOW);
    let own = take(&mut table, &key, NOW + 10_000);
    let now = NOW + 10_001;
    assert!(!table.store(&key, Some(late), &answer(Verdict::Failed), now));
    assert!(table.store(&key, Some(late), &answer(Verdict::Confirmed), now));
    let (known, _) = read(&mut table, &key, now);
    assert!(known.is_asked, "the lease goes on");
    assert!(table.store(&key, Some(own), &yes("user"), now));
    assert!(!table.store(&key, Some(late), &answer(Verdict::Confirmed), now));
    assert!(!table.store(&key, None, &answer(Verdict::Confirmed), now));
    assert_eq!(verdict(&mut table, &key, now), Some(Verdict::Yes));
    assert!(table.store(&key, Some(late), &denied(FAR), now));
    for lease in [None, Some(late)] {
        for late in [
            Verdict::Confirmed,
            Verdict::Failed,
            Verdict::No,
            Verdict::TooLarge,
        ] {
            assert!(!table.store(&key, lease, &answer(late), now), "{late:?}");
        }
    }
    assert_eq!(verdict(&mut table, &key, now), Some(Verdict::Denied));
}

#[test]
fn a_failure_is_noted_beside_a_yes_until_the_next_answer() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let failure = |at, is_outage| Failure { at, is_outage };
    assert!(
        !table.keep_yes(&key(1), None, failure(NOW, true), NOW),
        "nothing is known"
    );
    for (number, other) in [
        (1, Verdict::No),
        (2, Verdict::Failed),
        (3, Verdict::TooLarge),
    ] {
        ask(&mut table, &key(number), &answer(other), NOW);
        assert!(
            !table.keep_yes(&key(number), None, failure(NOW, true), NOW),
            "{other:?}"
        );
    }

    ask(&mut table, &key(4), &yes("a user"), NOW);
    assert_eq!(read(&mut table, &key(4), NOW).0.failure, None);
    for is_outage in [true, false] {
        let lease = take(&mut table, &key(4), NOW + 5);
        assert!(table.keep_yes(&key(4), Some(lease), failure(NOW + 5, is_outage), NOW + 5));
        let (known, text) = read(&mut table, &key(4), NOW + 5);
        assert_eq!(
            known.verdict,
            Some((Verdict::Yes, NOW)),
            "the yes and its time stay"
        );
        assert_eq!(known.failure, Some(failure(NOW + 5, is_outage)));
        assert!(!known.is_asked);
        assert_eq!(text, b"a user");
    }
    let newer = take(&mut table, &key(4), NOW + 6);
    assert!(table.keep_yes(&key(4), Some(newer - 1), failure(NOW + 6, true), NOW + 6));
    let (known, _) = read(&mut table, &key(4), NOW + 6);
    assert!(known.is_asked, "a lease of somebody else stays");
    assert_eq!(known.failure, Some(failure(NOW + 5, false)));

    assert!(table.store(&key(4), Some(newer), &yes("a user"), NOW + 7));
    assert_eq!(read(&mut table, &key(4), NOW + 7).0.failure, None);
    ask(&mut table, &key(4), &answer(Verdict::No), NOW + 8);
    assert!(
        !table.keep_yes(&key(4), None, failure(NOW + 9, true), NOW + 9),
        "a no ends it"
    );
}

#[test]
fn a_no_to_a_token_ends_with_a_yes_and_not_with_a_failure() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let key = key(1);
    assert!(ask(&mut table, &key, &denied(FAR), NOW));
    assert!(!ask(&mut table, &key, &answer(Verdict::Failed), NOW));
    assert_eq!(verdict(&mut table, &key, NOW), Some(Verdict::Denied));
    assert!(!read(&mut table, &key, NOW).0.is_asked);
    assert!(ask(&mut table, &key, &answer(Verdict::Confirmed), NOW));
    assert_eq!(verdict(&mut table, &key, NOW), Some(Verdict::Confirmed));
}

#[test]
fn projects_fail_and_recover_by_themselves() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    assert!(table.set_failing(3, true));
    assert!(!table.set_failing(3, true));
    assert!(table.is_failing(3) && !table.is_failing(4));
    assert!(table.set_failing(3, false));
    assert!(!table.is_failing(3));
}
