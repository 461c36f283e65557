//! Signatures and bodies.

use authgear_core::revocation::{Delivery, Effect, Event, EventError, Secrets, SecretsError};
use serde_json::{json, Value};

const FIXTURES: &str = include_str!("../../../t/fixtures/webhooks-2026-08.json");
const NOW: u64 = 1_795_880_070;
const DAY: u64 = 86_400;
const USER: &str = "d93decc7-1f5b-443f-a047-2892630beb4a";

fn fixtures() -> Value {
    serde_json::from_str(FIXTURES).unwrap()
}

fn read(body: &Value) -> Result<Delivery, EventError> {
    Delivery::read(body.to_string().as_bytes(), NOW, DAY)
}

fn lifecycle(kind: &str) -> Value {
    json!({
        "id": "1", "seq": 7, "type": kind,
        "payload": { "user": { "id": "user", "is_disabled": true }, "new": [1] },
        "context": { "timestamp": NOW - 5, "user_id": "another" },
    })
}

fn of_effect(effect: Effect) -> Result<Delivery, EventError> {
    Ok(Delivery::Lifecycle(Event {
        user: "user".to_string(),
        seq: 7,
        at: NOW - 5,
        effect,
    }))
}

#[test]
fn what_a_real_server_sent_is_signed_and_read() {
    const AT: u64 = 1_795_880_065;
    let all = fixtures();
    let secret = all["webhook_secret"].as_str().unwrap();
    let secrets = Secrets::parse(secret.as_bytes()).unwrap();
    let mut effects = Vec::new();
    for webhook in all["webhooks"].as_array().unwrap() {
        let body = webhook["body"].as_str().unwrap().as_bytes();
        let signature = webhook["headers"]["X-Authgear-Body-Signature"]
            .as_str()
            .unwrap();
        assert_eq!(secrets.verify(body, signature.as_bytes()), Some(0));
        assert_eq!(secrets.sign(body), signature);
        match Delivery::read(body, NOW, DAY).unwrap() {
            Delivery::Ignored => effects.push(None),
            Delivery::Lifecycle(event) => {
                assert_eq!(event.at, AT);
                effects.push(Some((event.seq, event.user == USER, event.effect)));
            }
        }
    }
    use Effect::{Ends, EndsLater, Nothing};
    assert_eq!(
        effects,
        [
            None,
            Some((600, true, Ends)),
            Some((602, true, Nothing)),
            Some((604, true, EndsLater(1_893_456_000))),
            Some((606, true, EndsLater(1_924_992_000))),
            Some((608, true, Ends)),
            Some((610, true, Nothing)),
            Some((613, true, Ends)),
            Some((615, true, Nothing)),
            Some((618, true, Ends)),
            Some((620, true, Nothing)),
            None,
            Some((625, false, Ends)),
            None,
            Some((630, false, Ends)),
        ]
    );
}

