use std::time::Duration as Time;

use super::*;
use crate::keys::freshness::{Record, Timing};
use crate::reason::Reason;

mod revocation;

fn choose(choice: Choice, accept: &[&str]) -> Format {
    Format::choose(choice, accept.iter().map(|line| line.as_bytes()))
}

/// As Prometheus 2.42 sends it.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,\
    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

#[test]
fn accept_chooses_the_format() {
    let cases: [(Choice, &[&str], Format); 15] = [
        (Choice::Negotiated, &[], Format::Html),
        (Choice::Negotiated, &["*/*"], Format::Html),
        (Choice::Negotiated, &[BROWSER], Format::Html),
        (Choice::Negotiated, &["application/json"], Format::Json),
        (Choice::Negotiated, &["text/plain"], Format::Text),
        (Choice::Negotiated, &[PROMETHEUS], Format::OpenMetrics),
        (
            Choice::Negotiated,
            &["text/html;q=0.1", "application/JSON ; q=0.2"],
            Format::Json,
        ),
        (
            Choice::Negotiated,
            &["text/*;q=0.5, text/html;q=0, application/json;q=0.4"],
            Format::Text,
        ),
        (Choice::Negotiated, &["image/png"], Format::Html),
        (
            Choice::Negotiated,
            &["\u{fffd};q=x,,;=", "text/html;q=nan"],
            Format::Html,
        ),
        (Choice::Prometheus, &[], Format::Text),
        (Choice::Prometheus, &[PROMETHEUS], Format::OpenMetrics),
        (Choice::Prometheus, &[BROWSER], Format::Text),
        (Choice::Json, &[BROWSER], Format::Json),
        (Choice::Html, &[PROMETHEUS], Format::Html),
    ];
    for (choice, accept, expected) in cases {
        assert_eq!(choose(choice, accept), expected, "{choice:?} {accept:?}");
    }
}

#[test]
fn every_count_has_a_cell_of_its_own() {
    let mut all = Vec::new();
    for mode in Mode::ALL {
        for source in Source::ALL {
            all.extend(Reason::ALL.map(|reason| Count::Request(mode, source, reason).cell()));
        }
    }
    all.extend(UnmetKind::ALL.map(|kind| Count::Unmet(kind).cell()));
    all.push(Count::SignatureCheck.cell());
    all.extend(Answer::ALL.map(|answer| Count::Question(answer).cell()));
    all.extend(Answer::ALL.map(|answer| Count::Recheck(answer).cell()));
    all.extend(FetchResult::ALL.map(|result| Count::Fetch(result).cell()));
    all.extend(Received::ALL.map(|received| Count::Webhook(received).cell()));
    for table in Table::ALL {
        all.extend(Found::ALL.map(|found| Count::Lookup(table, found).cell()));
    }
    all.extend(Cause::ALL.map(|cause| Count::Closed(cause).cell()));
    for duration in [Duration::Question, Duration::Fetch, Duration::Lock] {
        let bounds = duration.bounds().iter();
        let measured = bounds.map(|bound| Time::from_secs_f64(*bound));
        let cells = measured.map(|measured| duration.cells(measured).0);
        all.extend(cells);
        let (last, sum) = duration.cells(Time::from_secs(11));
        all.extend([last, sum]);
    }
    assert_eq!(all, (0..COUNTS).collect::<Vec<_>>());
}

#[test]
fn a_bucket_holds_its_upper_bound() {
    let bucket = |micros| Duration::Fetch.cells(Time::from_micros(micros)).0;
    assert_eq!(bucket(0), bucket(1_000));
    assert_eq!(bucket(1_001), bucket(1_000) + 1);
    assert_eq!(bucket(10_000_000) + 1, bucket(10_000_001));
    assert_eq!(bucket(u64::MAX), bucket(10_000_001));
}

