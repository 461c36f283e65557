//! A table that is full: the slots that give way, and those that stay.

use super::*;
use crate::judgements::slot::Rank;

/// Fills the room for questions with noes to tokens, which stay.
fn fill_questions(table: &mut Writer<'_>, not_after: u64) {
    for number in 1_000..1_004 {
        let lease = take(table, &key(number), NOW);
        for way in 0..8 {
            assert!(table.store(&key(2_000 + way), None, &denied(not_after), NOW));
        }
        assert!(table.store(&key(number), Some(lease), &denied(not_after), NOW));
    }
}

#[test]
fn a_no_to_a_token_stays_until_the_token_expires_whatever_else_comes() {
    let (size, keys) = match cfg!(miri) {
        true => (16 << 10, 200),
        false => (64 << 10, 4_000),
    };
    let memory = Memory::new(Dimensions::within(size));
    let mut table = memory.writer();
    let revoked = key(1);
    assert!(ask(&mut table, &revoked, &denied(NOW + 5_000_000), NOW));
    for number in 2..keys {
        let now = NOW + number;
        let key = key(number);
        match number % 5 {
            0 => drop(ask(&mut table, &key, &answer(Verdict::Confirmed), now)),
            1 => drop(ask(&mut table, &key, &answer(Verdict::No), now)),
            2 => drop(ask(&mut table, &key, &answer(Verdict::Failed), now)),
            3 => tokens::store(&mut table, number, "token", FAR, now),
            _ => drop(table.try_lease(&key, FAR, now)),
        }
        let found = verdict(&mut table, &revoked, now);
        assert_eq!(found, Some(Verdict::Denied), "{number}");
    }
    // It is free again when the token has expired.
    let now = NOW + 5_000_000;
    assert_eq!(verdict(&mut table, &revoked, now), None);
    assert!(table.slots.iter().all(|slot| slot.rank(now).is_some()));
}

#[test]
fn where_a_no_has_no_room_tokens_wait_until_it_expires() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    let is_crowded = |table: &mut Writer, number, now| read(table, &key(number), now).0.is_crowded;
    fill_questions(&mut table, NOW + 100);
    assert!(!is_crowded(&mut table, 50, NOW));
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
        assert!(is_crowded(&mut table, number, NOW + 4_999));
        assert!(!is_crowded(&mut table, number, NOW + 5_000));
    }
    assert!(!is_crowded(&mut table, 1_000, NOW), "its no is known");
    // A slot gets free: the token still waits while it is asked about and when that fails.
    let now = NOW + 200;
    let lease = take(&mut table, &key(8), now);
    assert!(is_crowded(&mut table, 8, now));
    table.store(&key(8), Some(lease), &answer(Verdict::Failed), now);
    assert!(is_crowded(&mut table, 8, now));
    ask(&mut table, &key(8), &answer(Verdict::Confirmed), now);
    assert!(!is_crowded(&mut table, 8, now));
}

/// Keeps an answer in the room for judgements, to which a yes moves a question.
fn kept(table: &mut Writer<'_>, number: u64, answer: &Answer<'_>) {
    assert!(ask(
        table,
        &key(number),
        &super::answer(Verdict::Confirmed),
        NOW
    ));
    assert!(ask(table, &key(number), answer, NOW));
}

