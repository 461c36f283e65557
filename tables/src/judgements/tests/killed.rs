//! Writers that are killed before each of their stores.

use super::*;

/// The time of the changes.
const LATER: u64 = NOW + 2_000;

const FAILURE: Failure = Failure {
    at: LATER,
    is_outage: true,
};

fn lease_of(table: &Writer<'_>, number: u64) -> Option<u64> {
    let number = key(number);
    let mut slots = table.slots.iter();
    slots
        .find(|slot| slot.is_of(&number))
        .map(|slot| slot.lease.get())
}

const CHANGES: [Change; 17] = [
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
        let lease = lease_of(table, 1);
        table.store(&key(1), lease, &yes("another user"), LATER);
    }),
    ("a yes to a question", |table| {
        table.store(&key(3), Some(1), &yes("new"), LATER);
    }),
    ("a no over a yes", |table| {
        let _ = table.store(&key(1), None, &denied(FAR), LATER);
    }),
    ("a failure over a yes", |table| {
        let lease = lease_of(table, 1);
        table.store(&key(1), lease, &answer(Verdict::Failed), LATER);
    }),
    ("a failure beside a yes", |table| {
        let lease = lease_of(table, 1);
        table.keep_yes(&key(1), lease, FAILURE, LATER);
    }),
    ("a no again", |table| {
        let _ = table.store(&key(2), None, &denied(FAR - 1), LATER);
    }),
    ("a yes in the place of another", |table| {
        table.store(&key(21), None, &yes("new"), LATER);
    }),
    ("a no in the place of a yes", |table| {
        let _ = table.store(&key(22), None, &denied(FAR), LATER);
    }),
    ("a project that fails", |table| {
        let _ = table.set_failing(1, true);
    }),
    ("a warning", |table| {
        // A yes gives way to another.
        table.store(&key(21), None, &yes("new"), LATER);
        assert!(table.take_warning());
    }),
    ("a token in the place of a yes", |table| {
        tokens::store(table, 23, "a token", FAR, LATER);
    }),
    ("a token beside a no", |table| {
        tokens::store(table, 2, "a token", FAR, LATER);
    }),
    ("a token where there is a question", |table| {
        tokens::store(table, 3, "a token", FAR, LATER);
    }),
];

/// Every change that a worker makes, killed before each of its stores.
#[test]
fn a_killed_worker_leaves_nothing_wrong() {
    for (name, change) in CHANGES {
        let stores = kill::before_each(
            filled,
            |memory| change(&mut memory.writer()),
            |memory, stores| {
                let name = format!("{name}, killed before store {stores}");
                check(&mut memory.writer(), &name);
            },
        );
        assert!(stores > 0, "{name} stores nothing");
    }
}

/// Of a token that takes another's place, the digest and the record belong together.
#[test]
fn a_token_killed_over_another_leaves_one_or_none() {
    let one_token = || {
        let memory = Memory::new(SMALL);
        tokens::store(&mut memory.writer(), 1, "token", FAR, NOW);
        memory
    };
    let other = Token {
        digest: tokens::digest(9),
        record: b"other",
        prefix: 4,
        expires_at: FAR,
    };
    let change = |memory: &Memory| memory.writer().store_token(&key(1), &other, LATER);
    kill::before_each(one_token, change, |memory, stores| {
        let (known, record) = read(&mut memory.writer(), &key(1), LATER);
        let found = known.token.map(|token| (token.digest, &*record));
        let pairs = [
            None,
            Some((tokens::digest(1), &b"token"[..])),
            Some((tokens::digest(9), &b"other"[..])),
        ];
        assert!(
            pairs.contains(&found),
            "killed before store {stores}: {found:?}"
        );
    });
}