/// A project with one count of most kinds.
fn project(name: &str) -> Project {
    let mut counts = Totals::default();
    let request = Count::Request(Mode::Required, Source::JwtCache, Reason::Ok);
    counts.add(request.cell(), 7);
    counts.add(
        Count::Request(Mode::Observe, Source::None, Reason::Expired).cell(),
        1,
    );
    counts.add(Count::Unmet(UnmetKind::AuthAge).cell(), 2);
    counts.add(Count::SignatureCheck.cell(), 3);
    counts.add(Count::Question(Answer::Yes).cell(), 2);
    counts.add(Count::Fetch(FetchResult::Tls).cell(), 4);
    for micros in [900, 3_000] {
        let (bucket, sum) = Duration::Question.cells(Time::from_micros(micros));
        counts.add(bucket, 1);
        counts.add(sum, micros * 1000);
    }
    Project {
        name: name.to_string(),
        keys: Keys {
            state: KeyState::Fresh,
            origin: Some(KeyOrigin::Network),
            number: 1,
            keys: vec![Key {
                kid: Some("kid-1".to_string()),
                algorithms: vec!["RS256"],
            }],
            age: Some(61.5),
            next_refresh: Some(538.5),
            ..Keys::default()
        },
        resolver_failing_for: None,
        resolver_suspended_for: None,
        revocations: None,
        outlives_revocation: false,
        counts,
    }
}

fn snapshot(projects: Vec<Project>) -> Snapshot {
    Snapshot {
        build: Build {
            version: "0.1.0",
            commit: "0123456789ab",
            nginx: "1.22.1".to_string(),
        },
        configuration_loaded_at: 1_790_000_000,
        time: 1_790_000_061,
        zone: Some(Zone {
            name: "authgear".to_string(),
            size: 1 << 20,
            used: 1 << 18,
            tables: vec![
                TableState {
                    name: Table::Judgements.as_str(),
                    lookups: Some([9, 1]),
                    live_evictions: 0,
                    fill: Some([10, 1_000]),
                },
                TableState {
                    name: "keys",
                    lookups: None,
                    live_evictions: 0,
                    fill: None,
                },
            ],
            lock_held: Totals::default().histogram(Duration::Lock),
            connections_closed: [0, 0],
        }),
        waiting_requests: 5,
        stream: None,
        projects,
    }
}

#[test]
fn the_older_text_format() {
    let text = snapshot(vec![project("myapp")]).render(Format::Text);
    for expected in [
        "# HELP authgear_requests_total Requests that were judged, by the verdict and its source.\n\
         # TYPE authgear_requests_total counter\n\
         authgear_requests_total{project=\"myapp\",mode=\"required\",source=\"jwt_cache\",reason=\"ok\"} 7\n\
         authgear_requests_total{project=\"myapp\",mode=\"observe\",source=\"none\",reason=\"expired\"} 1\n",
        "authgear_unmet_requirements_total{project=\"myapp\",kind=\"auth_age\"} 2\n",
        "authgear_signature_checks_total{project=\"myapp\"} 3\n",
        "authgear_resolver_questions_total{project=\"myapp\",result=\"yes\"} 2\n",
        "# TYPE authgear_resolver_duration_seconds histogram\n\
         authgear_resolver_duration_seconds_bucket{project=\"myapp\",le=\"0.001\"} 1\n\
         authgear_resolver_duration_seconds_bucket{project=\"myapp\",le=\"0.0025\"} 1\n\
         authgear_resolver_duration_seconds_bucket{project=\"myapp\",le=\"0.005\"} 2\n",
        "authgear_resolver_duration_seconds_bucket{project=\"myapp\",le=\"+Inf\"} 2\n\
         authgear_resolver_duration_seconds_sum{project=\"myapp\"} 0.0039\n\
         authgear_resolver_duration_seconds_count{project=\"myapp\"} 2\n",
        "# TYPE authgear_resolver_suspended gauge\nauthgear_resolver_suspended{project=\"myapp\"} 0\n",
        "authgear_fetches_total{project=\"myapp\",result=\"tls\"} 4\n",
        "authgear_keys{project=\"myapp\"} 1\n",
        "authgear_keys_age_seconds{project=\"myapp\"} 61.5\n",
        "authgear_keys_stale{project=\"myapp\"} 0\n",
        "authgear_waiting_requests 5\n",
        "authgear_zone_bytes{state=\"used\"} 262144\n",
        "authgear_table_lookups_total{table=\"judgements\",result=\"miss\"} 1\n",
        "authgear_table_live_evictions_total{table=\"keys\"} 0\n",
        "authgear_table_entries{table=\"judgements\"} 10\n",
        "authgear_table_capacity{table=\"judgements\"} 1000\n",
        "authgear_zone_lock_seconds_bucket{le=\"+Inf\"} 0\n\
         authgear_zone_lock_seconds_sum 0\nauthgear_zone_lock_seconds_count 0\n",
        "authgear_build_info{version=\"0.1.0\",commit=\"0123456789ab\",nginx=\"1.22.1\"} 1\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    for not_expected in ["# UNIT", "# EOF", "authgear_tenants"] {
        assert!(!text.contains(not_expected), "{not_expected} in\n{text}");
    }
}

