//! Prometheus' text format 0.0.4 and OpenMetrics 1.0.0, which differ in a few lines.
//!
//! The crate `prometheus-client` writes OpenMetrics alone, and `prometheus` the older format alone. One
//! table and this writer serve both.

use std::fmt::{Display, Write};

use super::count::{
    Answer, Cause, Count, Duration, FetchResult, Found, Histogram, Received, UnmetKind,
};
use super::snapshot::{Project, Snapshot, Zone};

/// The metrics of a snapshot.
pub fn render(snapshot: &Snapshot, is_openmetrics: bool) -> String {
    let mut text = Text {
        text: String::new(),
        is_openmetrics,
    };
    requests(&mut text, snapshot);
    resolver(&mut text, snapshot);
    keys(&mut text, snapshot);
    revocation(&mut text, snapshot);
    module(&mut text, snapshot);
    if is_openmetrics {
        text.text.push_str("# EOF\n");
    }
    text.text
}

fn requests(text: &mut Text, snapshot: &Snapshot) {
    let name = "authgear_requests";
    text.counter(
        name,
        "Requests that were judged, by the verdict and its source.",
    );
    for project in &snapshot.projects {
        for (mode, source, reason, count) in project.counts.requests() {
            let labels = [
                ("project", project.name.as_str()),
                ("mode", mode.as_str()),
                ("source", source.as_str()),
                ("reason", reason.as_str()),
            ];
            text.sample(name, "_total", &labels, count);
        }
    }
    let kinds = UnmetKind::ALL.map(|kind| (kind.as_str(), Count::Unmet(kind)));
    text.counters(
        snapshot,
        "authgear_unmet_requirements",
        "Known callers who did not meet a requirement of the location.",
        "kind",
        &kinds,
    );
    let name = "authgear_signature_checks";
    text.counter(name, "Signatures of JWTs that were checked.");
    for project in &snapshot.projects {
        let count = project.counts.get(Count::SignatureCheck);
        text.sample(name, "_total", &of(project), count);
    }
}

fn resolver(text: &mut Text, snapshot: &Snapshot) {
    let answers = Answer::ALL.map(|answer| (answer.as_str(), Count::Question(answer)));
    text.counters(
        snapshot,
        "authgear_resolver_questions",
        "Questions to the resolver, rechecks included.",
        "result",
        &answers,
    );
    text.histograms(
        snapshot,
        "authgear_resolver_duration_seconds",
        "Time from a question to the resolver's answer.",
        Duration::Question,
    );
    let name = "authgear_resolver_suspended";
    let help = "1 while nobody waits for the resolver, or for that of one of many tenants.";
    text.gauge(name, "", help);
    for project in &snapshot.projects {
        let is_suspended = project.resolver_suspended_for.is_some();
        text.sample(name, "", &of(project), u8::from(is_suspended));
    }
    let answers = Answer::ALL.map(|answer| (answer.as_str(), Count::Recheck(answer)));
    text.counters(
        snapshot,
        "authgear_rechecks",
        "Valid JWTs that the resolver was asked to confirm.",
        "result",
        &answers,
    );
}

fn keys(text: &mut Text, snapshot: &Snapshot) {
    let results = FetchResult::ALL.map(|result| (result.as_str(), Count::Fetch(result)));
    text.counters(
        snapshot,
        "authgear_fetches",
        "Fetches of keys: ok, or the stage that failed.",
        "result",
        &results,
    );
    text.histograms(
        snapshot,
        "authgear_fetch_duration_seconds",
        "Duration of a fetch, discovery and key set together.",
        Duration::Fetch,
    );
    let projects = &snapshot.projects;
    let name = "authgear_keys";
    text.gauge(name, "", "Usable keys; of many tenants the fewest.");
    for project in projects {
        text.sample(name, "", &of(project), project.keys.number);
    }
    let name = "authgear_keys_age_seconds";
    text.gauge(
        name,
        "seconds",
        "Time since the keys were fetched; of many tenants the oldest.",
    );
    for project in projects {
        if let Some(age) = project.keys.age {
            text.sample(name, "", &of(project), age);
        }
    }
    let name = "authgear_keys_stale";
    let help = "1 while the keys should have been replaced and fetches fail.";
    text.gauge(name, "", help);
    for project in projects {
        text.sample(name, "", &of(project), u8::from(project.keys.is_bad()));
    }
    if projects
        .iter()
        .any(|project| project.keys.tenants.is_some())
    {
        let name = "authgear_tenants";
        text.gauge(
            name,
            "",
            "Tenants of a variable endpoint that have had keys.",
        );
        for project in projects {
            if let Some(tenants) = project.keys.tenants {
                text.sample(name, "", &of(project), tenants);
            }
        }
    }
}

