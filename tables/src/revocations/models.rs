//! A reader beside a writer, in every order that the memory model allows.

use authgear_core::revocation::{Effect, Event};
use loom::sync::Arc;

use super::*;

const NOW: u64 = 1_800_000_000;
const KEEP: u64 = 86_400;

/// A table with two sets of one slot each.
struct Memory {
    head: Head,
    sets: Vec<Set>,
    slots: Vec<Slot>,
}

impl Memory {
    fn new() -> Memory {
        Memory {
            head: Head {
                sets: 2,
                ..Head::default()
            },
            sets: vec![Set::default(), Set::default()],
            slots: vec![Slot::default(), Slot::default()],
        }
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            head: &self.head,
            sets: &self.sets,
            slots: &self.slots,
        }
    }

    fn hear(&self, user: u8, at: u64) -> Merged {
        let state = State::of(&Event {
            user: "user".to_string(),
            seq: at,
            at,
            effect: Effect::Ends,
        });
        let mut writer = Writer(self.reader());
        crate::models::write(|| writer.merge(&key(user), &state, KEEP, NOW, at))
    }
}

fn key(user: u8) -> Key {
    Key {
        group: 7,
        digest: [user; 16],
    }
}

/// The instant of a user, whose entry must be whole.
fn instant(memory: &Memory, user: u8) -> Option<u64> {
    let entry = memory.reader().look_up(&key(user), NOW)?;
    let (instant, marks) = entry.state.parts();
    assert_eq!((marks[0].seq, marks[0].at), (instant, instant));
    assert_eq!((entry.came_at, entry.until), (instant, instant + KEEP));
    Some(instant)
}

/// Lets a worker hear of users while another looks for one.
fn beside(
    known: &'static [(u8, u64)],
    heard: &'static [(u8, u64)],
    read: u8,
    check: fn(Option<u64>),
) {
    crate::models::check_reader(move || {
        let memory = Arc::new(Memory::new());
        for (user, at) in known {
            memory.hear(*user, *at);
        }
        let of_reader = Arc::clone(&memory);
        let found = crate::models::beside(
            || {
                for (user, at) in heard {
                    memory.hear(*user, *at);
                }
            },
            move || instant(&of_reader, read),
        );
        check(found);
        check(instant(&memory, read));
        for (user, at) in heard {
            assert_eq!(instant(&memory, *user), Some(*at));
        }
    });
}

#[test]
fn a_known_user_is_never_missed() {
    beside(&[(1, NOW - 9)], &[(1, NOW)], 1, |found| {
        assert!(matches!(found, Some(at) if at == NOW || at == NOW - 9));
    });
}

/// The draft passes from one user to the next.
#[test]
fn a_known_user_is_never_missed_after_a_change_of_another() {
    beside(&[(1, NOW - 9)], &[(2, NOW - 5), (1, NOW)], 1, |found| {
        assert!(matches!(found, Some(at) if at == NOW || at == NOW - 9));
    });
}

#[test]
fn a_user_stays_while_another_gets_a_slot() {
    beside(&[(1, NOW - 9)], &[(2, NOW)], 1, |found| {
        assert_eq!(found, Some(NOW - 9));
    });
}

#[test]
fn a_user_is_found_whole_or_not_while_it_takes_the_slot_of_another() {
    beside(&[(1, NOW - 9), (2, NOW - 8)], &[(3, NOW)], 3, |found| {
        assert!(matches!(found, None | Some(NOW)));
    });
}

#[test]
fn a_user_that_gives_way_is_found_whole_or_not() {
    beside(&[(1, NOW - 9), (2, NOW - 8)], &[(3, NOW)], 1, |found| {
        assert!(found.is_none_or(|at| at == NOW - 9));
    });
}

/// Answers from before a change are not used after it (`Reader::changes`).
#[test]
fn whoever_sees_that_there_was_a_change_finds_it() {
    crate::models::check_reader(|| {
        let memory = Arc::new(Memory::new());
        let of_reader = Arc::clone(&memory);
        let (changes, found) = crate::models::beside(
            || {
                memory.hear(1, NOW);
            },
            move || (of_reader.reader().changes(), instant(&of_reader, 1)),
        );
        assert!(changes == 0 || found == Some(NOW));
    });
}

#[test]
fn a_user_never_goes_back() {
    crate::models::check_reader(|| {
        let memory = Arc::new(Memory::new());
        memory.hear(1, NOW - 9);
        let of_reader = Arc::clone(&memory);
        let [first, then] = crate::models::beside(
            || {
                memory.hear(1, NOW);
            },
            move || [(); 2].map(|()| instant(&of_reader, 1)),
        );
        assert!(first.is_some() && first <= then, "{first:?}, {then:?}");
    });
}
