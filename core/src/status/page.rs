//! The status page for people.

use std::time::{self, UNIX_EPOCH};

use askama::Template;

use super::count::{Answer, Count, Duration, FetchResult, Received, Totals, UnmetKind};
use super::problems::{bytes, span};
use super::snapshot::{KeyOrigin, KeyState, Keys, Snapshot};

/// The page, complete in itself: it loads nothing, and runs no script.
#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    snapshot: &'a Snapshot,
    problems: Vec<String>,
}

/// The page of a snapshot.
pub fn render(snapshot: &Snapshot) -> String {
    let page = Page {
        snapshot,
        problems: snapshot.problems(),
    };
    // Writing to a string cannot fail.
    page.render().unwrap_or_default()
}

/// The seconds between two loads of the page.
const REFRESH: u32 = 10;

impl Page<'_> {
    fn refresh(&self) -> u32 {
        REFRESH
    }

    fn time(&self) -> String {
        utc(self.snapshot.time)
    }

    fn loaded_at(&self) -> String {
        utc(self.snapshot.configuration_loaded_at)
    }

    fn span(&self, seconds: &f64) -> String {
        span(*seconds)
    }

    fn bytes(&self, size: &u64) -> String {
        bytes(*size)
    }

    fn state(&self, keys: &Keys) -> &'static str {
        match (keys.state, keys.origin) {
            (_, Some(KeyOrigin::File)) => "read at start",
            (KeyState::Idle, _) => "not in use",
            (KeyState::Fresh, _) => "in use",
            (KeyState::Stale, _) => "stale",
            (KeyState::Missing, _) => "missing",
        }
    }

    fn origin(&self, keys: &Keys) -> &'static str {
        match keys.origin {
            None => "none",
            Some(KeyOrigin::Network) => "fetched",
            Some(KeyOrigin::File) => "file",
            Some(KeyOrigin::Saved) => "saved in state_path",
        }
    }

    /// The rows of counters that are not about requests: a heading, and its counts by name.
    fn rows(&self, counts: &Totals) -> Vec<(&'static str, String)> {
        let named = |all: &[(&str, Count)]| {
            let counts = all.iter().map(|(name, count)| (name, counts.get(*count)));
            let seen = counts.filter(|(_, count)| *count > 0);
            let seen: Vec<_> = seen
                .map(|(name, count)| format!("{count} {name}"))
                .collect();
            match seen.is_empty() {
                true => "none".to_string(),
                false => seen.join(", "),
            }
        };
        let unmet = UnmetKind::ALL.map(|kind| (kind.as_str(), Count::Unmet(kind)));
        let questions = Answer::ALL.map(|answer| (answer.as_str(), Count::Question(answer)));
        let rechecks = Answer::ALL.map(|answer| (answer.as_str(), Count::Recheck(answer)));
        let fetches = FetchResult::ALL.map(|result| (result.as_str(), Count::Fetch(result)));
        let webhooks = Received::ALL.map(|result| (result.as_str(), Count::Webhook(result)));
        vec![
            ("Unmet requirements", named(&unmet)),
            (
                "Signature checks",
                counts.get(Count::SignatureCheck).to_string(),
            ),
            ("Resolver questions", named(&questions)),
            ("Resolver duration", typical(counts, Duration::Question)),
            ("Rechecks", named(&rechecks)),
            ("Fetches of keys", named(&fetches)),
            ("Fetch duration", typical(counts, Duration::Fetch)),
            ("Webhooks", named(&webhooks)),
        ]
    }
}

/// The mean of a duration, and the bound that nineteen of twenty met.
fn typical(counts: &Totals, duration: Duration) -> String {
    let histogram = counts.histogram(duration);
    let count = histogram.count();
    if count == 0 {
        return "none".to_string();
    }
    let mean = histogram.sum / count as f64 * 1000.0;
    let wanted = count - count / 20;
    let bound = histogram
        .bounds
        .iter()
        .zip(histogram.cumulative)
        .find(|(_, within)| *within >= wanted);
    let most = match bound {
        Some((bound, _)) => format!("19 of 20 within {} ms", bound * 1000.0),
        None => "more than 1 of 20 over 10 s".to_string(),
    };
    format!("{mean:.1} ms on average, {most}")
}

/// A time as in HTTP's headers.
fn utc(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + time::Duration::from_secs(seconds))
}
