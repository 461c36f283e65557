//! Any changes of the table of revocations, in any order, while any word of it is overwritten.
//!
//! Readers and writers come to an end, without a panic and within the memory, whatever it holds. As long as
//! nothing was overwritten and nobody gave way, each user's entry is what was heard of that user.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use authgear_core::revocation::{Effect, Event, State};
use authgear_tables::revocations::{layout, place, Entry, Head, Key, Merged, Reader, Writer};

use crate::memory::{Input, Memory};

const NOW: u64 = 1_800_000_000;
const KEEP: u64 = 86_400;

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (sets, size) = layout(usize::from(input.byte()) << 6);
    let memory = Memory::new(size, 0);
    // SAFETY: the memory is zeroed, aligned, as long as the table, and nobody else's.
    let head = unsafe { place(memory.start(), sets, [1; 16]) };
    // What `place` sets never changes; all other words are zero yet.
    let words = memory.words()[..size_of::<Head>() / 8].iter();
    let constant: Vec<usize> = words
        .enumerate()
        .filter_map(|(index, word)| (word.load(Ordering::Acquire) != 0).then_some(index))
        .collect();
    // SAFETY: the table was placed, and its memory stays.
    let reader = unsafe { Reader::new(head) };
    let mut known: HashMap<u8, State> = HashMap::new();
    let (mut now, mut is_sound) = (NOW, true);
    while !input.is_over() {
        let command = input.byte();
        now += u64::from(command >> 5);
        let number = input.byte() % 64;
        match command % 8 {
            0 => {
                is_sound = false;
                memory.scribble(&mut input, &constant);
            }
            1..4 => {
                let entry = reader.look_up(&key(number), now);
                if is_sound {
                    let heard = known.get(&number).copied().unwrap_or_default();
                    assert_eq!(entry.map_or(State::default(), |entry| entry.state), heard);
                }
                let _ = entry.map(uses);
            }
            4..7 => {
                let state = heard(&mut input, now);
                // SAFETY: there is one thread.
                let mut writer = unsafe { Writer::new(head) };
                let merged = writer.merge(&key(number), &state, KEEP, now, now);
                let all = known.entry(number).or_default();
                *all = all.merge(&state);
                is_sound &= !matches!(merged, Merged::Evicted | Merged::NoRoom);
                if is_sound {
                    assert!(reader
                        .look_up(&key(number), now)
                        .is_some_and(|entry| entry.state == *all));
                }
            }
            _ => {
                let _ = (
                    reader.count(now),
                    reader.count_revoked(7, now),
                    reader.capacity(),
                );
                let _ = (reader.changes(), reader.evictions(), reader.is_empty(now));
                // SAFETY: there is one thread.
                let _ = unsafe { Writer::new(head) };
            }
        }
    }
    for number in 0..64 {
        let _ = reader.look_up(&key(number), now).map(uses);
    }
}

fn uses(entry: Entry) {
    let State { .. } = entry.state;
    let _ = entry.state.merge(&State::default());
    let _ = entry.state.is_revoked(Some(NOW as f64), None, NOW as f64);
}

/// Some keys share both sets.
fn key(number: u8) -> Key {
    let spread =
        u128::from(number % 16 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let digest = (spread ^ spread >> 64) & !(0xff << 64) | u128::from(number) << 64;
    Key {
        group: 7,
        digest: digest.to_le_bytes(),
    }
}

/// An event of the last two minutes, so that none runs out meanwhile.
fn heard(input: &mut Input<'_>, now: u64) -> State {
    let at = now - u64::from(input.byte()) % 120;
    let effect = match input.byte() % 3 {
        0 => Effect::Ends,
        1 => Effect::EndsLater(at + 1 + u64::from(input.byte())),
        _ => Effect::Nothing,
    };
    let seq = u64::from(input.byte());
    State::of(&Event {
        user: "user".into(),
        seq,
        at,
        effect,
    })
}
