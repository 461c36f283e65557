use std::collections::HashMap;

use authgear_core::keys::freshness::{advise, Advice, Need, Timing};

use super::*;
use crate::word::kill;

const ID: Id = [3; 32];
const NOW: u64 = 1 << 42;
const TIMING: Timing = Timing {
    refresh: 600_000,
    stale: 0,
    min_interval: 30_000,
};

/// Two documents, and an entry which has one of them or none.
struct Memory {
    entry: Box<SourceEntry>,
    old: Box<DocumentBlock>,
    new: Box<DocumentBlock>,
}

impl kill::Shared for Memory {
    fn words(&self) -> Vec<u64> {
        // Pointers differ from one memory to another: each is a number here.
        let number = |block: &DocumentBlock| (ptr_of(block) as u64, block.len as u64);
        let names = HashMap::from([number(&self.old), number(&self.new)]);
        let name = |word: u64| names.get(&word).copied().unwrap_or(word);
        kill::words_of(&*self.entry).into_iter().map(name).collect()
    }
}

fn ptr_of(block: &DocumentBlock) -> *mut DocumentBlock {
    core::ptr::from_ref(block).cast_mut()
}

fn publication(digest: u64, fetched_at: u64) -> Publication {
    Publication {
        digest,
        keys: 2,
        origin: KeyOrigin::Network,
        fetched_at,
    }
}

/// An entry whose fetch number 5 is under way.
fn fetching(has_document: bool) -> Memory {
    let memory = Memory {
        entry: Box::new(SourceEntry::new(core::ptr::null_mut(), &ID, NOW)),
        old: Box::new(DocumentBlock { len: 1 }),
        new: Box::new(DocumentBlock { len: 2 }),
    };
    if has_document {
        memory.entry.give_lease(4, NOW + 1_000, 7);
        memory.entry.publish(&publication(11, NOW), 20, 7);
        memory.entry.document.set(ptr_of(&memory.old));
    }
    memory.entry.give_lease(5, NOW + 9_000, 7);
    memory
}

/// The document and the time that a worker without keys of its own finds: never a document with the time of another.
fn found(memory: &Memory) -> (&'static str, Option<u64>) {
    let document = memory.entry.document.get();
    let record = memory.entry.record_beside(0, None);
    if document.is_null() {
        let advice = advise(&record, &TIMING, Need::Keys, NOW + 9_000);
        assert_ne!(advice, Advice::Use, "there is none to be used");
        return ("none", record.fetched_at);
    }
    let name = if document == ptr_of(&memory.new) {
        "new"
    } else {
        "old"
    };
    (name, record.fetched_at)
}

/// The next worker fetches at last, and a holder that is late publishes nothing.
fn assert_goes_on(memory: &Memory, name: &str) {
    let entry = &memory.entry;
    assert!(entry.record().lease_until <= NOW + 9_000, "{name}: stuck");
    entry.give_lease(6, NOW + 20_000, 7);
    assert!(entry.is_too_late(5) && !entry.is_too_late(6), "{name}");
    assert!(entry.is_leased_to(6) && !entry.is_leased_to(5), "{name}");
    entry.document.set(core::ptr::null_mut());
    entry.publish(&publication(13, NOW + 15_000), 30, 7);
    entry.document.set(ptr_of(&memory.new));
    assert_eq!(found(memory), ("new", Some(NOW + 15_000)), "{name}");
    assert_eq!(entry.record().lease_until, 0, "{name}");
    let facts = entry.facts();
    assert_eq!((facts.number, facts.origin), (2, Some(KeyOrigin::Network)));
}

/// As the module's `KeyStore::publish` does it.
fn publish(memory: &Memory) {
    memory.entry.document.set(core::ptr::null_mut());
    memory.entry.publish(&publication(12, NOW + 8_000), 21, 7);
    memory.entry.document.set(ptr_of(&memory.new));
}

#[test]
fn a_killed_worker_publishes_no_old_keys_as_new() {
    for has_document in [false, true] {
        let stores = kill::before_each(
            || fetching(has_document),
            publish,
            |memory, stores| {
                let name = format!("had one: {has_document}, killed before store {stores}");
                match found(&memory) {
                    ("new", fetched_at) => assert_eq!(fetched_at, Some(NOW + 8_000), "{name}"),
                    ("old", fetched_at) => {
                        assert!(has_document && fetched_at == Some(NOW), "{name}");
                    }
                    ("none", fetched_at) => assert!(!has_document || stores > 0, "{fetched_at:?}"),
                    other => panic!("{name}: {other:?}"),
                }
                // Keys that a worker has of another document do not become new.
                if memory.entry.document.get().is_null() {
                    let own = memory.entry.record_beside(11, Some(NOW));
                    assert_ne!(own.fetched_at, Some(NOW + 8_000), "{name}");
                }
                assert_goes_on(&memory, &name);
            },
        );
        assert!(stores > 10, "{stores}");
    }
}

