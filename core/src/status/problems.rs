//! Problems that an operator should look at, in words.

use super::snapshot::{KeyState, Keys, Project, Snapshot, Stream, Zone};

impl Snapshot {
    /// Problems that an operator should look at, the most urgent first; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.projects.iter().flat_map(Project::problems).collect();
        // Refused requests come before keys that are merely old.
        problems.sort_by_key(|(is_urgent, _)| !is_urgent);
        let zone = self.zone.iter().flat_map(Zone::problems);
        let stream = self.stream.iter().flat_map(Stream::problems);
        problems
            .into_iter()
            .map(|(_, text)| text)
            .chain(stream)
            .chain(zone)
            .collect()
    }
}

impl Project {
    fn problems(&self) -> Vec<(bool, String)> {
        let name = &self.name;
        let mut problems = Vec::new();
        let why = self.keys.last_error.map_or(String::new(), |error| {
            format!("; the last fetch failed: {}", error.stage.as_str())
        });
        let whose = match self.keys.tenants {
            Some(_) => "a tenant's keys",
            None => "its keys",
        };
        match self.keys.state {
            KeyState::Missing => problems.push((
                true,
                format!("Project {name}: no keys, so JWTs are answered 503{why}."),
            )),
            KeyState::Stale => {
                let age = span(self.keys.stale_for.unwrap_or_default());
                problems.push((
                    false,
                    format!("Project {name}: {whose} have been stale for {age}{why}."),
                ));
            }
            KeyState::Fresh | KeyState::Idle => {}
        }
        if let Some(age) = self.resolver_suspended_for {
            let whose = match self.keys.tenants {
                Some(_) => "a tenant's resolver",
                None => "the resolver",
            };
            let age = span(age);
            problems.push((
                true,
                format!(
                    "Project {name}: {whose} has been suspended for {age}, since it gave no response: nobody \
                     waits for it until it responds to a probe."
                ),
            ));
        } else if let Some(age) = self.resolver_failing_for {
            let age = span(age);
            problems.push((
                true,
                format!("Project {name}: the resolver has not answered for {age}."),
            ));
        }
        if self.outlives_revocation {
            problems.push((
                false,
                format!(
                    "Project {name}: a token lives longer than \"revocation_keep\", so that it would \
                     stand again when its revocation is forgotten."
                ),
            ));
        }
        problems
    }
}

impl Stream {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(down) = self.down_for {
            problems.push(format!(
                "The revocation stream has not answered for {}: what other nodes receive is missing here.",
                span(down)
            ));
        }
        if self.is_incomplete {
            let text =
                "Revocations from before this node's start have not been read from the stream.";
            problems.push(text.into());
        }
        problems
    }
}

impl Zone {
    /// Tables that are too small. Pages that are taken say nothing: a table takes what it is given.
    fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let too_small = self.tables.iter().filter(|table| table.live_evictions > 0);
        too_small.map(|table| {
            format!(
                "The shared zone {} is full: {} valid entries of the table {} gave way since the start. \
                 Enlarge \"authgear_shared_zone\".",
                self.name, table.live_evictions, table.name
            )
        })
    }
}

impl Keys {
    /// True while the keys at hand should have been replaced, or there are none.
    pub(super) fn is_bad(&self) -> bool {
        matches!(self.state, KeyState::Stale | KeyState::Missing)
    }
}

/// A time span, rounded down to its largest unit.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A size in KiB or MiB.
pub(super) fn bytes(size: u64) -> String {
    match size {
        0..10_485_760 => format!("{} KiB", size / 1024),
        _ => format!("{} MiB", size / 1_048_576),
    }
}