#[test]
fn a_forged_delivery_has_no_secret() {
    let all = fixtures();
    let body = all["webhooks"][1]["body"].as_str().unwrap();
    let signature = all["webhooks"][1]["headers"]["X-Authgear-Body-Signature"]
        .as_str()
        .unwrap();
    let secret = all["webhook_secret"].as_str().unwrap();
    let verify = |body: &str, signature: &str| {
        let secrets = Secrets::parse(secret.as_bytes()).unwrap();
        secrets.verify(body.as_bytes(), signature.as_bytes())
    };
    assert_eq!(verify(body, signature), Some(0));
    for other in [
        String::new(),
        signature.to_uppercase(),
        signature[1..].to_string(),
        format!("{signature}0"),
        format!(" {signature}"),
        format!("0x{}", &signature[2..]),
        format!("{}g", &signature[..63]),
        "0".repeat(64),
    ] {
        assert_eq!(verify(body, &other), None, "{other}");
    }
    for at in 0..64 {
        let mut other = signature.as_bytes().to_vec();
        other[at] = if other[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(verify(body, std::str::from_utf8(&other).unwrap()), None);
    }
    for other in [
        &body[1..],
        &body[..body.len() - 1],
        &format!("{body}\n"),
        "",
    ] {
        assert_eq!(verify(other, signature), None);
    }
    let another = Secrets::parse(b"another").unwrap();
    assert_eq!(another.verify(body.as_bytes(), signature.as_bytes()), None);
}

#[test]
fn any_line_of_the_file_verifies() {
    let secrets = Secrets::parse(b"first\r\nsecond\nthird\n").unwrap();
    for (index, line) in ["first", "second", "third"].into_iter().enumerate() {
        let alone = Secrets::parse(line.as_bytes()).unwrap();
        let signature = alone.sign(b"body");
        assert_eq!(secrets.verify(b"body", signature.as_bytes()), Some(index));
    }
}

#[test]
fn a_malformed_file_of_secrets_is_refused() {
    let long = "x".repeat(1025);
    for (file, error) in [
        ("", SecretsError::Empty),
        ("\n", SecretsError::Empty),
        ("\r\n", SecretsError::Empty),
        (&*long, SecretsError::TooLong),
        ("a\n\nb", SecretsError::EmptyLine(2)),
        ("a\n\n", SecretsError::EmptyLine(2)),
        ("a b", SecretsError::Unprintable(1)),
        ("a\nb\u{7f}", SecretsError::Unprintable(2)),
        ("a\nb\nm\u{fc}ller", SecretsError::Unprintable(3)),
        ("a\tb", SecretsError::Unprintable(1)),
        ("a\0", SecretsError::Unprintable(1)),
    ] {
        assert_eq!(
            Secrets::parse(file.as_bytes()).err(),
            Some(error),
            "{file:?}"
        );
    }
    assert!(Secrets::parse(&long.as_bytes()[..1024]).is_ok());
}

#[test]
fn five_events_end_sessions_and_three_do_not() {
    for (kind, effect) in [
        ("user.disabled", Effect::Ends),
        ("user.deleted", Effect::Ends),
        ("user.deletion_scheduled", Effect::Ends),
        ("user.anonymized", Effect::Ends),
        ("user.anonymization_scheduled", Effect::Ends),
        ("user.reenabled", Effect::Nothing),
        ("user.deletion_unscheduled", Effect::Nothing),
        ("user.anonymization_unscheduled", Effect::Nothing),
    ] {
        assert_eq!(read(&lifecycle(kind)), of_effect(effect), "{kind}");
    }
}

#[test]
fn other_events_are_ignored_whatever_they_hold() {
    for kind in [
        "user.created",
        "user.profile.updated",
        "user.signed_out",
        "User.disabled",
        "",
    ] {
        assert_eq!(
            read(&json!({ "type": kind })),
            Ok(Delivery::Ignored),
            "{kind}"
        );
    }
    let body = json!({ "type": "user.created", "seq": "x", "payload": null, "context": 1 });
    assert_eq!(read(&body), Ok(Delivery::Ignored));
}

#[test]
fn a_disabling_is_for_now_for_later_or_over() {
    for (from, is_disabled, effect) in [
        // NOW - 5 is 2026-11-28T15:34:25Z.
        (
            json!("2026-11-28T15:34:26Z"),
            json!(false),
            Effect::EndsLater(NOW - 4),
        ),
        (
            json!("2026-11-28T15:34:25.000001Z"),
            json!(false),
            Effect::EndsLater(NOW - 4),
        ),
        (
            json!("2026-11-28T23:34:26+08:00"),
            json!(false),
            Effect::EndsLater(NOW - 4),
        ),
        (
            json!("2030-01-01T00:00:00Z"),
            json!(true),
            Effect::EndsLater(1_893_456_000),
        ),
        (json!("2026-11-28T15:34:25Z"), json!(false), Effect::Nothing),
        (json!("2026-11-28T15:34:25Z"), json!(true), Effect::Ends),
        (json!("1969-01-01T00:00:00Z"), json!(false), Effect::Nothing),
        (Value::Null, json!(false), Effect::Nothing),
        (Value::Null, json!(true), Effect::Ends),
        (Value::Null, Value::Null, Effect::Ends),
    ] {
        let mut body = lifecycle("user.disabled");
        body["payload"]["temporarily_disabled_from"] = from.clone();
        body["payload"]["user"]["is_disabled"] = is_disabled.clone();
        assert_eq!(read(&body), of_effect(effect), "{from} {is_disabled}");
    }
    let mut body = lifecycle("user.disabled");
    body["payload"]["user"]
        .as_object_mut()
        .unwrap()
        .remove("is_disabled");
    assert_eq!(read(&body), of_effect(Effect::Ends));
    // Only `user.disabled` can be planned.
    let mut body = lifecycle("user.deletion_scheduled");
    body["payload"]["temporarily_disabled_from"] = json!("2030-01-01T00:00:00Z");
    assert_eq!(read(&body), of_effect(Effect::Ends));
}

#[test]
fn a_malformed_event_is_refused() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"a\"",
        "{\"type\":\"a\"} x",
        "\u{fffd}",
    ] {
        let read = Delivery::read(body.as_bytes(), NOW, DAY);
        assert!(matches!(read, Err(EventError::Malformed(_))), "{body}");
    }
    for (path, value) in [
        ("/seq", json!("7")),
        ("/seq", json!(-1)),
        ("/seq", json!(7.5)),
        ("/seq", Value::Null),
        ("/payload", Value::Null),
        ("/payload/user", Value::Null),
        ("/payload/user/id", json!("")),
        ("/payload/user/id", json!(7)),
        ("/payload/user/id", Value::Null),
        ("/payload/user/is_disabled", json!("true")),
        ("/payload/new", Value::Null),
        ("/context", json!([])),
        ("/context/timestamp", json!("1")),
        ("/context/timestamp", json!(-1)),
        ("/context/timestamp", json!(1.5)),
        ("/context/timestamp", Value::Null),
    ] {
        let mut body = lifecycle("user.disabled");
        *body.pointer_mut(path).unwrap() = value.clone();
        match path {
            "/payload/new" => assert_eq!(read(&body), of_effect(Effect::Ends)),
            _ => assert!(
                matches!(read(&body), Err(EventError::Malformed(_))),
                "{path}: {value}"
            ),
        }
    }
    for from in [
        json!("soon"),
        json!("2030-01-01"),
        json!(1_893_456_000),
        json!(""),
    ] {
        let mut body = lifecycle("user.disabled");
        body["payload"]["temporarily_disabled_from"] = from.clone();
        assert!(
            matches!(read(&body), Err(EventError::Malformed(_))),
            "{from}"
        );
    }
    let twice = lifecycle("user.disabled")
        .to_string()
        .replace("\"seq\":7", "\"seq\":7,\"seq\":7");
    assert!(Delivery::read(twice.as_bytes(), NOW, DAY).is_err());
}

