//! Readers without the lock beside a writer, and leases, in every order that the memory model allows.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::*;

const NOW: u64 = 1 << 42;
const FAR: u64 = u64::MAX;
const OLD: &[u8] = b"old.old.old.";
const NEW: &[u8] = b"new.new.new.new.";

/// A table with one bucket, and the lock of its writers.
struct Memory {
    head: Head,
    buckets: Vec<Bucket>,
    slots: Vec<Slot>,
    lock: Mutex<()>,
}

impl Memory {
    fn new() -> Memory {
        let [questions, judgements] = [(0, 1), (1, 1)].map(|(first, slots)| Room {
            first,
            slots,
            ..Room::default()
        });
        Memory {
            head: Head {
                rooms: [questions, judgements],
                ..Head::default()
            },
            buckets: vec![Bucket::default()],
            slots: vec![Slot::default(), Slot::default()],
            lock: Mutex::new(()),
        }
    }

    fn table(&self) -> Table<'_> {
        Table {
            head: &self.head,
            buckets: &self.buckets,
            slots: &self.slots,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        let _locked = self.lock.lock().unwrap();
        // SAFETY: the lock is held for as long as the writer is there.
        let mut writer = unsafe { Writer::new(self.table()) };
        crate::models::write(|| change(&mut writer))
    }

    fn read(&self, key: &Key) -> Result<(Known, Text), Busy> {
        let mut text = Text::new();
        let known = self.table().read(key, NOW, Some(&mut text))?;
        Ok((known, text))
    }
}

fn key(number: u8) -> Key {
    Key {
        tenant: [7; 32],
        digest: [number; 16],
    }
}

fn token(number: u8, record: &[u8]) -> Token<'_> {
    Token {
        digest: [number; 16],
        record,
        prefix: 0,
        expires_at: FAR,
    }
}

fn answer(verdict: Verdict, session: &[u8]) -> Answer<'_> {
    Answer {
        verdict,
        session,
        not_after: FAR,
        live_until: FAR,
    }
}

