//! A table that is full: the slots that give way, and those that stay.

use super::*;
use crate::resolver_cache::slot::QUESTIONS;

#[test]
fn a_no_to_a_token_stays_until_the_token_expires_whatever_else_comes() {
    let memory = Memory::new(8);
    let mut table = memory.table();
    // Keys all over the table.
    let spread = |number: u64| Key {
        tenant: [7; 32],
        digest: u128::from(number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            .to_le_bytes(),
    };
    let revoked = spread(1);
    assert!(ask(&mut table, &revoked, &denied(NOW + 5_000_000), NOW));
    for number in 2..4_000 {
        let now = NOW + number;
        let key = spread(number);
        match number % 4 {
            0 => {
                let _ = ask(&mut table, &key, &answer(Verdict::Confirmed), now);
            }
            1 => {
                let _ = ask(&mut table, &key, &answer(Verdict::No), now);
            }
            2 => {
                let _ = ask(&mut table, &key, &answer(Verdict::Failed), now);
            }
            _ => {
                let _ = table.try_lease(&key, FAR, now);
            }
        }
        assert_eq!(
            verdict(&mut table, &revoked, now),
            Some(Verdict::Denied),
            "{number}"
        );
    }
    // It is free again when the token has expired.
    let now = NOW + 5_000_000;
    assert_eq!(verdict(&mut table, &revoked, now), None);
    let set = table.position(&revoked.digest).set;
    assert!(table.slots(set).iter().all(|slot| slot.rank(now).is_some()));
}

#[test]
fn where_a_no_has_no_room_tokens_wait_until_it_expires() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    for number in 0..8 {
        assert!(ask(
            &mut table,
            &key(number),
            &denied(NOW + 100 + number),
            NOW
        ));
        assert!(!table.look_up(&key(50), NOW).is_crowded);
    }
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
        assert!(table.look_up(&key(number), NOW + 4_999).is_crowded);
        assert!(!table.look_up(&key(number), NOW + 5_000).is_crowded);
    }
    assert!(!table.look_up(&key(0), NOW).is_crowded, "its no is known");
    // A slot gets free: the token still waits while it is asked about and when that fails.
    let now = NOW + 200;
    let lease = take(&mut table, &key(8), now);
    assert!(table.look_up(&key(8), now).is_crowded);
    table.store(&key(8), Some(lease), &answer(Verdict::Failed), now);
    assert!(table.look_up(&key(8), now).is_crowded);
    ask(&mut table, &key(8), &answer(Verdict::Confirmed), now);
    assert!(!table.look_up(&key(8), now).is_crowded);
}

#[test]
fn what_is_worth_least_gives_way_first() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    // In the order in which they give way, but not in that in which they come.
    let run_out = Answer {
        live_until: NOW + 1,
        ..answer(Verdict::Confirmed)
    };
    for (number, what) in [
        (7, answer(Verdict::Yes(fields("newer")))),
        (6, answer(Verdict::Confirmed)),
        (4, answer(Verdict::No)),
        (3, run_out),
        (2, answer(Verdict::Failed)),
    ] {
        assert!(ask(&mut table, &key(number), &what, NOW));
    }
    let released = take(&mut table, &key(1), NOW);
    table.release(&key(1), released);
    take(&mut table, &key(5), NOW);
    ask(&mut table, &key(0), &denied(FAR), NOW);
    table.look_up(&key(6), NOW + 1);
    table.look_up(&key(7), NOW + 2);

    let now = NOW + 3;
    let left = |table: &mut Table| -> Vec<u64> {
        (0..8)
            .filter(|number| table.find(&key(*number)).is_some())
            .collect()
    };
    for (number, gone) in [1, 2, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let warned = table.losses().0;
        assert!(table.store(&key(100 + number as u64), None, &denied(FAR), now));
        assert!(!left(&mut table).contains(&gone), "{gone} gives way");
        assert_eq!(left(&mut table).len(), 7 - number);
        assert_eq!(
            table.losses().0 - warned,
            u64::from(gone > 5),
            "a live one is counted"
        );
    }
    assert_eq!(left(&mut table), [0]);
}

#[test]
fn made_up_sessions_take_no_room_from_live_answers() {
    let memory = Memory::new(1);
    let mut table = memory.table();
    for number in 0..8 {
        ask(
            &mut table,
            &key(number),
            &answer(Verdict::Confirmed),
            NOW + number,
        );
    }
    let live = |table: &mut Table| {
        let is_live = |number: &u64| verdict(table, &key(*number), NOW) == Some(Verdict::Confirmed);
        (0..8).filter(is_live).count()
    };
    for number in 100..1_000 {
        table.try_lease(&key(number), FAR, NOW + 10);
        assert!(live(&mut table) >= WAYS - QUESTIONS, "{number}");
    }
    assert_eq!(
        table.try_lease(&key(2_000), FAR, NOW + 10),
        TryLease::Unshared
    );
    for verdict in [Verdict::No, Verdict::Failed] {
        assert!(!table.store(&key(2_000), None, &answer(verdict), NOW + 10));
    }
    assert_eq!(live(&mut table), WAYS - QUESTIONS);
    // A session that is valid takes what questions had.
    assert!(table.store(
        &key(2_000),
        None,
        &answer(Verdict::Yes(fields("user"))),
        NOW + 10
    ));
    assert_eq!(live(&mut table), WAYS - QUESTIONS);
}