#[test]
fn what_is_worth_least_gives_way_first() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    // In the order in which they give way, but not in that in which they come.
    let run_out = Answer {
        live_until: NOW + 1,
        ..answer(Verdict::Confirmed)
    };
    kept(&mut table, 7, &yes("newer"));
    tokens::store(&mut table, 6, "token", FAR, NOW);
    kept(&mut table, 4, &answer(Verdict::No));
    kept(&mut table, 3, &run_out);
    kept(&mut table, 2, &answer(Verdict::Failed));
    tokens::store(&mut table, 1, "token", NOW + 1, NOW);
    let asked = Answer {
        not_after: NOW + 1,
        ..answer(Verdict::Confirmed)
    };
    kept(&mut table, 5, &asked);
    table.try_lease(&key(5), FAR, NOW);
    kept(&mut table, 0, &denied(FAR));
    read(&mut table, &key(3), NOW + 1_001);
    read(&mut table, &key(6), NOW + 1_001);
    read(&mut table, &key(7), NOW + 1_002);

    let now = NOW + 1_003;
    let left = |table: &mut Writer| -> Vec<u64> {
        let is_there = |number: &u64| table.slots.iter().any(|slot| slot.is_of(&key(*number)));
        (0..8).filter(is_there).collect()
    };
    assert_eq!(left(&mut table).len(), 8);
    for (number, gone) in [2, 1, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let evicted = table.losses().0;
        let new = key(100 + number as u64);
        assert!(table.store(&new, None, &denied(FAR), now));
        let left = left(&mut table);
        assert!(!left.contains(&gone), "{gone} gives way before {left:?}");
        assert_eq!(left.len(), 7 - number);
        let is_live = u64::from(gone > 5);
        assert_eq!(table.losses().0 - evicted, is_live, "{gone}");
    }
    assert_eq!(left(&mut table), [0]);
}

#[test]
fn a_token_that_finds_no_room_is_counted() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    for number in 0..8 {
        kept(&mut table, number, &denied(FAR));
    }
    assert_eq!(table.losses(), (0, 0));
    tokens::store(&mut table, 50, "token", FAR, NOW);
    assert_eq!(read(&mut table, &key(50), NOW).0.token, None);
    assert_eq!(table.losses(), (0, 1));
    assert!(table.take_warning());
}

#[test]
fn made_up_sessions_take_no_room_from_judgements() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    for number in 0..4 {
        ask(&mut table, &key(number), &answer(Verdict::Confirmed), NOW);
        tokens::store(&mut table, 4 + number, "token", FAR, NOW);
    }
    let later = NOW + 10;
    let live = |table: &mut Writer| {
        let ranks = table.slots.iter().map(|slot| slot.rank(NOW + 10));
        ranks.filter(|rank| *rank == Some(Rank::Live)).count()
    };
    assert_eq!(live(&mut table), 8);
    for number in 100..200 {
        let leased = table.try_lease(&key(number), FAR, later);
        let is_first = number < 104;
        assert_eq!(leased != TryLease::Unshared, is_first, "{number}");
        assert_eq!(live(&mut table), 8, "{number}");
    }
    for verdict in [Verdict::No, Verdict::Failed] {
        assert!(!table.store(&key(2_000), None, &answer(verdict), later));
    }
    assert_eq!((live(&mut table), table.losses()), (8, (0, 0)));
    // Noes give way to questions.
    for number in 100..104 {
        assert!(table.store(&key(number), None, &answer(Verdict::No), later));
        table.release(&key(number), number - 99 + 4);
    }
    // A session that is valid takes the place of the judgement that was used least recently.
    assert!(table.store(&key(2_000), None, &yes("user"), later));
    assert_eq!((live(&mut table), table.losses().0), (8, 1));
}

#[test]
fn a_bucket_without_a_way_left_gives_one_up() {
    let dimensions = Dimensions {
        buckets: 1,
        questions: 2,
        judgements: 20,
    };
    let memory = Memory::new(dimensions);
    let mut table = memory.writer();
    for number in 0..14 {
        tokens::store(&mut table, number, "token", FAR, NOW + number * 1_000);
    }
    assert_eq!(table.losses(), (0, 0));
    tokens::store(&mut table, 14, "token", FAR, NOW + 14_000);
    assert_eq!(table.losses(), (1, 0));
    let there = |table: &mut Writer, number| read(table, &key(number), NOW).0.token.is_some();
    assert!(!there(&mut table, 0), "the least recently used");
    assert!((1..15).all(|number| there(&mut table, number)));
    assert_eq!(table.try_lease(&key(30), FAR, NOW), TryLease::Unshared);
}

