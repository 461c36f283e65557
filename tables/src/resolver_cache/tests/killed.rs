//! Writers that are killed before each of their stores.

use super::*;
use crate::word::kill;

/// A change that a worker makes, with its name.
type Change = (&'static str, fn(&mut Table));

/// The time of the changes.
const LATER: u64 = NOW + 1_000;

const CHANGES: [Change; 11] = [
    ("a new question", |table| {
        let _ = table.try_lease(&key(20), FAR, LATER);
    }),
    ("a question again", |table| {
        let _ = table.try_lease(&key(1), LATER + 9, LATER);
    }),
    ("a release", |table| table.release(&key(3), 1)),
    ("a pause", |table| {
        table.postpone(&key(3), Some(1), LATER + 5, LATER)
    }),
    ("a yes over a yes", |table| {
        let lease = table.find(&key(1)).map(|slot| slot.lease.get());
        table.store(
            &key(1),
            lease,
            &answer(Verdict::Yes(fields("another user"))),
            LATER,
        );
    }),
    ("a no over a yes", |table| {
        let _ = table.store(&key(1), None, &denied(FAR), LATER);
    }),
    ("a failure over a yes", |table| {
        let lease = table.find(&key(1)).map(|slot| slot.lease.get());
        table.store(&key(1), lease, &answer(Verdict::Failed), LATER);
    }),
    ("a no again", |table| {
        let _ = table.store(&key(2), None, &denied(FAR - 1), LATER);
    }),
    ("a yes in the place of another", |table| {
        table.store(&key(21), None, &answer(Verdict::Yes(fields("new"))), LATER);
    }),
    ("a no in the place of a yes", |table| {
        let _ = table.store(&key(22), None, &denied(FAR), LATER);
    }),
    ("a project that fails", |table| {
        let _ = table.set_failing(1, true);
    }),
];

/// Every change that a worker makes, killed before each of its stores.
#[test]
fn a_killed_worker_leaves_nothing_wrong() {
    for (name, change) in CHANGES {
        let mut stores = 0;
        loop {
            let memory = Memory::new(1);
            let mut table = memory.table();
            assert_eq!(take(&mut table, &key(3), NOW), 1);
            ask(
                &mut table,
                &key(1),
                &answer(Verdict::Yes(fields("a user"))),
                NOW,
            );
            ask(&mut table, &key(2), &denied(FAR), NOW);
            for number in 4..9 {
                ask(&mut table, &key(number), &answer(Verdict::Confirmed), NOW);
            }
            let ended = kill::before(stores, || change(&mut memory.table()));
            check(&mut table, &format!("{name}, killed before store {stores}"));
            if ended {
                assert!(stores > 0, "{name} stores nothing");
                break;
            }
            stores += 1;
        }
    }
}

/// Checks a table in which a change was killed.
fn check(table: &mut Table, name: &str) {
    let known = table.look_up(&key(2), LATER);
    assert!(
        matches!(known.verdict, Some((Verdict::Denied, at)) if at == NOW || at == LATER),
        "{name}: the no is {:?}",
        known.verdict
    );
    // A session is whole, and as old as its answer.
    for number in [1, 21] {
        match table.look_up(&key(number), LATER).verdict {
            None | Some((Verdict::Denied | Verdict::Failed, LATER)) => {}
            Some((Verdict::Yes(found), at)) => {
                let expected = match (number, at) {
                    (1, NOW) => "a user",
                    (1, LATER) => "another user",
                    (21, LATER) => "new",
                    _ => panic!("{name}: {number} is of {at}"),
                };
                assert_eq!(found, fields(expected), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for number in 4..9 {
        let known = table.look_up(&key(number), LATER).verdict;
        assert!(
            matches!(known, None | Some((Verdict::Confirmed, NOW))),
            "{name}: {known:?}"
        );
    }
    // The table works on.
    for number in 30..60 {
        let what = answer(Verdict::Yes(fields("later")));
        assert!(ask(table, &key(number), &what, LATER), "{name}");
        assert_eq!(
            verdict(table, &key(number), LATER),
            Some(what.verdict),
            "{name}"
        );
    }
    assert_eq!(
        verdict(table, &key(2), LATER),
        Some(Verdict::Denied),
        "{name}"
    );
}
