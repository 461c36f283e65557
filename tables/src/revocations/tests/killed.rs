//! Writers that are killed before each of their stores.

use super::*;

/// A change, with its name and the user that it is about.
type Change = (&'static str, u64, State);

/// Every change that a worker makes, killed before each of its stores: readers find each user as before
/// or as after, whole, and the next writer goes on.
#[test]
fn a_killed_writer_leaves_nothing_wrong() {
    let changes: [Change; 6] = [
        ("a new user", 40, ended(NOW - 1)),
        ("a later end", 3, ended(NOW - 1)),
        (
            "an end in the same second",
            3,
            heard(NOW - 96, NOW - 97, Effect::Ends),
        ),
        ("a plan", 3, heard(NOW, NOW - 1, Effect::EndsLater(NOW + 9))),
        (
            "a plan that is called off",
            4,
            heard(NOW, NOW - 1, Effect::Nothing),
        ),
        (
            "a plan that is put off",
            4,
            heard(NOW, NOW - 1, Effect::EndsLater(NOW + 9)),
        ),
    ];
    for is_full in [false, true] {
        let before = all(&filled(is_full));
        for (name, user, state) in changes {
            let hear = |memory: &Memory| {
                let mut writer = memory.writer();
                writer.merge(&key(user), &state, KEEP, NOW, CLOCK + 1)
            };
            let stores = kill::before_each(
                || filled(is_full),
                |memory| {
                    hear(memory);
                },
                |memory, stores| {
                    let name = format!("{name}, full: {is_full}, killed before store {stores}");
                    check(&memory, &before, user, &state, &name);
                    let _ = hear(&memory);
                    let known = memory.reader().look_up(&key(user), NOW).unwrap().state;
                    assert_eq!(known, known.merge(&state), "{name}");
                    check(&memory, &before, user, &state, &name);
                    for user in 50..if cfg!(miri) { 53 } else { 70 } {
                        memory.hear(user, ended(NOW));
                        assert_eq!(memory.instant(user), Some(NOW), "{name}");
                    }
                },
            );
            assert!(stores > 16, "{name} stores nothing");
        }
    }
}

/// A writer that ends what a killed one left, and is killed before each of its stores too.
#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_killed_successor_leaves_nothing_wrong() {
    let state = ended(NOW - 1);
    for user in [3, 40] {
        let before = all(&filled(true));
        let killed = |stores| {
            let memory = filled(true);
            let hear = || {
                let mut writer = memory.writer();
                writer.merge(&key(user), &state, KEEP, NOW, CLOCK + 1);
            };
            let ended = kill::before(stores, hear);
            (memory, ended)
        };
        for stores in (0..).take_while(|stores| !killed(*stores).1) {
            kill::before_each(
                || killed(stores).0,
                |memory| {
                    memory.writer();
                },
                |memory, then| {
                    let name = format!("{user}, killed before store {stores} and then {then}");
                    check(&memory, &before, user, &state, &name);
                    memory.writer();
                    check(&memory, &before, user, &state, &name);
                },
            );
        }
    }
}

/// Users 1 to 8, or 1 to 32 in all slots that there are; the first has the oldest instant, the fourth a
/// plan.
fn filled(is_full: bool) -> Memory {
    let memory = Memory::new(0);
    for user in 1..=if is_full { 32 } else { 8 } {
        memory.hear(user, ended(NOW - 100 + user));
    }
    memory.hear(4, heard(NOW - 50, NOW - 50, Effect::EndsLater(NOW + 5)));
    memory
}

fn all(memory: &Memory) -> Vec<Option<Entry>> {
    let users = 0..33;
    users
        .map(|user| memory.reader().look_up(&key(user), NOW))
        .collect()
}

/// Checks a table in which a change about `user` was killed.
fn check(memory: &Memory, before: &[Option<Entry>], user: u64, state: &State, name: &str) {
    for (number, before) in before.iter().enumerate() {
        let number = number as u64;
        let now = memory.reader().look_up(&key(number), NOW);
        let is_oldest = number == 1 && user == 40;
        match (before, now) {
            _ if number == user => {
                let before = before.expect("it was known").state;
                let now = now
                    .unwrap_or_else(|| panic!("{name}: {number} is gone"))
                    .state;
                assert!(
                    now == before || now == before.merge(state),
                    "{name}: {now:?}"
                );
            }
            (Some(_), None) if is_oldest => {}
            (before, now) => assert_eq!(*before, now, "{name}: {number}"),
        }
    }
    if let Some(entry) = memory.reader().look_up(&key(user), NOW) {
        assert_eq!(entry.until, entry.state.last_time() + KEEP, "{name}");
    }
}
