//! Changes at random, many of them killed, to a table that is always full.

use super::*;
use crate::word::kill;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The keys below this one are those of tokens that were refused for good.
const REFUSED: u64 = 3;

/// A change that takes no refusal back. Keys with an odd number are those of sessions.
fn change(table: &mut Writer<'_>, random: &mut Random, now: u64) {
    let number = random.below(40);
    let (key, is_session) = (key(number), number >= REFUSED && number % 2 == 1);
    let is_own = random.below(2) == 0;
    let lease = is_own.then(|| table.try_lease(&key, now + random.below(50), now));
    let lease = lease.map(|lease| match lease {
        TryLease::Taken(number) => number,
        _ => 0,
    });
    let verdict = match (random.below(12), is_session) {
        (0..3, true) => Verdict::Yes,
        (3..5, true) => Verdict::TooLarge,
        (5..8, true) => Verdict::No,
        (0..2, false) if number < REFUSED => Verdict::Denied,
        (0, false) => Verdict::Denied,
        (1, false) => Verdict::Unclear,
        (2..6, false) if number >= REFUSED => Verdict::Confirmed,
        (6, false) => Verdict::No,
        _ => Verdict::Failed,
    };
    let until = if number < REFUSED {
        FAR
    } else {
        now + random.below(300)
    };
    match random.below(8) {
        0 => table.release(&key, lease.unwrap_or(0)),
        1 => table.postpone(&key, lease, now + random.below(20), now),
        2..4 if !is_session => tokens::store(table, number, "a token", until, now),
        _ => {
            let answer = Answer {
                verdict,
                session: b"a session",
                not_after: until,
                live_until: until,
            };
            table.store(&key, lease, &answer, now);
        }
    }
}

#[test]
fn whatever_happens_a_no_stays_and_a_text_is_its_own() {
    let two = Dimensions {
        buckets: 2,
        questions: 2,
        judgements: 20,
    };
    for seed in 1..if cfg!(miri) { 2 } else { 8 } {
        for dimensions in [SMALL, two, Dimensions::within(0)] {
            run(&mut Random(seed << 32 | 1), dimensions);
        }
    }
}

fn run(random: &mut Random, dimensions: Dimensions) {
    let memory = Memory::new(dimensions);
    let mut table = memory.writer();
    let mut is_refused = [false; REFUSED as usize];
    for step in 0..if cfg!(miri) { 20 } else { 400 } {
        let now = NOW + step * 5;
        let kills = random.below(2) == 0;
        let stores = if kills {
            random.below(30) as usize
        } else {
            usize::MAX
        };
        let ended = kill::before(stores, || change(&mut memory.writer(), random, now));
        if !ended && random.below(2) == 0 {
            // The next writer comes before a reader.
            continue;
        }
        for number in 0..40 {
            let (known, text) = read(&mut table, &key(number), now);
            match (known.token, known.verdict) {
                (Some(token), _) => {
                    assert_eq!(token.digest, tokens::digest(number));
                    assert_eq!(text, b"a token");
                }
                (None, Some((Verdict::Yes, _))) => assert_eq!(text, b"a session"),
                _ => {}
            }
            if let Some(is_refused) = is_refused.get_mut(number as usize) {
                let is_no = matches!(known.verdict, Some((Verdict::Denied, _)));
                assert!(
                    is_no || !*is_refused || known.is_crowded,
                    "{number}: {known:?}"
                );
                *is_refused |= is_no;
            }
        }
    }
    // All other noes have run out.
    let now = NOW + 1_000_000;
    let stay = table.slots.iter().filter(|slot| slot.rank(now).is_none());
    assert!(stay.count() <= REFUSED as usize + 2);
}