#[test]
fn a_killed_worker_offers_a_saved_document_whole_or_not() {
    let program = |memory: &Memory| {
        memory.entry.offer(&publication(12, NOW - 5_000), 21);
        memory.entry.document.set(ptr_of(&memory.new));
    };
    kill::before_each(
        || fetching(false),
        program,
        |memory, stores| {
            let (name, fetched_at) = found(&memory);
            assert!(
                name == "none" || fetched_at == Some(NOW - 5_000),
                "{stores}"
            );
            assert!(memory.entry.is_leased_to(5), "the fetch goes on");
            assert_eq!(memory.entry.record().lease_until, NOW + 9_000);
            assert_goes_on(&memory, &format!("killed before store {stores}"));
        },
    );
}

#[test]
fn a_killed_worker_leaves_the_keys_of_a_fetch_that_failed() {
    let record = Record {
        attempted_at: Some(NOW + 8_000),
        failures: 1,
        next_try: NOW + 9_000,
        ..Record::default()
    };
    for has_document in [false, true] {
        kill::before_each(
            || fetching(has_document),
            |memory| {
                let failure = (FetchResult::ALL[1], 77);
                assert!(memory.entry.fail(failure, &record, 21, NOW + 8_000));
            },
            |memory, stores| {
                let expected = if has_document {
                    ("old", Some(NOW))
                } else {
                    ("none", None)
                };
                assert_eq!(found(&memory), expected, "{stores}");
                let advice = advise(&memory.entry.record(), &TIMING, Need::NewKey, NOW + 40_000);
                assert_eq!(advice, Advice::FetchAndWait, "{stores}");
                assert_goes_on(&memory, &format!("killed before store {stores}"));
            },
        );
    }
}

#[test]
fn a_killed_worker_gives_no_lease_with_the_number_of_another() {
    let stores = kill::before_each(
        || fetching(true),
        |memory| memory.entry.give_lease(6, NOW + 19_000, 8),
        |memory, stores| {
            let entry = &memory.entry;
            let is_own = entry.is_leased_to(6);
            assert!(
                is_own || entry.record().lease_until == NOW + 9_000,
                "{stores}"
            );
            assert_eq!(entry.is_too_late(5), is_own, "{stores}");
        },
    );
    assert_eq!(stores, 3);
}

#[test]
fn keys_of_a_workers_own_count_until_others_are_published() {
    let memory = fetching(false);
    let own = |digest| memory.entry.record_beside(digest, Some(NOW - 1)).fetched_at;
    assert_eq!(own(12), Some(NOW - 1), "nothing was published");
    memory.entry.publish(&publication(12, NOW + 5), 21, 7);
    assert_eq!(own(12), Some(NOW + 5), "its own was");
    assert_eq!(own(11), None, "another, for which there is no room here");
    memory.entry.document.set(ptr_of(&memory.new));
    assert_eq!(own(11), Some(NOW + 5));
}

#[test]
fn the_status_page_shows_the_last_failure_and_origin() {
    let memory = fetching(false);
    let facts = memory.entry.facts();
    assert_eq!((facts.origin, facts.last_error), (None, None));
    memory.entry.offer(
        &Publication {
            origin: KeyOrigin::Saved,
            ..publication(12, NOW)
        },
        21,
    );
    let failure = (FetchResult::ALL[2], 77);
    assert!(memory.entry.fail(failure, &Record::default(), 22, NOW + 3));
    assert!(!memory.entry.fail(failure, &Record::default(), 23, NOW + 4));
    let facts = memory.entry.facts();
    assert_eq!(facts.origin, Some(KeyOrigin::Saved));
    assert_eq!(facts.last_error, Some((FetchResult::ALL[2], NOW + 4)));
    assert_eq!(facts.record.fetched_at, Some(NOW));
    assert!(memory.entry.publish(&publication(13, NOW + 9), 24, 7));
    assert!(!memory.entry.publish(&publication(13, NOW + 10), 25, 7));
}
