//! Gathers what the status page shows.

use authgear_core::keys::freshness::Timing;
use authgear_core::keys::KeySet;
use authgear_core::status::{
    Build, Cause, Count, Duration, Found, Key, KeyOrigin, KeyState, Keys, Project as Shown,
    Snapshot, Stream, Table, TableState, Totals, Zone,
};

use crate::conf::{MainConf, Project, ProjectKeys};
use crate::keys::KeySource;
use crate::nginx::{now, unix_time};
use crate::shm::SharedZone;
use crate::worker;

/// The state of the module now.
pub fn snapshot(main: &MainConf) -> Snapshot {
    let zone = worker::shared_zone();
    Snapshot {
        build: build(),
        configuration_loaded_at: main.loaded_at.get(),
        time: unix_time(),
        zone: zone.map(|zone| {
            let (size, used) = zone.size();
            let counts = zone.own_counters().map(|own| own.totals());
            let counts = counts.unwrap_or_default();
            Zone {
                name: main.zone.name().to_string(),
                size: size as u64,
                used: used as u64,
                tables: tables(zone, &counts),
                lock_held: counts.histogram(Duration::Lock),
                connections_closed: Cause::ALL.map(|cause| counts.get(Count::Closed(cause))),
            }
        }),
        waiting_requests: zone.map_or(0, SharedZone::waiting),
        stream: zone.and_then(|zone| {
            main.stream.address()?;
            let since = zone.stream_down_since();
            let is_incomplete = zone.learning_until() != 0;
            Some(Stream {
                is_connected: since.is_none() && !is_incomplete,
                down_for: since.map(|since| now().saturating_sub(since) as f64 / 1e3),
                is_incomplete,
            })
        }),
        projects: main
            .projects
            .iter()
            .map(|project| show(project, zone))
            .collect(),
    }
}

fn tables(zone: SharedZone, counts: &Totals) -> Vec<TableState> {
    let lookups = Found::ALL.map(|found| counts.get(Count::Lookup(Table::Judgements, found)));
    let judgements = zone.judgements().map(|table| {
        let (evicted, without_room) = table.losses();
        let (entries, capacity) = table.fill();
        TableState {
            name: Table::Judgements.as_str(),
            lookups: Some(lookups),
            live_evictions: evicted + without_room,
            fill: Some([entries, capacity]),
        }
    });
    let revocations = zone.revocations().map(|table| TableState {
        name: "revocations",
        lookups: None,
        live_evictions: table.evictions(),
        fill: Some([table.count(unix_time()) as u64, table.capacity() as u64]),
    });
    let keys = TableState {
        name: "keys",
        lookups: None,
        live_evictions: zone.evicted_keys(),
        fill: None,
    };
    let both = judgements.into_iter().chain(revocations);
    both.chain([keys]).collect()
}

fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("AUTHGEAR_COMMIT"),
        nginx: nginx_sys::NGINX_VERSION.to_string_lossy().into_owned(),
    }
}

fn show(project: &Project, zone: Option<SharedZone>) -> Shown {
    let counters = worker::counters(project);
    let failing_since = counters.and_then(|counters| counters.resolver_failing_since());
    let seconds = |since: u64| now().saturating_sub(since) as f64 / 1e3;
    Shown {
        name: project.name.clone(),
        keys: match (project.keys(), zone) {
            (ProjectKeys::File(keys), _) => of_file(keys),
            (ProjectKeys::Source(source), Some(zone)) => of_source(zone, source),
            (ProjectKeys::Tenants(timing), Some(zone)) => of_tenants(zone, project.digest, timing),
            (_, None) => Keys::default(),
        },
        resolver_failing_for: failing_since.map(seconds),
        resolver_suspended_for: project
            .resolve_request
            .as_ref()
            .and_then(|_| worker::suspended_since(project))
            .map(seconds),
        revocations: project.webhook_secrets.as_ref().and_then(|_| {
            let names = &project.fixed_tenant()?.names;
            worker::revoked_users(names.first()?, unix_time())
        }),
        outlives_revocation: zone.is_some_and(|zone| zone.has_long_lived(project.index)),
        counts: counters
            .map(|counters| counters.totals())
            .unwrap_or_default(),
    }
}

fn of_file(keys: &KeySet) -> Keys {
    Keys {
        state: KeyState::Fresh,
        origin: Some(KeyOrigin::File),
        number: keys.len() as u64,
        keys: describe(keys),
        ..Keys::default()
    }
}

fn of_source(zone: SharedZone, source: &KeySource) -> Keys {
    let read = zone.read_source(&source.id, |entry| {
        (entry.facts(), entry.document().map(<[u8]>::to_vec))
    });
    let Some((facts, document)) = read else {
        return Keys::default();
    };
    let parsed = document.and_then(|document| KeySet::parse(&document).ok());
    Keys {
        keys: parsed.map_or(Vec::new(), |(keys, _)| describe(&keys)),
        ..Keys::of_source(&facts, &source.timing, now())
    }
}

/// The worst of all tenants that have had keys. Whoever made up the name of another does not count.
fn of_tenants(zone: SharedZone, project: u64, timing: &Timing) -> Keys {
    let (mut tenants, mut worst) = (0, None::<Keys>);
    zone.read_sources(|entry| {
        let facts = entry.facts();
        if entry.project.get() == project && facts.origin.is_some() {
            tenants += 1;
            let keys = Keys::of_source(&facts, timing, now());
            worst = Some(match worst.take() {
                None => keys,
                Some(worst) => worst.worst(keys),
            });
        }
    });
    Keys {
        tenants: Some(tenants),
        ..worst.unwrap_or_default()
    }
}

fn describe(keys: &KeySet) -> Vec<Key> {
    let describe = |(kid, algorithms): (Option<&str>, Vec<_>)| Key {
        kid: kid.map(str::to_string),
        algorithms: algorithms
            .iter()
            .map(|one: &authgear_core::Algorithm| one.name())
            .collect(),
    };
    keys.describe().map(describe).collect()
}
