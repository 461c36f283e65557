//! The body of a webhook delivery (authgear-server, `docs/specs/event.md`, `pkg/api/event/nonblocking/`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

/// The longest time, in seconds, that an event may lie after its receipt.
pub const MOST_AHEAD: u64 = 5 * 60;

/// The longest body that is read, in bytes.
pub const MOST_BODY: usize = 16 << 20;

/// The content of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// An event that ends no session and calls no plan off, or one that is too old to count.
    Ignored,
    /// One of a user's eight lifecycle events.
    Lifecycle(Event),
}

/// A user's lifecycle event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `payload.user.id`, never empty.
    pub user: String,
    /// `seq`, which grows from event to event.
    pub seq: u64,
    /// `context.timestamp`, in Unix seconds, never 0.
    pub at: u64,
    /// Its effect on the user's sessions.
    pub effect: Effect,
}

/// The effect of an event on a user's sessions. Each of them may call off a plan of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// All that began up to the event's time have ended.
    Ends,
    /// All that began up to this time, in Unix seconds, end then.
    EndsLater(u64),
    /// None.
    Nothing,
}

/// The reason for which a signed body is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not the JSON of an event.
    #[error("the body is no event of Authgear: {0}")]
    Malformed(&'static str),
    /// More than [`MOST_AHEAD`] after the receipt.
    #[error("the event's time is more than five minutes ahead; set the clocks right")]
    Ahead,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    temporarily_disabled_from: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    is_disabled: Option<bool>,
}

#[derive(Deserialize)]
struct Context {
    timestamp: u64,
}

impl Delivery {
    /// Reads a body whose signature was checked, received at `now`, in Unix seconds. An event whose last
    /// effect is older than `keep` seconds is ignored.
    ///
    /// # Errors
    ///
    /// [`EventError::Malformed`] when it is no JSON object with a `type`, and when a lifecycle event
    /// lacks a member that it must have, or has it twice or with another type; [`EventError::Ahead`].
    pub fn read(body: &[u8], now: u64, keep: u64) -> Result<Delivery, EventError> {
        let malformed = EventError::Malformed;
        let body: Body = serde_json::from_slice(body)
            .map_err(|_| malformed("not a JSON object with a \"type\""))?;
        let ends = match &*body.kind {
            "user.disabled"
            | "user.deleted"
            | "user.deletion_scheduled"
            | "user.anonymized"
            | "user.anonymization_scheduled" => true,
            "user.reenabled" | "user.deletion_unscheduled" | "user.anonymization_unscheduled" => {
                false
            }
            _ => return Ok(Delivery::Ignored),
        };
        let seq = read::<u64>(body.seq).ok_or(malformed("\"seq\" is no whole number"))?;
        let payload = read::<Payload>(body.payload)
            .filter(|payload| !payload.user.id.is_empty())
            .ok_or(malformed("\"payload\" has no user with an id"))?;
        let at = read::<Context>(body.context)
            .map(|context| context.timestamp)
            .ok_or(malformed("\"context.timestamp\" is no whole number"))?;
        if at > now.saturating_add(MOST_AHEAD) {
            return Err(EventError::Ahead);
        }
        let effect = match &*body.kind {
            "user.disabled" => payload.disabling(at)?,
            _ if ends => Effect::Ends,
            _ => Effect::Nothing,
        };
        let last = match effect {
            Effect::EndsLater(time) => time,
            Effect::Ends | Effect::Nothing => at,
        };
        if at == 0 || last.saturating_add(keep) < now {
            return Ok(Delivery::Ignored);
        }
        Ok(Delivery::Lifecycle(Event {
            user: payload.user.id.into_owned(),
            seq,
            at,
            effect,
        }))
    }
}

impl Payload<'_> {
    /// The effect of a `user.disabled`: now, from a later time on, or none, when the period of a
    /// temporary disabling is over.
    fn disabling(&self, at: u64) -> Result<Effect, EventError> {
        let from = match &self.temporarily_disabled_from {
            None => None,
            Some(text) => Some(unix_seconds(text).ok_or(EventError::Malformed(
                "\"temporarily_disabled_from\" is no time of RFC 3339",
            ))?),
        };
        Ok(match from {
            Some(from) if from > at => Effect::EndsLater(from),
            _ if self.user.is_disabled == Some(false) => Effect::Nothing,
            _ => Effect::Ends,
        })
    }
}

/// Converts a member; `None` when it is absent or has another type.
fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// A time of RFC 3339 in Unix seconds, a fraction rounded up; a time before 1970 is 0.
fn unix_seconds(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = time.unix_timestamp() + i64::from(time.nanosecond() > 0);
    Some(u64::try_from(seconds).unwrap_or(0))
}
