//! Readers without the lock beside a writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// Lends the memory to the threads of a test.
struct Shared<'m>(&'m Memory);

// SAFETY: all that threads change in the table is atomic, and one thread writes.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    fn memory(&self) -> &Memory {
        self.0
    }
}

/// A record that tells its owner and is alike in all words.
fn record(number: u64, version: u64) -> String {
    let word = format!("{number:03}.{version:04}");
    word.repeat(1 + (version % 60) as usize)
}

#[test]
fn a_reader_never_sees_half_a_slot() {
    // Fewer slots than keys: slots pass from one key to another all the time.
    let memory = Memory::new(SMALL);
    let shared = Shared(&memory);
    let is_over = AtomicBool::new(false);
    let (changes, readers) = if cfg!(miri) { (60, 2) } else { (60_000, 3) };
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                let table = shared.memory().table();
                let mut text = Text::new();
                let mut found = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for number in 0..16 {
                        found += u64::from(check(&table, number, &mut text));
                    }
                }
                found
            });
        }
        for version in 0..changes {
            let mut writer = shared.memory().writer();
            let number = version * 7 % 16;
            let text = record(number, version % 1_000);
            if number.is_multiple_of(2) {
                tokens::store(&mut writer, number, &text, FAR, NOW);
            } else {
                ask(&mut writer, &key(number), &yes(&text), NOW);
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Checks what a reader finds; returns whether it found anything.
fn check(table: &Table<'_>, number: u64, text: &mut Text) -> bool {
    let Ok(known) = table.read(&key(number), NOW, Some(text)) else {
        return false;
    };
    let is_token = number.is_multiple_of(2);
    match (known.verdict, known.token) {
        (None, None) => return false,
        (Some((Verdict::Yes, NOW)), None) if !is_token => {}
        (None, Some(token)) if is_token && token.digest == tokens::digest(number) => {}
        other => panic!("{number}: {other:?}"),
    }
    let text = str::from_utf8(text.bytes()).unwrap();
    let version = text[4..8].parse().unwrap();
    assert_eq!(text, record(number, version));
    true
}

/// Each change ends: a reader that finds the slot torn after it would take the lock, and each later one too.
#[test]
fn after_each_change_readers_need_no_lock() {
    let changes: [Change; 9] = [
        ("a question", |table| {
            table.try_lease(&key(2), FAR, NOW);
        }),
        ("another question", |table| {
            table.try_lease(&key(1), FAR, NOW);
        }),
        ("no answer", |table| table.release(&key(1), 1)),
        ("an answer", |table| {
            assert!(table.store(&key(2), None, &yes("other"), NOW));
        }),
        ("another answer", |table| {
            assert!(table.store(&key(1), None, &answer(Verdict::No), NOW));
        }),
        ("a yes to a question", |table| {
            let lease = take(table, &key(2), NOW);
            assert!(table.store(&key(2), Some(lease), &yes("other"), NOW));
        }),
        ("a failure beside a yes", |table| {
            let failure = Failure {
                at: NOW,
                is_outage: true,
            };
            assert!(table.keep_yes(&key(1), None, failure, NOW));
        }),
        ("a pause", |table| table.postpone(&key(1), None, FAR, NOW)),
        ("a token", |table| {
            tokens::store(table, 1, "token", FAR, NOW)
        }),
    ];
    for (name, change) in changes {
        let memory = Memory::new(SMALL);
        let mut table = memory.writer();
        ask(&mut table, &key(1), &yes("user"), NOW);
        change(&mut table);
        for number in [1, 2, 3] {
            let read = memory.table().read(&key(number), NOW, None);
            assert!(read.is_ok(), "{name}, key {number}");
        }
    }
}
