//! The snapshot as JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::count::{Answer, Count, Duration, FetchResult, Histogram, Received, Totals, UnmetKind};
use super::snapshot::Snapshot;

/// The snapshot as a JSON object: that of its fields, and the problems.
pub fn render(snapshot: &Snapshot) -> String {
    #[derive(serde::Serialize)]
    struct Document<'a> {
        problems: Vec<String>,
        #[serde(flatten)]
        snapshot: &'a Snapshot,
    }
    let problems = snapshot.problems();
    let document = Document { problems, snapshot };
    // A structure of strings and numbers is always JSON.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

impl Serialize for FetchResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(serde::Serialize)]
struct Request {
    mode: &'static str,
    source: &'static str,
    reason: &'static str,
    count: u64,
}

/// An object of numbers by name.
struct Named(Vec<(String, u64)>);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, number) in &self.0 {
            map.serialize_entry(name, number)?;
        }
        map.end()
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let within = self.bounds.iter().zip(self.cumulative);
        let within = within.map(|(bound, count)| (format!("{bound:?}"), count));
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("count", &self.count())?;
        map.serialize_entry("sum_seconds", &self.sum)?;
        map.serialize_entry("within_seconds", &Named(within.collect()))?;
        map.end()
    }
}

impl Serialize for Totals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let requests = self
            .requests()
            .map(|(mode, source, reason, count)| Request {
                mode: mode.as_str(),
                source: source.as_str(),
                reason: reason.as_str(),
                count,
            });
        let named = |all: &[(&str, Count)]| {
            let counts = all
                .iter()
                .map(|(name, count)| (name.to_string(), self.get(*count)));
            Named(counts.collect())
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("requests", &requests.collect::<Vec<_>>())?;
        let unmet = UnmetKind::ALL.map(|kind| (kind.as_str(), Count::Unmet(kind)));
        map.serialize_entry("unmet_requirements", &named(&unmet))?;
        map.serialize_entry("signature_checks", &self.get(Count::SignatureCheck))?;
        let questions = Answer::ALL.map(|answer| (answer.as_str(), Count::Question(answer)));
        map.serialize_entry("resolver_questions", &named(&questions))?;
        map.serialize_entry("resolver_duration", &self.histogram(Duration::Question))?;
        let rechecks = Answer::ALL.map(|answer| (answer.as_str(), Count::Recheck(answer)));
        map.serialize_entry("rechecks", &named(&rechecks))?;
        let fetches = FetchResult::ALL.map(|result| (result.as_str(), Count::Fetch(result)));
        map.serialize_entry("fetches", &named(&fetches))?;
        map.serialize_entry("fetch_duration", &self.histogram(Duration::Fetch))?;
        let webhooks = Received::ALL.map(|result| (result.as_str(), Count::Webhook(result)));
        map.serialize_entry("webhooks", &named(&webhooks))?;
        map.end()
    }
}
