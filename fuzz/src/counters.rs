//! The breakers, the questions before any limit, the counters, and the waiting requests, while any word of them is
//! overwritten.
//!
//! Nothing panics or leaves the memory. An address never asks more than ten times in a second, and two probes are a
//! second apart, unless words were overwritten.

use std::ptr::NonNull;

use authgear_core::status::{Count, Duration};
use authgear_core::Reason;
use authgear_tables::breaker::{Breaker, Breakers, Set, PROBE_PAUSE};
use authgear_tables::counters::{Counters, Waiting};
use authgear_tables::early::EarlyQuestions;
use authgear_tables::word::Link;

use crate::memory::{Input, Memory};

const NOW: u64 = 1 << 42;
const LANES: usize = 3;

/// A table of which zeroed memory is an empty one.
fn table<T>(memory: &Memory) -> &T {
    // SAFETY: the memory is zeroed, aligned and as long as the table, all of which is atomic.
    unsafe { memory.start().cast::<T>().as_ref() }
}

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => early(&mut input),
        1 => breakers(&mut input),
        2 => counters(&mut input),
        _ => waiting(&mut input),
    }
}

fn early(input: &mut Input<'_>) {
    let memory = Memory::new(size_of::<EarlyQuestions>(), 0);
    let questions = table::<EarlyQuestions>(&memory);
    let (mut now, mut taken, mut is_sound) = (NOW + input.value() % (1 << 33), Vec::new(), true);
    while !input.is_over() {
        let command = input.byte();
        now += u64::from(command >> 4) * 37;
        match command % 8 {
            0 => {
                is_sound = false;
                memory.scribble(input, &[]);
            }
            1 => {
                if let Some((slip, _)) = taken.pop() {
                    questions.give_back(slip);
                }
            }
            _ => {
                let slip = questions.take(u128::from(command % 8 / 7) << 100 | 5, now);
                taken.retain(|(_, at)| now - at < 1000);
                assert!(!is_sound || slip.is_some() == (taken.len() < 10));
                taken.extend(slip.map(|slip| (slip, now)));
            }
        }
    }
}

fn breakers(input: &mut Input<'_>) {
    // As many sets as the smallest zone has.
    const SETS: usize = 16;
    assert_eq!(SETS, Breakers::sets_in(0));
    let memory = Memory::new(size_of::<[Set; SETS]>(), 0);
    let breakers = Breakers::new(table::<[Set; SETS]>(&memory));
    let (mut now, mut is_sound) = (NOW, true);
    let own = Breaker::default();
    let mut probed = None;
    while !input.is_over() {
        let command = input.byte();
        now += u64::from(command >> 4) * 211;
        let tenant = u64::from(input.byte()) << 32 | u64::from(command & 3) << 1 | 1;
        let breaker = breakers.find_or_insert(tenant, tenant % 3, now);
        match command % 8 {
            0 => {
                is_sound = false;
                memory.scribble(input, &[]);
            }
            1 => {
                let _ = breaker.note_response(now);
                assert!(!is_sound || !breaker.is_suspended());
            }
            2 => drop((
                breaker.note_silent_probe(now, now),
                own.note_silent_probe(now, now),
            )),
            3 => {
                let _ = breaker.take_probe(now);
                if own.take_probe(now) {
                    assert!(probed.is_none_or(|last| now - last >= PROBE_PAUSE));
                    probed = Some(now);
                    assert!(!own.take_probe(now));
                }
            }
            4 => {
                let _ = (
                    breakers.suspended_since(tenant % 3),
                    breaker.suspended_since(),
                    breakers.find(tenant),
                );
            }
            _ => drop((
                breaker.note_silence(now - u64::from(command), now),
                own.note_silence(now, now),
            )),
        }
        if own.note_response(now + 1).is_some() {
            // A new row has a probe at once.
            probed = None;
        }
    }
}

fn counters(input: &mut Input<'_>) {
    let memory = Memory::new(Counters::size(LANES), 0);
    let list = Link::null();
    // SAFETY: the memory is zeroed, aligned, long enough for the lanes, and stays as long as the list.
    unsafe { Counters::place(&list, memory.start(), 9, LANES) };
    // SAFETY: as above.
    let counters = unsafe { Counters::find(&list, 9, input.byte().into()) }.expect("the counters");
    // Link, project, lanes.
    let constant = [0, 1, 2];
    while !input.is_over() {
        let command = input.byte();
        match command % 4 {
            0 => memory.scribble(input, &constant),
            1 => {
                counters.count(Count::SignatureCheck);
                let reason = Reason::ALL[usize::from(input.byte()) % Reason::ALL.len()];
                let _ = counters.count_observed(reason);
            }
            2 => {
                let measured = std::time::Duration::from_micros(input.value());
                counters.measure(Duration::Fetch, measured);
            }
            _ => {
                counters.note_resolver(command > 127, input.value());
                let _ = (
                    counters.resolver_failing_since(),
                    counters.breaker().is_suspended(),
                );
            }
        }
    }
    let totals = counters.totals();
    let _ = (
        totals.get(Count::SignatureCheck),
        totals.requests().count(),
        totals.histogram(Duration::Fetch).count(),
    );
    let _: NonNull<u8> = memory.start();
}

fn waiting(input: &mut Input<'_>) {
    let memory = Memory::new(size_of::<Waiting>(), 0);
    let waiting = table::<Waiting>(&memory);
    while !input.is_over() {
        let command = input.byte();
        let alive = input.byte();
        let is_alive = |worker: u64| worker % 256 <= u64::from(alive);
        match command % 3 {
            0 => memory.scribble(input, &[]),
            1 => {
                if let Some(place) = waiting.claim(u64::from(command) + 1, is_alive) {
                    waiting.set(place, input.value());
                }
            }
            _ => {
                let _ = waiting.total(is_alive);
            }
        }
    }
}
