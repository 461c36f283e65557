//! The table in plain memory.

use std::alloc::{alloc_zeroed, dealloc, Layout};

use authgear_core::session::Fields;

use super::slot::QUESTIONS;
use super::*;

mod killed;

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

    fn table(&self) -> Table {
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
        Lease::Taken(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Asks and keeps the answer.
fn ask(table: &mut Table, key: &Key, answer: &Answer<'_>, now: u64) -> bool {
    let lease = match table.try_lease(key, now + 10_000, now) {
        Lease::Taken(number) => Some(number),
        Lease::Unshared => None,
        Lease::Busy => panic!("somebody is asking"),
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
    assert_eq!(table.try_lease(&key, FAR, NOW + 9_999), Lease::Busy);
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
fn a_no_to_a_token_stays_until_the_token_expires_whatever_else_comes() {
    let memory = Memory::new(8);
    let mut table = memory.table();
    // Keys all over the table.
    let spread = |number: u64| Key {
        tenant: [7; 32],
        digest: u128::from(number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_le_bytes(),
    };
    let revoked = spread(1);
    assert!(ask(&mut table, &revoked, &denied(NOW + 5_000_000), NOW));
    for number in 2..4_000 {
        let now = NOW + number;
        let key = spread(number);
        match number % 4 {
            0 => {
                let _ = ask(&mut table, &key, &answer(Verdict::Confirmed), now);
            }
            1 => {
                let _ = ask(&mut table, &key, &answer(Verdict::No), now);
            }
            2 => {
                let _ = ask(&mut table, &key, &answer(Verdict::Failed), now);
            }
            _ => {
                let _ = table.try_lease(&key, FAR, now);
            }
        }
        assert_eq!(
            verdict(&mut table, &revoked, now),
            Some(Verdict::Denied),
            "{number}"
        );
    }
    // It is free again when the token has expired.
    let now = NOW + 5_000_000;
    assert_eq!(verdict(&mut table, &revoked, now), None);
    let set = table.place_of(&revoked.digest).set;
    assert!((0..WAYS).all(|way| table.slot(set, way).rank(now).is_some()));
}

#[test]
fn where_a_no_has_no_room_tokens_wait_until_it_expires() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    for number in 0..8 {
        assert!(ask(
            &mut table,
            &key(number),
            &denied(NOW + 100 + number),
            NOW
        ));
        assert!(!table.look_up(&key(50), NOW).is_crowded);
    }
    assert!(!table.take_warning());
    assert!(!ask(&mut table, &key(8), &denied(NOW + 5_000), NOW));
    assert!(table.take_warning());
    assert!(!table.take_warning(), "once");
    assert!(
        !ask(&mut table, &key(9), &denied(NOW + 4_000), NOW),
        "the later one counts"
    );
    assert!(!table.take_warning(), "once in a life");
    assert_eq!(table.losses(), (0, 2));

    for number in [8, 9, 50] {
        assert!(table.look_up(&key(number), NOW + 4_999).is_crowded);
        assert!(!table.look_up(&key(number), NOW + 5_000).is_crowded);
    }
    assert!(!table.look_up(&key(0), NOW).is_crowded, "its no is known");
    // A slot gets free: the token still waits while it is asked about and when that fails.
    let now = NOW + 200;
    let lease = take(&mut table, &key(8), now);
    assert!(table.look_up(&key(8), now).is_crowded);
    table.store(&key(8), Some(lease), &answer(Verdict::Failed), now);
    assert!(table.look_up(&key(8), now).is_crowded);
    ask(&mut table, &key(8), &answer(Verdict::Confirmed), now);
    assert!(!table.look_up(&key(8), now).is_crowded);
}

#[test]
fn what_is_worth_least_gives_way_first() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    // In the order in which they give way, but not in that in which they come.
    let run_out = Answer {
        live_until: NOW + 1,
        ..answer(Verdict::Confirmed)
    };
    for (number, what) in [
        (7, answer(Verdict::Yes(fields("newer")))),
        (6, answer(Verdict::Confirmed)),
        (4, answer(Verdict::No)),
        (3, run_out),
        (2, answer(Verdict::Failed)),
    ] {
        assert!(ask(&mut table, &key(number), &what, NOW));
    }
    let released = take(&mut table, &key(1), NOW);
    table.release(&key(1), released);
    take(&mut table, &key(5), NOW);
    ask(&mut table, &key(0), &denied(FAR), NOW);
    table.look_up(&key(6), NOW + 1);
    table.look_up(&key(7), NOW + 2);

    let now = NOW + 3;
    let left = |table: &mut Table| -> Vec<u64> {
        (0..8)
            .filter(|number| table.find(&key(*number)).is_some())
            .collect()
    };
    for (number, gone) in [1, 2, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let warned = table.losses().0;
        assert!(table.store(&key(100 + number as u64), None, &denied(FAR), now));
        assert!(!left(&mut table).contains(&gone), "{gone} gives way");
        assert_eq!(left(&mut table).len(), 7 - number);
        assert_eq!(
            table.losses().0 - warned,
            u64::from(gone > 5),
            "a live one is counted"
        );
    }
    assert_eq!(left(&mut table), [0]);
}

#[test]
fn made_up_sessions_take_no_room_from_live_answers() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    for number in 0..8 {
        ask(
            &mut table,
            &key(number),
            &answer(Verdict::Confirmed),
            NOW + number,
        );
    }
    let live = |table: &mut Table| {
        let is_live = |number: &u64| verdict(table, &key(*number), NOW) == Some(Verdict::Confirmed);
        (0..8).filter(is_live).count()
    };
    for number in 100..1_000 {
        table.try_lease(&key(number), FAR, NOW + 10);
        assert!(live(&mut table) >= WAYS - QUESTIONS, "{number}");
    }
    assert_eq!(table.try_lease(&key(2_000), FAR, NOW + 10), Lease::Unshared);
    for verdict in [Verdict::No, Verdict::Failed] {
        assert!(!table.store(&key(2_000), None, &answer(verdict), NOW + 10));
    }
    assert_eq!(live(&mut table), WAYS - QUESTIONS);
    // A session that is valid takes what questions had.
    assert!(table.store(
        &key(2_000),
        None,
        &answer(Verdict::Yes(fields("user"))),
        NOW + 10
    ));
    assert_eq!(live(&mut table), WAYS - QUESTIONS);
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