#[test]
fn an_instant_too_far_ahead_is_refused_and_one_too_old_forgotten() {
    let at = |kind, time: u64| {
        let mut body = lifecycle(kind);
        body["context"]["timestamp"] = json!(time);
        read(&body)
    };
    for kind in ["user.disabled", "user.reenabled"] {
        assert_eq!(at(kind, NOW + 301), Err(EventError::Ahead));
        assert!(matches!(at(kind, NOW + 300), Ok(Delivery::Lifecycle(_))));
        assert!(matches!(at(kind, NOW - DAY), Ok(Delivery::Lifecycle(_))));
        assert_eq!(at(kind, NOW - DAY - 1), Ok(Delivery::Ignored));
        assert_eq!(at(kind, 0), Ok(Delivery::Ignored));
    }
    // A plan counts until `revocation_keep` after its own time.
    let mut body = lifecycle("user.disabled");
    body["context"]["timestamp"] = json!(NOW - 10 * DAY);
    body["payload"]["temporarily_disabled_from"] = json!("2026-11-28T15:34:25Z");
    assert!(matches!(read(&body), Ok(Delivery::Lifecycle(_))));
    body["payload"]["temporarily_disabled_from"] = json!("2026-11-26T15:34:25Z");
    assert_eq!(read(&body), Ok(Delivery::Ignored));
}