/// Readers mark what they use, and the next one with the lock what a killed writer left torn.
#[test]
fn a_killed_reader_leaves_nothing_wrong() {
    let reads: [fn(&Memory); 2] = [
        |memory| {
            let _ = memory.table().read(&key(1), LATER, None);
        },
        |memory| {
            let torn = memory.table().read(&key(2), LATER, None);
            assert_eq!(torn, Err(Busy));
            memory.writer().read(&key(2), LATER, None);
        },
    ];
    for read in reads {
        let torn = || {
            let memory = filled();
            let table = memory.table();
            let slot = table.slots.iter().find(|slot| slot.is_of(&key(2)));
            slot.unwrap().begin();
            memory
        };
        let stores = kill::before_each(torn, read, |memory, stores| {
            let name = format!("a reader killed before store {stores}");
            check(&mut memory.writer(), &name);
        });
        assert!(stores > 0);
    }
}

/// A question, a yes, a no, and tokens that stand.
fn filled() -> Memory {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    assert_eq!(take(&mut table, &key(3), NOW), 1);
    ask(&mut table, &key(1), &yes("a user"), NOW);
    ask(&mut table, &key(2), &denied(FAR), NOW);
    for number in 4..10 {
        ask(&mut table, &key(number), &answer(Verdict::Confirmed), NOW);
    }
    memory
}

/// The result of a reader without the lock, unless the killed writer holds it up, and then of one with
/// it.
fn both(table: &mut Writer<'_>, number: u64) -> Vec<(Known, Vec<u8>)> {
    let mut text = Text::new();
    let without = Table::read(table, &key(number), LATER, Some(&mut text));
    let without = without.ok().map(|known| (known, text.bytes().to_vec()));
    let with = table.read(&key(number), LATER, Some(&mut text));
    let with = (with, text.bytes().to_vec());
    if let Some((known, _)) = &without {
        assert_eq!(*known, with.0, "{number}");
    }
    without.into_iter().chain([with]).collect()
}

/// Checks a table in which a change was killed.
fn check(table: &mut Writer<'_>, name: &str) {
    for (known, _) in both(table, 2) {
        assert!(
            matches!(known.verdict, Some((Verdict::Denied, NOW | LATER))),
            "{name}: the no is {:?}",
            known.verdict
        );
    }
    // A session is whole, and as old as its answer.
    for number in [1, 3, 21] {
        for (known, text) in both(table, number) {
            let expected = match (known.verdict, number) {
                (None | Some((Verdict::Denied | Verdict::Failed, LATER)), _) => continue,
                (Some((Verdict::Yes, NOW)), 1) => "a user",
                (Some((Verdict::Yes, LATER)), 1) => "another user",
                (Some((Verdict::Yes, LATER)), _) => "new",
                (other, _) => panic!("{name}: {number} is {other:?}"),
            };
            assert_eq!(text, expected.as_bytes(), "{name}");
        }
    }
    // A token is whole.
    for number in [2, 3, 23] {
        for (known, text) in both(table, number) {
            if let Some(token) = known.token {
                assert_eq!(token.digest, tokens::digest(number), "{name}");
                assert_eq!(text, b"a token", "{name}");
            }
        }
    }
    for number in 4..10 {
        for (known, _) in both(table, number) {
            assert!(
                matches!(known.verdict, None | Some((Verdict::Confirmed, NOW))),
                "{name}: {known:?}"
            );
        }
    }
    // The table works on.
    let more = if cfg!(miri) { 32 } else { 60 };
    for number in 30..more {
        assert!(ask(table, &key(number), &yes("later"), LATER), "{name}");
        let (known, text) = read(table, &key(number), LATER);
        assert_eq!(known.verdict, Some((Verdict::Yes, LATER)), "{name}");
        assert_eq!(text, b"later", "{name}");
        tokens::store(table, 100 + number, "later", FAR, LATER);
        assert_eq!(read(table, &key(100 + number), LATER).1, b"later", "{name}");
    }
    for (known, _) in both(table, 2) {
        let is_no = matches!(known.verdict, Some((Verdict::Denied, _)));
        assert!(is_no, "{name}: {known:?}");
    }
    // No slot is lost: all but the one with the no can be used.
    let bucket = &table.buckets[0];
    let named = bucket.ways.iter().filter(|way| way.get() != 0).count();
    assert!(named <= 12, "{name}: {named}");
}
