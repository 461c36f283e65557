//! An arbitrary webhook body, file of secrets, and signature.
//!
//! Only the signature of that very body under one of the secrets stands. An event says what the body says, and a body
//! with members of the right types is read. States of events merge in any order to the same.
//!
//! Input: a signature or secret in the first line, then the body.

use authgear_core::revocation::{Delivery, Effect, Event, EventError, Secrets, State};

use crate::reference::{parse, Fault, Json};
use crate::{assert_printable, line};

const NOW: u64 = 1_800_000_000;
const KEEP: u64 = 86_400;

const ENDING: [&str; 5] = [
    "user.disabled",
    "user.deleted",
    "user.deletion_scheduled",
    "user.anonymized",
    "user.anonymization_scheduled",
];
const CALLING_OFF: [&str; 3] = [
    "user.reenabled",
    "user.deletion_unscheduled",
    "user.anonymization_unscheduled",
];

/// One input.
pub fn run(data: &[u8]) {
    let (first, body) = line(data);
    check_secrets(first, body);
    let delivery = Delivery::read(body, NOW, KEEP);
    if let Err(error) = &delivery {
        assert_printable(&error.to_string());
    }
    let json = match parse(body) {
        Ok(json @ Json::Object(_)) => json,
        // serde skips what nobody asks for, whatever its encoding.
        Err(Fault::Invalid) if std::str::from_utf8(body).is_err() => return,
        Err(Fault::Invalid) => return assert!(delivery.is_err()),
        Ok(_) | Err(Fault::Deep) => return,
    };
    match &delivery {
        Ok(Delivery::Lifecycle(event)) => {
            check_event(&json, event);
            check_state(event);
        }
        Ok(Delivery::Ignored) => {}
        Err(EventError::Malformed(_)) => assert!(!is_good(&json), "{delivery:?}"),
        Err(EventError::Ahead) => assert!(time(&json).is_some_and(|at| at > NOW + 300)),
    }
}

fn check_secrets(first: &[u8], body: &[u8]) {
    match Secrets::parse(first) {
        Ok(secrets) => {
            let own = secrets.sign(body);
            assert_eq!(secrets.verify(body, own.as_bytes()), Some(0));
            let is_own = first == own.as_bytes();
            assert_eq!(secrets.verify(body, first).is_some(), is_own);
            assert_eq!(
                secrets
                    .verify(body, own.to_uppercase().as_bytes())
                    .is_some(),
                own == own.to_uppercase()
            );
            let other = Secrets::parse(b"another").expect("a secret");
            assert!(other.verify(body, own.as_bytes()).is_none() || first == b"another");
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

fn number(json: Option<&Json>) -> Option<u64> {
    match json? {
        Json::Number(text) => text.parse().ok(),
        _ => None,
    }
}

fn time(json: &Json) -> Option<u64> {
    number(json.get("context")?.get("timestamp"))
}

fn check_event(json: &Json, event: &Event) {
    let kind = json.get("type").and_then(Json::text).expect("a type");
    // serde reads a struct from an array too.
    let (Some(payload), Some(Json::Object(_))) = (json.get("payload"), json.get("context")) else {
        panic!("no payload or context");
    };
    let Some(user @ Json::Object(_)) = payload.get("user") else {
        return;
    };
    assert_eq!(number(json.get("seq")), Some(event.seq));
    assert_eq!(time(json), Some(event.at));
    assert_eq!(user.get("id").and_then(Json::text), Some(&*event.user));
    assert!(!event.user.is_empty() && event.at > 0 && event.at <= NOW + 300);
    let is_ending = ENDING.contains(&kind);
    assert!(is_ending || CALLING_OFF.contains(&kind));
    match event.effect {
        Effect::Nothing => {
            let is_over =
                kind == "user.disabled" && user.get("is_disabled") == Some(&Json::Bool(false));
            assert!(!is_ending || is_over);
        }
        Effect::Ends => assert!(is_ending),
        Effect::EndsLater(time) => assert!(kind == "user.disabled" && time > event.at),
    }
}

/// True for a body with all that an event must have, once and of the right type, and nothing that could be wrong.
fn is_good(json: &Json) -> bool {
    let once = |json: &Json, names: &[&str]| {
        let mut all = json.members().unwrap_or_default().iter();
        // serde reads each name as Unicode.
        all.all(|(name, _)| std::str::from_utf8(name).is_ok())
            && names.iter().all(|name| json.count(name) <= 1)
    };
    let Some(kind) = json.get("type").and_then(Json::text) else {
        return false;
    };
    if !once(json, &["type", "seq", "payload", "context"]) {
        return false;
    }
    if !ENDING.contains(&kind) && !CALLING_OFF.contains(&kind) {
        return true;
    }
    let (Some(payload), Some(context)) = (json.get("payload"), json.get("context")) else {
        return false;
    };
    let Some(user) = payload.get("user") else {
        return false;
    };
    once(payload, &["user", "temporarily_disabled_from"])
        && once(user, &["id", "is_disabled"])
        && once(context, &["timestamp"])
        && number(json.get("seq")).is_some()
        && number(context.get("timestamp")).is_some()
        && user.get("id").and_then(Json::text).is_some_and(|id| !id.is_empty())
        && matches!(user.get("is_disabled"), None | Some(Json::Null | Json::Bool(_)))
        && matches!(payload.get("temporarily_disabled_from"), None | Some(Json::Null))
        // Deeper than serde goes, or beyond its numbers.
        && json.depth() < 100
}

fn check_state(event: &Event) {
    let other = Event {
        seq: event.seq ^ 1,
        at: event.at.max(2) - 1,
        effect: Effect::EndsLater(event.at + 5),
        ..event.clone()
    };
    let (one, two) = (State::of(event), State::of(&other));
    let both = one.merge(&two);
    assert_eq!(both, two.merge(&one));
    assert_eq!(both.merge(&one), both);
    let (ended_at, marks) = both.parts();
    assert_eq!(State::from_parts(ended_at, marks).merge(&both), both);
    for now in [0, event.at, NOW, u64::MAX] {
        let now = now as f64;
        assert!(both.instant(now) >= one.instant(now) || event.effect != Effect::Ends);
        assert_eq!(
            both.is_revoked(None, None, now),
            both.instant(now).is_some()
        );
        let _ = (
            both.next_plan(now),
            both.last_time(),
            both.last_instant(),
            both.is_answer_void(now, now, now),
        );
    }
}
