//! The table in plain memory.

use std::alloc::{alloc_zeroed, dealloc, Layout};

use authgear_core::session::Fields;

use super::*;

mod killed;
mod room;

const NOW: u64 = 1 << 42;
const FAR: u64 = u64::MAX;

/// A table in memory of its own.
struct Memory {
    layout: Layout,
    head: NonNull<Head>,
}

impl Memory {
    fn new(sets: usize) -> Memory {
        let bytes = mem::size_of::<Head>() + sets * WAYS * VERDICT_SIZE;
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: the memory is zeroed, aligned, and long enough for so many sets.
        let head = unsafe {
            let memory = NonNull::new(alloc_zeroed(layout)).unwrap();
            Table::place(memory, sets, [1; 16])
        };
        Memory { layout, head }
    }

    fn table(&self) -> Table<'_> {
        // SAFETY: the table was placed; a test is one thread.
        unsafe { Table::locked(self.head) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.head.as_ptr().cast(), self.layout) };
    }
}

/// A key by a number; those of the same set differ in their upper half.
fn key(number: u64) -> Key {
    Key {
        tenant: [7; 32],
        digest: (u128::from(number) << 65 | 1).to_le_bytes(),
    }
}

fn fields(text: &str) -> Fields<'_> {
    let mut ends = [text.len() as u32; 8];
    ends[0] = 0;
    Fields::new(text.as_bytes(), ends)
}

fn answer(verdict: Verdict<'_>) -> Answer<'_> {
    Answer {
        verdict,
        not_after: FAR,
        live_until: NOW + 60_000,
    }
}

fn denied(not_after: u64) -> Answer<'static> {
    Answer {
        verdict: Verdict::Denied,
        not_after,
        live_until: 0,
    }
}

fn verdict<'t>(table: &'t mut Table, key: &Key, now: u64) -> Option<Verdict<'t>> {
    table.look_up(key, now).verdict.map(|(verdict, _)| verdict)
}

fn take(table: &mut Table, key: &Key, now: u64) -> u64 {
    match table.try_lease(key, now + 10_000, now) {
        TryLease::Taken(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Asks and keeps the answer.
fn ask(table: &mut Table, key: &Key, answer: &Answer<'_>, now: u64) -> bool {
    let lease = match table.try_lease(key, now + 10_000, now) {
        TryLease::Taken(number) => Some(number),
        TryLease::Unshared => None,
        TryLease::Busy => panic!("somebody is asking"),
    };
    table.store(key, lease, answer, now)
}

#[test]
fn an_answer_is_found_by_its_key_alone() {
    let memory = Memory::new(4);
    let mut table = memory.table();
    let long = "x".repeat(384);
    for (number, text) in ["user", "", &long].into_iter().enumerate() {
        let key = key(number as u64);
        assert!(ask(
            &mut table,
            &key,
            &answer(Verdict::Yes(fields(text))),
            NOW
        ));
        let expected = (!text.is_empty()).then(|| Verdict::Yes(fields(text)));
        assert_eq!(verdict(&mut table, &key, NOW), expected, "{number}");
    }
    let too_long = "x".repeat(385);
    assert!(ask(
        &mut table,
        &key(9),
        &answer(Verdict::Yes(fields(&too_long))),
        NOW
    ));
    assert_eq!(verdict(&mut table, &key(9), NOW), Some(Verdict::TooLarge));

    for at in 0..32 {
        let mut other = key(0);
        other.tenant[at] ^= 1;
        assert_eq!(
            verdict(&mut table, &other, NOW),
            None,
            "another tenant, byte {at}"
        );
    }
    for at in 0..16 {
        let mut other = key(0);
        other.digest[at] ^= 1;
        assert_eq!(
            verdict(&mut table, &other, NOW),
            None,
            "another digest, byte {at}"
        );
    }
}

#[test]
fn a_verdict_is_not_used_after_its_time() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    for (number, word) in [
        Verdict::Yes(fields("user")),
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
    let memory = Memory::new(1);
    let mut table = memory.table();
    let key = key(1);
    let first = take(&mut table, &key, NOW);
    assert_eq!(table.try_lease(&key, FAR, NOW + 9_999), TryLease::Busy);
    let second = take(&mut table, &key, NOW + 10_000);
    assert_ne!(first, second);
    table.release(&key, first);
    assert!(table.look_up(&key, NOW + 10_000).is_asked);
    table.postpone(&key, Some(first), NOW + 10_001, NOW + 10_000);
    assert!(table.look_up(&key, NOW + 10_001).is_asked);
    table.release(&key, second);
    assert!(!table.look_up(&key, NOW + 10_000).is_asked);

    let third = take(&mut table, &key, NOW + 20_000);
    table.postpone(&key, Some(third), NOW + 21_000, NOW + 20_000);
    table.release(&key, third);
    assert!(
        table.look_up(&key, NOW + 20_999).is_asked,
        "what is postponed stays so"
    );
    assert!(!table.look_up(&key, NOW + 21_000).is_asked);
}

#[test]
fn a_late_answer_replaces_no_newer_one_unless_it_is_a_no() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    let key = key(1);
    let late = take(&mut table, &key, NOW);
    let own = take(&mut table, &key, NOW + 10_000);
    let now = NOW + 10_001;
    assert!(!table.store(&key, Some(late), &answer(Verdict::Failed), now));
    assert!(table.store(&key, Some(late), &answer(Verdict::Confirmed), now));
    assert!(table.look_up(&key, now).is_asked, "the lease goes on");
    assert!(table.store(&key, Some(own), &answer(Verdict::Yes(fields("user"))), now));
    assert!(!table.store(&key, Some(late), &answer(Verdict::Confirmed), now));
    assert!(!table.store(&key, None, &answer(Verdict::Confirmed), now));
    assert_eq!(
        verdict(&mut table, &key, now),
        Some(Verdict::Yes(fields("user")))
    );
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
fn a_no_to_a_token_ends_with_a_yes_and_not_with_a_failure() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    let key = key(1);
    assert!(ask(&mut table, &key, &denied(FAR), NOW));
    assert!(!ask(&mut table, &key, &answer(Verdict::Failed), NOW));
    assert_eq!(verdict(&mut table, &key, NOW), Some(Verdict::Denied));
    assert!(!table.look_up(&key, NOW).is_asked);
    assert!(ask(&mut table, &key, &answer(Verdict::Confirmed), NOW));
    assert_eq!(verdict(&mut table, &key, NOW), Some(Verdict::Confirmed));
}

#[test]
fn projects_fail_and_recover_by_themselves() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    assert!(table.set_failing(3, true));
    assert!(!table.set_failing(3, true));
    assert!(table.is_failing(3) && !table.is_failing(4));
    assert!(table.set_failing(3, false));
    assert!(!table.is_failing(3));
}
