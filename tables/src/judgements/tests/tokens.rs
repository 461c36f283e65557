//! Verified tokens in the table.

use super::*;

/// Keeps a token, with a digest that is made of its number.
pub fn store(table: &mut Writer<'_>, number: u64, record: &str, expires_at: u64, now: u64) {
    let token = Token {
        digest: digest(number),
        record: record.as_bytes(),
        prefix: 4,
        expires_at,
    };
    table.store_token(&key(number), &token, now);
}

pub fn digest(number: u64) -> Digest {
    u128::from(number).wrapping_add(5).to_le_bytes()
}

#[test]
fn a_token_is_found_with_its_record_until_it_expires() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let long = "x".repeat(496);
    for (number, record) in ["token", &long].into_iter().enumerate() {
        let number = number as u64;
        store(&mut table, number, record, NOW + 1_000, NOW);
        let (known, found) = read(&mut table, &key(number), NOW + 999);
        let token = KnownToken {
            digest: digest(number),
            is_whole: true,
        };
        assert_eq!(known.token, Some(token));
        assert_eq!((known.verdict, known.is_asked), (None, false));
        assert_eq!(found, record.as_bytes());
        let (known, _) = read(&mut table, &key(number), NOW + 1_000);
        assert_eq!(known, Known::default());
    }
}

#[test]
fn of_a_large_token_the_prefix_is_kept() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let record = format!("sign{}", "x".repeat(493));
    store(&mut table, 1, &record, FAR, NOW);
    let (known, found) = read(&mut table, &key(1), NOW);
    let token = known.token.unwrap();
    assert_eq!((token.is_whole, &*found), (false, &b"sign"[..]));
}

#[test]
fn another_spelling_of_a_token_takes_its_place() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    store(&mut table, 1, "token", FAR, NOW);
    ask(&mut table, &key(1), &denied(FAR), NOW);
    let other = Token {
        digest: digest(9),
        record: b"other",
        prefix: 4,
        expires_at: FAR,
    };
    table.store_token(&key(1), &other, NOW);
    let (known, found) = read(&mut table, &key(1), NOW);
    assert_eq!(known.token.unwrap().digest, digest(9));
    assert_eq!(found, b"other");
    let no = Some((Verdict::Denied, NOW));
    assert_eq!(known.verdict, no, "what the resolver said stays");
}

#[test]
fn answers_about_a_token_leave_its_record() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    store(&mut table, 1, "token", FAR, NOW);
    for word in [
        Verdict::Confirmed,
        Verdict::Failed,
        Verdict::Unclear,
        Verdict::Denied,
        Verdict::Confirmed,
    ] {
        let lease = take(&mut table, &key(1), NOW);
        let (known, found) = read(&mut table, &key(1), NOW);
        assert!(known.is_asked && known.token.is_some(), "{word:?}");
        assert_eq!(found, b"token");
        assert!(table.store(&key(1), Some(lease), &answer(word), NOW));
        let (known, found) = read(&mut table, &key(1), NOW);
        assert_eq!(known.verdict, Some((word, NOW)));
        assert_eq!((known.token.is_some(), &*found), (true, &b"token"[..]));
    }
    // It is found still when the answer has run out.
    let answer = Answer {
        not_after: NOW + 1,
        ..answer(Verdict::Confirmed)
    };
    ask(&mut table, &key(1), &answer, NOW);
    let (known, found) = read(&mut table, &key(1), NOW + 1);
    assert_eq!((known.verdict, &*found), (None, &b"token"[..]));
}

#[test]
fn a_token_that_was_asked_about_first_is_kept_with_the_answer() {
    for word in [Verdict::Confirmed, Verdict::Denied, Verdict::Failed] {
        let memory = Memory::new(SMALL);
        let mut table = memory.writer();
        assert!(ask(&mut table, &key(1), &answer(word), NOW));
        store(&mut table, 1, "token", FAR, NOW);
        let (known, found) = read(&mut table, &key(1), NOW);
        assert_eq!(known.verdict, Some((word, NOW)));
        assert_eq!((known.token.is_some(), &*found), (true, &b"token"[..]));
        // Nothing is left of it in the room for questions.
        for number in 10..14 {
            take(&mut table, &key(number), NOW);
        }
    }
}