#[test]
fn openmetrics_names_families_without_total_tells_units_and_ends() {
    let text = snapshot(vec![project("myapp")]).render(Format::OpenMetrics);
    for expected in [
        "# TYPE authgear_requests counter\nauthgear_requests_total{",
        "# UNIT authgear_keys_age_seconds seconds\n",
        "# UNIT authgear_zone_bytes bytes\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

/// Text that would end a label, a tag, an attribute or a line.
const HOSTILE: &str = "a\"b\\c\nd<script>'&amp;";

#[test]
fn hostile_text_is_escaped_in_every_format() {
    let mut project = project(HOSTILE);
    project.keys.keys[0].kid = Some(HOSTILE.to_string());
    project.keys.state = KeyState::Stale;
    let snapshot = snapshot(vec![project]);

    let text = snapshot.render(Format::Text);
    assert!(
        text.contains("{project=\"a\\\"b\\\\c\\nd<script>'&amp;\"} 3\n"),
        "{text}"
    );
    let is_line = |line: &str| line.starts_with("authgear_") || line.starts_with("# ");
    assert!(text.lines().all(is_line), "{text}");

    let page = snapshot.render(Format::Html);
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("d&#60;script&#62;&#39;&#38;amp;"), "{page}");

    let json: serde_json::Value = serde_json::from_str(&snapshot.render(Format::Json)).unwrap();
    assert_eq!(json["projects"][0]["name"], HOSTILE);
    assert_eq!(json["projects"][0]["keys"]["keys"][0]["kid"], HOSTILE);
}

#[test]
fn json_holds_what_the_metrics_hold() {
    let json = snapshot(vec![project("myapp")]).render(Format::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let counts = &json["projects"][0]["counts"];
    assert_eq!(
        counts["requests"][0],
        serde_json::json!({"mode": "required", "source": "jwt_cache", "reason": "ok", "count": 7})
    );
    assert_eq!(counts["unmet_requirements"]["auth_age"], 2);
    assert_eq!(counts["fetches"]["tls"], 4);
    assert_eq!(counts["resolver_duration"]["count"], 2);
    assert_eq!(counts["resolver_duration"]["within_seconds"]["0.005"], 2);
    assert_eq!(json["problems"], serde_json::json!([]));
    assert_eq!(json["zone"]["used"], 262_144);
    assert_eq!(json["build"]["commit"], "0123456789ab");
}

#[test]
fn what_is_refused_comes_before_what_is_old() {
    let mut old = project("old");
    old.keys.state = KeyState::Stale;
    old.keys.stale_for = Some(7_300.0);
    old.keys.last_error = Some(LastError {
        stage: FetchResult::Connect,
        age: 1.0,
    });
    let mut none = project("none");
    none.keys.state = KeyState::Missing;
    none.resolver_failing_for = Some(45.0);
    let mut suspended = none.clone();
    suspended.name = "suspended".into();
    suspended.keys = Keys::default();
    suspended.resolver_suspended_for = Some(44.0);
    let mut snapshot = snapshot(vec![old, none, suspended]);
    snapshot.zone.as_mut().unwrap().tables[0].live_evictions = 3;
    assert_eq!(
        snapshot.problems(),
        [
            "Project none: no keys, so JWTs are answered 503.",
            "Project none: the resolver has not answered for 45 s.",
            "Project suspended: the resolver has been suspended for 44 s, since it gave no response: nobody \
             waits for it until it responds to a probe.",
            "Project old: its keys have been stale for 2 h; the last fetch failed: connect.",
            "The shared zone authgear is full: 3 valid entries of the table judgements gave way since the \
             start. Enlarge \"authgear_shared_zone\".",
        ]
    );
    let page = snapshot.render(Format::Html);
    let (first, second) = (page.find("Project none: no keys"), page.find("<h2>"));
    assert!(first.is_some() && first < second, "problems come first");
}

#[test]
fn the_page_loads_nothing_and_says_when_it_was_made() {
    let page = snapshot(vec![project("myapp")]).render(Format::Html);
    for not_expected in ["http://", "https://", "src=", "<link", "url(", "javascript"] {
        assert!(!page.contains(not_expected), "{not_expected} in\n{page}");
    }
    assert!(page.contains("Mon, 21 Sep 2026 14:14:21 GMT"), "{page}");
    assert!(page.contains("No problems."));
    let empty = Snapshot::default().render(Format::Html);
    assert!(empty.contains("No project is configured."));
}

const TIMING: Timing = Timing {
    refresh: 600_000,
    stale: 3_600_000,
    min_interval: 30_000,
};

/// A source that was fetched at that time, and whose last attempts failed.
fn facts(fetched_at: Option<u64>, failures: u32) -> KeyFacts {
    KeyFacts {
        record: Record {
            fetched_at,
            failures,
            next_try: if failures > 0 { 9_000_000 } else { 0 },
            ..Record::default()
        },
        number: 2,
        origin: fetched_at.map(|_| KeyOrigin::Network),
        last_error: (failures > 0).then_some((FetchResult::Connect, 4_000_000)),
    }
}

#[test]
fn keys_are_stale_only_while_fetches_fail() {
    const AT: Option<u64> = Some(1_000_000);
    // When it was fetched, failures, the time: the state, and the keys that may be used.
    let cases = [
        (None, 0, 1_000, KeyState::Idle, 0),
        (None, 3, 1_000, KeyState::Missing, 0),
        (AT, 0, 1_000_000, KeyState::Fresh, 2),
        (AT, 1, 1_599_999, KeyState::Fresh, 2),
        // Nobody asks, so nothing is fetched.
        (AT, 0, 1_600_000, KeyState::Fresh, 2),
        (AT, 1, 1_600_000, KeyState::Stale, 2),
        (AT, 1, 5_199_999, KeyState::Stale, 2),
        (AT, 1, 5_200_000, KeyState::Missing, 0),
        (AT, 0, 5_200_000, KeyState::Idle, 0),
    ];
    for (fetched_at, failures, now, state, number) in cases {
        let keys = Keys::of_source(&facts(fetched_at, failures), &TIMING, now);
        assert_eq!(
            (keys.state, keys.number),
            (state, number),
            "{fetched_at:?} {failures} {now}"
        );
    }
    let fresh = Keys::of_source(&facts(AT, 0), &TIMING, 1_100_000);
    assert_eq!((fresh.age, fresh.next_refresh), (Some(100.0), Some(500.0)));
    assert_eq!(
        (fresh.stale_for, fresh.last_error.map(|_| ())),
        (None, None)
    );
    let stale = Keys::of_source(&facts(AT, 1), &TIMING, 4_600_000);
    assert_eq!(
        (stale.stale_for, stale.next_refresh),
        (Some(3_000.0), Some(4_400.0))
    );
    assert_eq!(stale.last_error.map(|error| error.age), Some(600.0));
}

#[test]
fn of_many_tenants_each_number_is_the_worst() {
    let at = |fetched_at, failures| {
        Keys::of_source(&facts(Some(fetched_at), failures), &TIMING, 4_600_000)
    };
    let (old, young) = (at(1_000_000, 1), at(4_500_000, 0));
    for worst in [old.clone().worst(young.clone()), young.worst(old)] {
        assert_eq!((worst.state, worst.number), (KeyState::Stale, 2));
        assert_eq!((worst.age, worst.stale_for), (Some(3_600.0), Some(3_000.0)));
        assert_eq!(worst.next_refresh, Some(500.0));
        assert_eq!(worst.last_error.map(|error| error.age), Some(600.0));
        assert_eq!(worst.origin, Some(KeyOrigin::Network));
    }
}
