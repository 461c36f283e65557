//! The table in plain memory.

use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::thread;

use authgear_core::revocation::{Effect, Event};

use super::*;
use crate::word::kill;

mod killed;

const NOW: u64 = 1_800_000_000;
const CLOCK: u64 = 1 << 42;
const KEEP: u64 = 86_400;

/// A table in memory of its own.
struct Memory {
    layout: Layout,
    head: NonNull<Head>,
}

// SAFETY: all of the table that changes is atomic.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(size: usize) -> Memory {
        let (sets, bytes) = layout(size);
        let layout = Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: the memory is zeroed, aligned, and long enough for so many sets.
        let head = unsafe { place(NonNull::new(alloc_zeroed(layout)).unwrap(), sets, [1; 16]) };
        Memory { layout, head }
    }

    fn reader(&self) -> Reader<'_> {
        // SAFETY: the table was placed.
        unsafe { Reader::new(self.head) }
    }

    fn writer(&self) -> Writer<'_> {
        // SAFETY: the table was placed; a test has one writer.
        unsafe { Writer::new(self.head) }
    }

    fn hear(&self, user: u64, state: State) -> Merged {
        self.writer().merge(&key(user), &state, KEEP, NOW, CLOCK)
    }

    fn instant(&self, user: u64) -> Option<u64> {
        let entry = self.reader().look_up(&key(user), NOW)?;
        entry.state.instant(NOW as f64)
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

/// A key by a number, anywhere in a table.
fn key(number: u64) -> Key {
    let digest = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Key {
        group: 7,
        digest: (digest ^ digest >> 64).to_le_bytes(),
    }
}

fn heard(seq: u64, at: u64, effect: Effect) -> State {
    let user = "user".to_string();
    State::of(&Event {
        user,
        seq,
        at,
        effect,
    })
}

fn ended(at: u64) -> State {
    heard(at, at, Effect::Ends)
}

#[test]
fn a_user_with_a_plan_ahead_or_an_event_that_ends_nothing_is_not_revoked() {
    let memory = Memory::new(0);
    memory.hear(1, ended(NOW));
    memory.hear(2, heard(1, NOW, Effect::EndsLater(NOW + 9)));
    memory.hear(3, heard(1, NOW, Effect::Nothing));
    let reader = memory.reader();
    let counts = |now| (reader.count(now), reader.count_revoked(7, now));
    assert_eq!((counts(NOW), counts(NOW + 9)), ((3, 1), (3, 2)));
}

#[test]
fn a_user_is_found_by_every_bit_of_its_key_until_its_time() {
    let memory = Memory::new(0);
    assert!(memory.reader().is_empty(NOW));
    assert_eq!(memory.reader().look_up(&key(1), NOW), None);
    assert_eq!(memory.hear(1, ended(NOW)), Merged::Stored);
    assert!(!memory.reader().is_empty(NOW + KEEP));
    assert!(memory.reader().is_empty(NOW + KEEP + 1));
    let entry = Entry {
        state: ended(NOW),
        came_at: CLOCK,
        until: NOW + KEEP,
    };
    let look_up = |key: &Key, now| memory.reader().look_up(key, now);
    assert_eq!(look_up(&key(1), NOW), Some(entry));
    assert_eq!(look_up(&key(1), NOW + KEEP), Some(entry));
    assert_eq!(look_up(&key(1), NOW + KEEP + 1), None);
    let count = |now| memory.reader().count(now);
    assert_eq!((count(NOW + KEEP), count(NOW + KEEP + 1)), (1, 0));
    let count_revoked = |group| memory.reader().count_revoked(group, NOW);
    assert_eq!((count_revoked(7), count_revoked(8)), (1, 0));
    for bit in 0..128 {
        let mut other = key(1);
        other.digest[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(look_up(&other, NOW), None, "digest, bit {bit}");
    }
    for bit in 0..64 {
        let mut other = key(1);
        other.group ^= 1 << bit;
        assert_eq!(look_up(&other, NOW), None, "group, bit {bit}");
    }
    assert_eq!(memory.reader().key(), [1; 16]);
}

#[test]
fn what_is_heard_merges_and_what_is_known_changes_nothing() {
    let memory = Memory::new(0);
    let hear = |state, clock| memory.writer().merge(&key(1), &state, KEEP, NOW, clock);
    let entry = || memory.reader().look_up(&key(1), NOW).unwrap();
    assert_eq!(hear(ended(NOW - 10), 100), Merged::Stored);
    assert_eq!(hear(ended(NOW - 20), 101), Merged::Known);
    assert_eq!(
        (entry().state.instant(NOW as f64), entry().came_at),
        (Some(NOW - 10), 100)
    );
    // The same event once more, as one who has captured it can send it: answers since then stand.
    assert_eq!(hear(ended(NOW - 10), 102), Merged::Known);
    assert_eq!(entry().came_at, 100);
    // A later event of the same second: answers from before it are void.
    let again = heard(NOW - 9, NOW - 10, Effect::Ends);
    assert_eq!(hear(again, 102), Merged::Stored);
    assert_eq!(entry().came_at, 102);
    assert_eq!(hear(ended(NOW - 10), 102), Merged::Known);
    let plan = heard(NOW, NOW - 5, Effect::EndsLater(NOW + 1_000_000));
    assert_eq!(hear(plan, 103), Merged::Stored);
    assert_eq!(
        (entry().came_at, entry().until),
        (102, NOW + 1_000_000 + KEEP)
    );
    assert_eq!(
        hear(heard(NOW + 1, NOW, Effect::Nothing), 104),
        Merged::Stored
    );
    assert_eq!((entry().came_at, entry().until), (102, NOW + KEEP));
    assert_eq!(memory.reader().changes(), 4);
    assert_eq!(hear(plan, 105), Merged::Known);
    assert_eq!(memory.reader().changes(), 4);
    assert_eq!(memory.reader().count(NOW), 1);
}

#[test]
fn another_table_takes_over_what_counts() {
    let (old, new) = (Memory::new(1 << 16), Memory::new(1 << 14));
    for user in 0..40 {
        old.hear(user, ended(NOW - user));
    }
    old.hear(50, ended(NOW - KEEP - 1));
    old.hear(60, heard(7, NOW - 5, Effect::EndsLater(NOW + 100)));
    new.hear(0, ended(NOW + 1));
    assert_eq!(new.writer().take_over(&old.reader(), NOW), Merged::Stored);
    assert_eq!(new.instant(0), Some(NOW + 1), "the later instant stays");
    for user in 1..40 {
        let found = |memory: &Memory| memory.reader().look_up(&key(user), NOW);
        assert_eq!(found(&new), found(&old), "user {user}");
        assert!(found(&new).is_some());
    }
    assert_eq!(new.instant(50), None);
    let plan = new.reader().look_up(&key(60), NOW).map(|entry| entry.state);
    assert_eq!(
        plan,
        old.reader().look_up(&key(60), NOW).map(|entry| entry.state)
    );
}

#[test]
fn a_slot_is_read_before_and_after_it_is_written() {
    let entry = |until| Entry {
        state: ended(NOW),
        came_at: CLOCK,
        until,
    };
    let memory = Memory::new(0);
    let slot = &memory.reader().slots[0];
    slot.replace(&key(1), &entry(NOW), || {});
    assert_eq!(slot.read(), Some((key(1), entry(NOW))));
    slot.replace(&key(2), &entry(NOW + 1), || assert_eq!(slot.read(), None));
    assert_eq!(slot.read(), Some((key(2), entry(NOW + 1))));
}

#[test]
fn the_oldest_instant_gives_way_where_there_is_no_room() {
    // Two sets, which all users share.
    let memory = Memory::new(0);
    assert_eq!(memory.reader().capacity(), 32);
    // An entry without an instant gives way first.
    assert_eq!(
        memory.hear(0, heard(1, NOW, Effect::Nothing)),
        Merged::Stored
    );
    for user in 1..32 {
        assert_eq!(memory.hear(user, ended(NOW - 100 + user)), Merged::Stored);
    }
    assert_eq!(memory.reader().count(NOW), 32);
    assert_eq!(memory.reader().evictions(), 0);
    assert_eq!(memory.hear(40, ended(NOW - 50)), Merged::Evicted);
    assert_eq!(memory.reader().look_up(&key(0), NOW), None);
    assert_eq!(memory.hear(41, ended(NOW - 50)), Merged::Evicted);
    assert_eq!(memory.instant(1), None);
    assert_eq!(memory.instant(2), Some(NOW - 98));
    // An older one than all others does not get in, and a known user needs no room.
    assert_eq!(memory.hear(42, ended(NOW - 200)), Merged::NoRoom);
    assert_eq!(memory.instant(42), None);
    assert_eq!(memory.reader().evictions(), 3);
    assert_eq!(memory.hear(2, ended(NOW)), Merged::Stored);
    // A plan counts by its time.
    let plan = heard(1, NOW - 300, Effect::EndsLater(NOW + 9));
    assert_eq!(memory.hear(43, plan), Merged::Evicted);
    assert_eq!(memory.instant(3), None);
    // Room that nothing needs any more is free.
    let later = NOW - 96 + KEEP + 1;
    let merged = memory
        .writer()
        .merge(&key(44), &ended(later), KEEP, later, CLOCK);
    assert_eq!(merged, Merged::Stored);
}

/// The size that docs/revocation.md states.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_hundred_thousand_users_find_room_in_sixteen_megabytes() {
    const USERS: u64 = 100_000;
    let memory = Memory::new(16_000_000);
    for user in 0..USERS {
        assert_eq!(
            memory.hear(user, ended(NOW - user % 1_000)),
            Merged::Stored,
            "{user}"
        );
    }
    for user in 0..USERS {
        assert_eq!(memory.instant(user), Some(NOW - user % 1_000));
    }
    assert_eq!(memory.reader().count(NOW), USERS as usize);
}

#[test]
fn readers_without_a_lock_never_miss_a_user_and_never_see_one_go_back() {
    let memory = Memory::new(0);
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2_000 };
    for user in 0..8 {
        memory.hear(user, ended(NOW));
    }
    thread::scope(|scope| {
        for user in 0..3 {
            let memory = &memory;
            scope.spawn(move || {
                let mut last = NOW;
                while last < NOW + ROUNDS {
                    let entry = memory
                        .reader()
                        .look_up(&key(user), NOW)
                        .expect("it is known");
                    let (instant, marks) = entry.state.parts();
                    assert!(instant >= last, "{instant} after {last}");
                    // Values that were written together are read together.
                    assert_eq!(marks[0].seq, instant);
                    assert_eq!(entry.until, instant + KEEP);
                    last = instant;
                }
            });
        }
        for round in 1..=ROUNDS {
            for user in 0..8 {
                memory.hear(user, ended(NOW + round));
            }
            // Users that come and go around them.
            memory.hear(100 + round, ended(NOW - 5));
        }
    });
}

#[test]
fn spoiled_versions_and_indices_hang_nobody_and_hide_no_user() {
    for stores in 0.. {
        let memory = Memory::new(0);
        memory.hear(1, ended(NOW - 1));
        let ended = kill::before(stores, || {
            let _ = memory.hear(1, ended(NOW));
        });
        // No change is under way now, whatever the slot's version says.
        let head = memory.reader().head;
        head.draft_version.set(head.draft_version.get() & !1);
        assert!(memory.instant(1).is_some(), "{stores}");
        head.draft_of.set(u64::MAX);
        head.draft_version.set(1);
        memory.hear(2, self::ended(NOW));
        assert_eq!(memory.instant(2), Some(NOW), "{stores}");
        if ended {
            assert!(stores > 16, "{stores}");
            return;
        }
    }
}