/// Lets a worker change a table that `prepare` made, while another reads a key.
fn beside(
    prepare: fn(&mut Writer<'_>),
    change: fn(&mut Writer<'_>),
    read: u8,
    check: fn(Known, &[u8]),
) {
    crate::models::check_reader(move || {
        let memory = Arc::new(Memory::new());
        memory.change(prepare);
        let of_reader = Arc::clone(&memory);
        let found =
            crate::models::beside(|| memory.change(change), move || of_reader.read(&key(read)));
        if let Ok((known, text)) = found {
            check(known, text.bytes());
        }
        let (known, text) = memory.read(&key(read)).expect("nobody writes");
        check(known, text.bytes());
    });
}

/// There is no token, or it is the whole one of that number.
fn is_whole(known: Known, text: &[u8], number: u8, record: &[u8]) {
    assert_eq!(known.verdict, None);
    if let Some(token) = known.token {
        assert_eq!((token.digest, text), ([number; 16], record));
    }
}

#[test]
fn a_token_is_whole_or_gone_while_another_takes_its_slot() {
    beside(
        |table| table.store_token(&key(1), &token(1, OLD), NOW),
        |table| table.store_token(&key(2), &token(2, NEW), NOW),
        1,
        |known, text| is_whole(known, text, 1, OLD),
    );
}

#[test]
fn a_token_is_whole_or_not_there_while_it_takes_the_slot_of_another() {
    beside(
        |table| table.store_token(&key(1), &token(1, OLD), NOW),
        |table| table.store_token(&key(2), &token(2, NEW), NOW),
        2,
        |known, text| is_whole(known, text, 2, NEW),
    );
}

#[test]
fn a_session_is_whole_while_another_answer_replaces_it() {
    beside(
        |table| {
            table.store(&key(1), None, &answer(Verdict::Yes, OLD), NOW - 1);
        },
        |table| {
            let TryLease::Taken(lease) = table.try_lease(&key(1), FAR, NOW) else {
                panic!("nobody asks");
            };
            table.store(&key(1), Some(lease), &answer(Verdict::Yes, NEW), NOW);
        },
        1,
        |known, text| match known.verdict {
            Some((Verdict::Yes, NOW)) => assert_eq!(text, NEW),
            Some((Verdict::Yes, _)) => assert_eq!(text, OLD),
            other => panic!("{other:?}"),
        },
    );
}

#[test]
fn a_token_is_whole_while_another_spelling_takes_its_place() {
    beside(
        |table| table.store_token(&key(1), &token(1, OLD), NOW),
        |table| table.store_token(&key(1), &token(2, NEW), NOW),
        1,
        |known, text| {
            let digest = known.token.expect("one of both is there").digest;
            assert!([([1; 16], OLD), ([2; 16], NEW)].contains(&(digest, text)));
        },
    );
}

/// Words of the slot mean a question's failure beside a session, and beside a token its digest.
#[test]
fn a_session_is_whole_or_gone_while_a_token_takes_its_slot() {
    beside(
        |table| {
            table.store(&key(1), None, &answer(Verdict::Yes, OLD), NOW);
        },
        |table| table.store_token(&key(2), &token(2, NEW), NOW),
        1,
        |known, text| {
            assert_eq!((known.token, known.failure), (None, None));
            match known.verdict {
                Some((Verdict::Yes, NOW)) => assert_eq!(text, OLD),
                other => assert_eq!(other, None),
            }
        },
    );
}

#[test]
fn a_yes_stays_whole_while_a_failure_is_noted_beside_it() {
    const FAILURE: Failure = Failure {
        at: NOW,
        is_outage: true,
    };
    beside(
        |table| {
            table.store(&key(1), None, &answer(Verdict::Yes, OLD), NOW);
        },
        |table| assert!(table.keep_yes(&key(1), None, FAILURE, NOW)),
        1,
        |known, text| {
            assert_eq!((known.verdict, text), (Some((Verdict::Yes, NOW)), OLD));
            assert!(known.failure.is_none_or(|failure| failure == FAILURE));
        },
    );
}

#[test]
fn a_no_to_a_token_is_never_missed_while_the_token_is_stored() {
    beside(
        |table| {
            table.store(&key(1), None, &answer(Verdict::Denied, b""), NOW);
        },
        |table| {
            table.store_token(&key(1), &token(1, NEW), NOW);
            table.store(&key(1), None, &answer(Verdict::Denied, b""), NOW);
        },
        1,
        |known, text| {
            assert_eq!(known.verdict, Some((Verdict::Denied, NOW)));
            if known.token.is_some() {
                assert_eq!(text, NEW);
            }
        },
    );
}

#[test]
fn what_moves_to_another_room_is_found_all_the_while() {
    beside(
        |table| {
            table.try_lease(&key(1), FAR, NOW);
            table.store(&key(1), Some(1), &answer(Verdict::No, b""), NOW);
        },
        |table| table.store_token(&key(1), &token(1, NEW), NOW),
        1,
        |known, _| assert_eq!(known.verdict, Some((Verdict::No, NOW))),
    );
}

/// Of two who want to ask one may. One who releases his lease after it has run out frees nobody else's.
#[test]
fn one_asks_and_a_late_release_frees_nobody() {
    crate::models::check(|| {
        let memory = Arc::new(Memory::new());
        let late = memory.change(|table| table.try_lease(&key(1), NOW, NOW - 1));
        let TryLease::Taken(late) = late else {
            panic!("{late:?}");
        };
        let of_late = Arc::clone(&memory);
        let releases = thread::spawn(move || of_late.change(|table| table.release(&key(1), late)));
        let asks = || {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.change(|table| table.try_lease(&key(1), FAR, NOW)))
        };
        let both = [asks(), asks()];
        let taken = both.map(|thread| matches!(thread.join().unwrap(), TryLease::Taken(_)));
        releases.join().unwrap();
        assert!(taken[0] != taken[1], "{taken:?}");
        let (known, _) = memory.read(&key(1)).unwrap();
        assert!(known.is_asked, "the lease stands");
    });
}