/// Webhooks and revocations, of the projects that have them.
fn revocation(text: &mut Text, snapshot: &Snapshot) {
    let projects = || {
        let all = snapshot.projects.iter();
        all.filter_map(|project| Some((project, project.revocations?)))
    };
    if projects().next().is_some() {
        let name = "authgear_webhooks";
        text.counter(name, "Webhooks that were received, by the answer.");
        for (project, _) in projects() {
            for received in Received::ALL {
                let labels = [
                    ("project", project.name.as_str()),
                    ("result", received.as_str()),
                ];
                let count = project.counts.get(Count::Webhook(received));
                text.sample(name, "_total", &labels, count);
            }
        }
        let name = "authgear_revocations";
        text.gauge(
            name,
            "",
            "Users whose tokens and sessions from before a time are refused.",
        );
        for (project, users) in projects() {
            text.sample(name, "", &of(project), users);
        }
    }
    if let Some(stream) = &snapshot.stream {
        let name = "authgear_stream_connected";
        text.gauge(
            name,
            "",
            "1 while the revocation stream answers, 0 until it has been read.",
        );
        text.sample(name, "", &[], u8::from(stream.is_connected));
        let name = "authgear_stream_lag_seconds";
        let help = "Time since the revocation stream ceased to answer; 0 while it does.";
        text.gauge(name, "seconds", help);
        text.sample(name, "", &[], stream.down_for.unwrap_or(0.0));
    }
}

fn module(text: &mut Text, snapshot: &Snapshot) {
    let name = "authgear_waiting_requests";
    let help = "Requests that wait for keys, or for the answer to another request's question.";
    text.gauge(name, "", help);
    text.sample(name, "", &[], snapshot.waiting_requests);
    if let Some(zone) = &snapshot.zone {
        let name = "authgear_zone_bytes";
        text.gauge(name, "bytes", "The shared zone.");
        let free = zone.size.saturating_sub(zone.used);
        for (state, bytes) in [("used", zone.used), ("free", free)] {
            text.sample(name, "", &[("state", state)], bytes);
        }
        tables(text, zone);
        let name = "authgear_connections_closed";
        text.counter(name, "Responses that authgear_close_expired cut off.");
        for (cause, count) in Cause::ALL.iter().zip(zone.connections_closed) {
            text.sample(name, "_total", &[("cause", cause.as_str())], count);
        }
        let name = "authgear_zone_lock_seconds";
        text.head(
            name,
            "histogram",
            "seconds",
            "Times for which the mutex of the shared zone was held.",
        );
        text.histogram(name, &[], &zone.lock_held);
    }
    let build = &snapshot.build;
    let name = "authgear_build_info";
    text.gauge(name, "", "1, with the build in its labels.");
    let labels = [
        ("version", build.version),
        ("commit", build.commit),
        ("nginx", &build.nginx),
    ];
    text.sample(name, "", &labels, 1);
}

fn tables(text: &mut Text, zone: &Zone) {
    let name = "authgear_table_lookups";
    text.counter(name, "Look-ups in a table of the zone.");
    for table in &zone.tables {
        for (found, count) in Found::ALL.iter().zip(table.lookups.into_iter().flatten()) {
            let labels = [("table", table.name), ("result", found.as_str())];
            text.sample(name, "_total", &labels, count);
        }
    }
    let name = "authgear_table_live_evictions";
    text.counter(name, "Valid entries that gave way, or found no room.");
    for table in &zone.tables {
        let labels = [("table", table.name)];
        text.sample(name, "_total", &labels, table.live_evictions);
    }
    let fill = [
        (
            "authgear_table_entries",
            "Entries, those that have run out included.",
        ),
        (
            "authgear_table_capacity",
            "The most entries that there may be.",
        ),
    ];
    for (index, (name, help)) in fill.into_iter().enumerate() {
        text.gauge(name, "", help);
        for table in &zone.tables {
            if let Some(fill) = table.fill {
                text.sample(name, "", &[("table", table.name)], fill[index]);
            }
        }
    }
}

fn of(project: &Project) -> [(&'static str, &str); 1] {
    [("project", &project.name)]
}

/// The text under construction.
struct Text {
    text: String,
    is_openmetrics: bool,
}

impl Text {
    /// The head of a family of counters, whose samples end in `_total`. The older format gives that name to
    /// the family too.
    fn counter(&mut self, name: &str, help: &str) {
        let total = if self.is_openmetrics { "" } else { "_total" };
        self.head(&format!("{name}{total}"), "counter", "", help);
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str) {
        self.head(name, "gauge", unit, help);
    }

    fn head(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if self.is_openmetrics && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    /// A sample of the family, whose name has that suffix. Both formats escape labels alike.
    fn sample(&mut self, family: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(family);
        self.text.push_str(suffix);
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"");
            for character in label.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }

    /// Counters of each project that differ in one label.
    fn counters(
        &mut self,
        snapshot: &Snapshot,
        name: &str,
        help: &str,
        label: &str,
        counts: &[(&str, Count)],
    ) {
        self.counter(name, help);
        for project in &snapshot.projects {
            for (value, count) in counts {
                let labels = [("project", project.name.as_str()), (label, value)];
                self.sample(name, "_total", &labels, project.counts.get(*count));
            }
        }
    }

    /// A histogram of each project.
    fn histograms(&mut self, snapshot: &Snapshot, name: &str, help: &str, duration: Duration) {
        self.head(name, "histogram", "seconds", help);
        for project in &snapshot.projects {
            let histogram = project.counts.histogram(duration);
            self.histogram(name, &of(project), &histogram);
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        for (index, count) in histogram.cumulative.iter().enumerate() {
            let bound = histogram
                .bounds
                .get(index)
                .map(|bound| format!("{bound:?}"));
            let bound = bound.as_deref().unwrap_or("+Inf");
            let labels = [labels, &[("le", bound)]].concat();
            self.sample(name, "_bucket", &labels, count);
        }
        self.sample(name, "_sum", labels, histogram.sum);
        self.sample(name, "_count", labels, histogram.count());
    }
}
