//! Webhooks: signed as Authgear signs them (`docs/specs/hook.md`), sent once, without a promise of order.

use std::time::Duration;

use aws_lc_rs::hmac::{self, Key, HMAC_SHA256};
use hyper::Request;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::client::exchange;
use crate::project::User;
use crate::standin::Met;
use crate::util::{hex, now};

/// The id of every project here.
pub const APP_ID: &str = "standin";

/// Settings of deliveries, from now on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The URLs that each event is sent to.
    pub urls: Vec<String>,
    /// The project's webhook secret.
    pub secret: String,
    /// So many of the next events are not sent at all.
    pub lose: u32,
    /// Each delivery is sent so many times more.
    pub repeat: u32,
    /// The time before a delivery.
    pub delay_ms: u64,
    /// Events wait for [`release`].
    pub hold: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: "standin-webhook-secret".to_owned(),
            lose: 0,
            repeat: 0,
            delay_ms: 0,
            hold: false,
        }
    }
}

/// A delivery that was sent, or lost.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Sent {
    pub url: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub seq: u64,
    /// 0 for one that was lost, or had no answer.
    pub status: u16,
}

/// One project's webhooks.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// The settings.
    pub settings: Settings,
    /// All deliveries that have ended.
    pub sent: Vec<Sent>,
    last_seq: u64,
    held: Vec<Event>,
}

/// An event, signed.
#[derive(Clone, Debug)]
struct Event {
    kind: String,
    seq: u64,
    body: String,
    signature: String,
}

impl Webhooks {
    fn event(&mut self, kind: &str, user: &User, more: Value) -> Event {
        // The server's numbers grow, and not by one.
        self.last_seq = (self.last_seq + 2).max(now().unsigned_abs());
        let mut payload = json!({ "user": {
            "id": user.id, "is_anonymous": user.anonymous, "is_verified": user.verified,
            "is_disabled": user.is_disabled(), "can_reauthenticate": user.can_reauthenticate,
            "roles": user.roles,
        }});
        if let (Some(payload), Value::Object(more)) = (payload.as_object_mut(), more) {
            payload.extend(more);
        }
        let body = json!({
            "id": format!("{:016}", self.last_seq), "seq": self.last_seq, "type": kind,
            "payload": payload,
            "context": { "timestamp": now(), "user_id": user.id, "app_id": APP_ID },
        });
        let body = body.to_string();
        let key = Key::new(HMAC_SHA256, self.settings.secret.as_bytes());
        let signature = hex(hmac::sign(&key, body.as_bytes()).as_ref());
        Event {
            kind: kind.to_owned(),
            seq: self.last_seq,
            body,
            signature,
        }
    }
}

/// Tells of an event about a user; `more` are members of the payload.
pub fn tell(met: &Met, kind: &str, user: &User, more: Value) {
    let event = {
        let hooks = &mut met.lock().webhooks;
        let event = hooks.event(kind, user, more);
        if hooks.settings.lose > 0 {
            hooks.settings.lose -= 1;
            for url in hooks.settings.urls.clone() {
                hooks.sent.push(ended(url, &event, 0));
            }
            return;
        }
        if hooks.settings.hold {
            hooks.held.push(event);
            return;
        }
        event
    };
    send(met, event);
}

/// Sends what is held, the last first if `reverse`, and holds nothing any more.
pub fn release(met: &Met, reverse: bool) {
    let mut held = {
        let hooks = &mut met.lock().webhooks;
        hooks.settings.hold = false;
        std::mem::take(&mut hooks.held)
    };
    if reverse {
        held.reverse();
    }
    let met = met.clone();
    tokio::spawn(async move {
        for event in held {
            // One after the other, so that they come in that order.
            deliver(&met, event).await;
        }
    });
}

fn send(met: &Met, event: Event) {
    let met = met.clone();
    tokio::spawn(async move { deliver(&met, event).await });
}

async fn deliver(met: &Met, event: Event) {
    let settings = met.lock().webhooks.settings.clone();
    tokio::time::sleep(Duration::from_millis(settings.delay_ms)).await;
    let mut posts = tokio::task::JoinSet::new();
    for url in settings.urls {
        for _ in 0..=settings.repeat {
            let (met, event, url) = (met.clone(), event.clone(), url.clone());
            posts.spawn(async move {
                let status = post(&url, &event).await;
                met.lock().webhooks.sent.push(ended(url, &event, status));
            });
        }
    }
    while posts.join_next().await.is_some() {}
}

/// Posts an event; the status, or 0 without one.
async fn post(url: &str, event: &Event) -> u16 {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let path = url[after_scheme..]
        .find('/')
        .map_or(url.len(), |at| at + after_scheme);
    let request = Request::post(if path < url.len() { &url[path..] } else { "/" })
        .header("Content-Type", "application/json")
        .header("User-Agent", "Go-http-client/1.1")
        .header("X-Authgear-Body-Signature", &event.signature)
        .body(event.body.clone());
    match request {
        Ok(request) => match exchange(&url[..path], request).await {
            Ok(answer) => answer.status().as_u16(),
            Err(_) => 0,
        },
        Err(_) => 0,
    }
}

fn ended(url: String, event: &Event, status: u16) -> Sent {
    Sent {
        url,
        kind: event.kind.clone(),
        seq: event.seq,
        status,
    }
}
