//! Workers that share a breaker, in every order that the memory model allows.

use loom::sync::Arc;
use loom::thread;

use super::*;

const NOW: u64 = 1 << 42;

fn suspended() -> Breaker {
    let breaker = Breaker::default();
    for _ in 0..MOST_SILENT {
        breaker.note_silence(NOW, NOW);
    }
    assert!(breaker.is_suspended());
    breaker
}

#[test]
fn one_of_three_workers_probes() {
    crate::models::check(|| {
        let breaker = Arc::new(suspended());
        let probe = || {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || breaker.take_probe(NOW))
        };
        let others = [probe(), probe()];
        let own = breaker.take_probe(NOW);
        let took = others.map(|thread| thread.join().unwrap());
        let probes = took.into_iter().chain([own]).filter(|took| *took);
        assert_eq!(probes.count(), 1);
        assert!(!breaker.take_probe(NOW + PROBE_PAUSE - 1));
        assert!(breaker.take_probe(NOW + PROBE_PAUSE));
    });
}

/// One that takes the turn and dies stops no later one, and two who meet later do not both probe.
#[test]
fn a_turn_is_nobodys_afterwards() {
    crate::models::check(|| {
        let breaker = Arc::new(suspended());
        assert!(breaker.take_probe(NOW));
        let of_other = Arc::clone(&breaker);
        let other = thread::spawn(move || of_other.take_probe(NOW + PROBE_PAUSE));
        let own = breaker.take_probe(NOW + PROBE_PAUSE);
        assert_ne!(other.join().unwrap(), own);
    });
}

#[test]
fn three_silent_questions_of_three_workers_suspend_once() {
    crate::models::check(|| {
        let breaker = Arc::new(Breaker::default());
        let question = || {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || breaker.note_silence(NOW, NOW))
        };
        let others = [question(), question()];
        let own = breaker.note_silence(NOW, NOW);
        let all = others.map(|thread| thread.join().unwrap());
        let suspends = |silence: &Silence| *silence == Silence::Suspended;
        assert_eq!(
            all.iter().chain([&own]).filter(|it| suspends(it)).count(),
            1
        );
        assert!(breaker.is_suspended());
        assert!(breaker.take_probe(NOW));
    });
}

#[test]
fn silent_questions_beyond_the_third_suspend_once() {
    crate::models::check(|| {
        let breaker = Arc::new(Breaker::default());
        breaker.note_silence(NOW, NOW);
        breaker.note_silence(NOW, NOW);
        let of_other = Arc::clone(&breaker);
        let other = thread::spawn(move || of_other.note_silence(NOW, NOW));
        let both = [breaker.note_silence(NOW, NOW), other.join().unwrap()];
        assert!(both.contains(&Silence::Suspended) && both.contains(&Silence::Counted));
        assert!(breaker.is_suspended());
    });
}

/// A response that comes beside the last silent question: the breaker is as if either had come first, and the
/// next response closes it.
#[test]
fn a_response_beside_the_last_silent_question_leaves_a_breaker_that_works() {
    crate::models::check(|| {
        let breaker = Arc::new(Breaker::default());
        breaker.note_silence(NOW, NOW);
        breaker.note_silence(NOW, NOW);
        let of_other = Arc::clone(&breaker);
        let other = thread::spawn(move || of_other.note_silence(NOW, NOW + 1));
        let ended = breaker.note_response(NOW + 1);
        let silence = other.join().unwrap();
        match (silence, ended) {
            (Silence::Suspended, Some(since)) => assert_eq!(since, NOW + 1),
            (Silence::Suspended, None) => {
                assert!(breaker.is_suspended());
                assert!(breaker.take_probe(NOW + 1));
                assert_eq!(breaker.note_response(NOW + 2), Some(NOW + 1));
            }
            (Silence::Counted, ended) => assert_eq!(ended, None),
            (Silence::Doubtful, _) => panic!("nobody trusts it yet"),
        }
        assert!(!breaker.is_suspended());
    });
}

#[test]
fn two_responses_end_a_suspension_once() {
    crate::models::check(|| {
        let breaker = Arc::new(suspended());
        let of_other = Arc::clone(&breaker);
        let other = thread::spawn(move || of_other.note_response(NOW + 5));
        let ended = [breaker.note_response(NOW + 5), other.join().unwrap()];
        assert_eq!(ended.iter().flatten().count(), 1, "{ended:?}");
        assert!(!breaker.is_suspended());
    });
}