#[test]
fn the_documented_sizes_hold_what_they_say() {
    let documented = include_str!("../../../../docs/operations.md");
    for (size, name) in [
        (512 << 10, "512k"),
        (1 << 20, "1m"),
        (4 << 20, "4m"),
        (16 << 20, "16m"),
        (32 << 20, "32m, the default"),
        (64 << 20, "64m"),
        (256 << 20, "256m"),
    ] {
        let row = format!("| {name} | {} |", Dimensions::in_zone(size).judgements());
        assert!(documented.contains(&row), "{row}");
    }
    let default = Dimensions::in_zone(32 << 20).judgements();
    assert!(
        default > 41_000,
        "20,000 tokens and 20,000 sessions: {default}"
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn a_full_table_serves_all_that_it_says_it_holds() {
    let dimensions = Dimensions::within(1 << 20);
    let count = dimensions.judgements() as u64;
    assert!(dimensions.size() <= 1 << 20 && count == 1_496, "{count}");
    let memory = Memory::new(dimensions);
    let mut table = memory.writer();
    for number in 0..count {
        tokens::store(&mut table, number, "token", FAR, NOW);
    }
    assert!(table.losses().0 < 3, "ways are left in almost every bucket");
    let there = |number| {
        read(&mut memory.writer(), &key(number), NOW)
            .0
            .token
            .is_some()
    };
    let found = (0..count).filter(|number| there(*number)).count() as u64;
    assert_eq!(found, count - table.losses().0);
    let (taken, all) = table.fill();
    assert_eq!((taken, all), (count, 1_596));
}

#[test]
fn spoiled_numbers_of_a_room_stop_no_writer() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    for number in 0..40 {
        for room in &table.head.rooms {
            room.hand.set(u64::MAX - number);
            room.taken.set(u64::MAX - number);
        }
        assert!(ask(&mut table, &key(number), &yes("user"), NOW + number));
        assert_eq!(read(&mut table, &key(number), NOW + number).1, b"user");
        assert_eq!(table.fill(), (12, 12));
    }
}

#[test]
fn memory_that_held_anything_makes_an_empty_slot() {
    let memory = Memory::new(SMALL);
    let slot = &memory.table().slots[0];
    slot.name(&key(1), NOW);
    slot.set_state(&yes("user"));
    slot.end();
    assert!(!slot.is_empty());
    slot.initialise();
    assert!(slot.is_empty());
    // Nobody reads it before it has a key.
    assert_eq!(slot.read(&key(1), NOW, None), Err(Torn));
    slot.end();
    assert_eq!(slot.read(&key(1), NOW, None), Ok(None));
}

#[test]
fn a_slot_that_gives_way_is_read_when_it_has_another_key() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    ask(&mut table, &key(1), &yes("user"), NOW);
    let slot = table.slots.iter().find(|slot| slot.is_of(&key(1))).unwrap();
    assert!(slot.read(&key(1), NOW, None).is_ok());
    slot.clear();
    assert_eq!(slot.read(&key(1), NOW, None), Err(Torn));
    slot.name(&key(2), NOW);
    slot.set_asked();
    assert_eq!(slot.read(&key(2), NOW, None), Err(Torn));
    slot.end();
    assert!(slot.read(&key(2), NOW, None).is_ok());
}

#[test]
fn what_is_read_under_the_lock_is_used() {
    let memory = Memory::new(SMALL);
    let mut table = memory.writer();
    for number in 0..8 {
        tokens::store(&mut table, number, "token", FAR, NOW + number * 100);
    }
    // The oldest, but for that.
    table.read(&key(0), NOW + 1_000, None);
    tokens::store(&mut table, 8, "token", FAR, NOW + 2_000);
    let found: Vec<u64> = (0..9)
        .filter(|number| read(&mut table, &key(*number), NOW).0.token.is_some())
        .collect();
    assert_eq!(found, [0, 2, 3, 4, 5, 6, 7, 8]);
}
