//! Webhooks, and the changes of users that cause them.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::Json;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

use super::{read, Refusal, Target};
use crate::project::User;
use crate::standin::Met;
use crate::util::now;
use crate::webhook::{self, Sent};

pub(super) async fn set(Target(met): Target, body: Bytes) -> Result<StatusCode, Refusal> {
    met.lock().webhooks.settings = read(&body)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
pub(super) struct Shown {
    secret: String,
    sent: Vec<Sent>,
}

pub(super) async fn get(Target(met): Target) -> Json<Shown> {
    let project = met.lock();
    Json(Shown {
        secret: project.webhooks.settings.secret.clone(),
        sent: project.webhooks.sent.clone(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    #[serde(default)]
    reverse: bool,
}

pub(super) async fn release(Target(met): Target, body: Bytes) -> Result<StatusCode, Refusal> {
    let Release { reverse } = read(&body)?;
    webhook::release(&met, reverse);
    Ok(StatusCode::NO_CONTENT)
}

/// How a user is disabled.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Disable {
    /// Leaves the sessions, as when a planned period begins.
    pub keep_sessions: bool,
    /// Unix seconds.
    pub from: Option<i64>,
    /// Unix seconds.
    pub until: Option<i64>,
}

pub(super) async fn disable(
    Target(met): Target,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<User>, Refusal> {
    disable_user(&met, &id, &read(&body)?).map(Json)
}

/// Disables a user, now or from a later time on.
pub(crate) fn disable_user(met: &Met, id: &str, how: &Disable) -> Result<User, Refusal> {
    let later = how.from.filter(|from| *from > now());
    let user = change(met, id, |user| {
        user.disabled = later.is_none();
        user.disabled_from = later;
    })?;
    if later.is_none() && !how.keep_sessions {
        met.lock().end_sessions(id);
    }
    let mut more = json!({});
    for (name, time) in [("from", how.from), ("until", how.until)] {
        if let Some(time) = time {
            more[format!("temporarily_disabled_{name}")] = rfc3339(time)?.into();
        }
    }
    webhook::tell(met, "user.disabled", &user, more);
    Ok(user)
}

fn rfc3339(time: i64) -> Result<String, Refusal> {
    let time = OffsetDateTime::from_unix_timestamp(time).map_err(Refusal::bad)?;
    time.format(&Rfc3339).map_err(Refusal::bad)
}

fn change(met: &Met, id: &str, change: impl FnOnce(&mut User)) -> Result<User, Refusal> {
    let mut project = met.lock();
    let user = project
        .user_mut(id)
        .ok_or_else(|| Refusal::missing("user"))?;
    change(user);
    Ok(user.clone())
}

/// The other changes of a user: their name in the path, the event, and whether they disable, enable, and end
/// sessions.
const CHANGES: [(&str, &str, Option<bool>); 6] = [
    ("enable", "user.reenabled", Some(false)),
    ("schedule_deletion", "user.deletion_scheduled", Some(true)),
    (
        "unschedule_deletion",
        "user.deletion_unscheduled",
        Some(false),
    ),
    (
        "schedule_anonymization",
        "user.anonymization_scheduled",
        Some(true),
    ),
    (
        "unschedule_anonymization",
        "user.anonymization_unscheduled",
        Some(false),
    ),
    ("anonymize", "user.anonymized", None),
];

pub(super) async fn other(
    Target(met): Target,
    Path((id, name)): Path<(String, String)>,
) -> Result<Json<User>, Refusal> {
    change_user(&met, &id, &name).map(Json)
}

/// Makes one of the changes above.
pub(crate) fn change_user(met: &Met, id: &str, name: &str) -> Result<User, Refusal> {
    let known = CHANGES.iter().find(|(known, ..)| *known == name);
    let (_, kind, disables) = known.ok_or_else(|| Refusal::missing("change"))?;
    let user = change(met, id, |user| {
        user.disabled_from = None;
        user.disabled = disables.unwrap_or(user.disabled);
    })?;
    if *disables != Some(false) {
        met.lock().end_sessions(id);
    }
    webhook::tell(met, kind, &user, Value::Null);
    Ok(user)
}

pub(super) async fn delete(
    Target(met): Target,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    delete_user(&met, &id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a user, with all that was issued to one.
pub(crate) fn delete_user(met: &Met, id: &str) -> Result<(), Refusal> {
    let user = change(met, id, |_| ())?;
    met.lock().delete_user(id);
    webhook::tell(met, "user.deleted", &user, Value::Null);
    Ok(())
}
