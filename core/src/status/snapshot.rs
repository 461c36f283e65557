//! All that the status page shows, as data.

use serde::Serialize;

use super::count::{FetchResult, Histogram, Totals};

/// The state of the module at one moment. Times are Unix seconds, ages and pauses are seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// The build.
    pub build: Build,
    /// The time at which the configuration was loaded.
    pub configuration_loaded_at: u64,
    /// The time of this snapshot.
    pub time: u64,
    /// The shared zone, if there is one.
    pub zone: Option<Zone>,
    /// Requests that wait for keys, or for the answer to another request's question.
    pub waiting_requests: u64,
    /// The revocation stream, if there is one.
    pub stream: Option<Stream>,
    /// The projects, in the order of the configuration.
    pub projects: Vec<Project>,
}

/// The revocation stream.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stream {
    /// True while it answers, once it has been read.
    pub is_connected: bool,
    /// Seconds since it ceased to answer; `None` while it answers.
    pub down_for: Option<f64>,
    /// True while what it told before this node started has not been read.
    pub is_incomplete: bool,
}

/// The build of the module.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, or empty.
    pub commit: &'static str,
    /// The version of nginx.
    pub nginx: String,
}

/// The shared zone.
#[derive(Clone, Debug, Serialize)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// The bytes of it that are taken, whole pages.
    pub used: u64,
    /// Its tables.
    pub tables: Vec<TableState>,
    /// The times for which its mutex was held.
    pub lock_held: Histogram,
    /// Responses that were cut off since their token expired, and since their user was revoked.
    pub connections_closed: [u64; 2],
}

/// A table of the zone.
#[derive(Clone, Debug, Serialize)]
pub struct TableState {
    /// Its name.
    pub name: &'static str,
    /// Look-ups that found something, and those that did not; `None` where they are not counted.
    pub lookups: Option<[u64; 2]>,
    /// Entries that gave way although they were valid, and those that found no room.
    pub live_evictions: u64,
    /// Entries, those that have run out included, and the most that there may be; `None` where that
    /// depends on their size.
    pub fill: Option<[u64; 2]>,
}

/// One project.
#[derive(Clone, Debug, Serialize)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Keys,
    /// Seconds since the resolver ceased to answer; `None` while it answers, or was not asked.
    pub resolver_failing_for: Option<f64>,
    /// Seconds since nobody waits for the resolver, of many tenants for the first one's; `None` while requests do.
    pub resolver_suspended_for: Option<f64>,
    /// Users who are revoked; `None` without a webhook.
    pub revocations: Option<u64>,
    /// True when a token lives longer than its revocation is kept.
    pub outlives_revocation: bool,
    /// Its counters.
    pub counts: Totals,
}

/// The keys of a project; of a project with many tenants the worst of each number.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Keys {
    /// The number of tenants that have had keys; `None` for a project with one endpoint.
    pub tenants: Option<u64>,
    /// The state.
    pub state: KeyState,
    /// The origin; `None` without keys.
    pub origin: Option<KeyOrigin>,
    /// The number of usable keys.
    pub number: u64,
    /// The keys; empty for many tenants.
    pub keys: Vec<Key>,
    /// Seconds since the set was fetched; `None` without keys, and for a file.
    pub age: Option<f64>,
    /// Seconds until the set may be fetched again, 0 when the next request has it fetched; `None` when
    /// nothing is fetched.
    pub next_refresh: Option<f64>,
    /// Seconds since the set should have been replaced, while fetches fail.
    pub stale_for: Option<f64>,
    /// The last fetch that failed, if the zone knows of one.
    pub last_error: Option<LastError>,
}

/// The state of a key set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// No request has asked for it yet, or lately: the next one has it fetched.
    #[default]
    Idle,
    /// It may be used.
    Fresh,
    /// It is still used, but should have been replaced, and the last fetch failed.
    Stale,
    /// The last fetch failed, and there is no set that may be used.
    Missing,
}

/// The origin of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// It was fetched.
    Network,
    /// `jwks_file`.
    File,
    /// `state_path`.
    Saved,
}

impl KeyOrigin {
    /// Every origin.
    pub const ALL: [KeyOrigin; 3] = [KeyOrigin::Network, KeyOrigin::File, KeyOrigin::Saved];
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// Its `kid`, if it has one.
    pub kid: Option<String>,
    /// The algorithms for which it may be used.
    pub algorithms: Vec<&'static str>,
}

/// A fetch that failed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LastError {
    /// The stage.
    pub stage: FetchResult,
    /// Seconds since then.
    pub age: f64,
}
