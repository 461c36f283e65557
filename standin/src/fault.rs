//! The faults that a public endpoint can be given.

use std::collections::HashMap;
use std::str::FromStr;

use serde::Deserialize;

/// A public endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// `/oauth2/jwks`.
    Jwks,
    /// `/_resolver/resolve` and `/resolve`.
    Resolver,
}

impl FromStr for Endpoint {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "discovery" => Ok(Self::Discovery),
            "jwks" => Ok(Self::Jwks),
            "resolver" => Ok(Self::Resolver),
            _ => Err(()),
        }
    }
}

/// The ways to fail.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answer rightly.
    Ok,
    /// Answer with `status` (500), `body` and `headers`.
    Status,
    /// Answer rightly after `delay_ms` (1000).
    Slow,
    /// Never answer.
    Hang,
    /// A 200 whose body comes a byte per 100 ms and never ends.
    Drip,
    /// Close the connection without an answer.
    Close,
    /// A 200 that makes no sense.
    Garbage,
    /// A 200 with nothing in it: no keys, no members, no headers.
    Empty,
    /// A redirect (`status`, 302) to `location`.
    Redirect,
    /// The right answer, padded to more than 256 KiB.
    Oversize,
    /// A 200 with `body` and `headers`.
    Body,
}

/// A fault as ordered over the control API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Fault {
    pub mode: Mode,
    pub status: Option<u16>,
    pub delay_ms: Option<u64>,
    pub location: Option<String>,
    pub body: Option<String>,
    #[serde(default)]
    pub headers: HashMap<String, String>,
    /// Number of requests that it hits before it ends; unlimited when missing.
    pub times: Option<u64>,
}

/// The faults in force, for all projects or for one.
#[derive(Default)]
pub struct Faults {
    faults: HashMap<(Option<String>, Endpoint), Fault>,
}

impl Faults {
    /// Puts a fault in force; `project` is the host of one, `None` means all.
    pub fn set(&mut self, project: Option<String>, endpoint: Endpoint, fault: Fault) {
        self.faults.insert((project, endpoint), fault);
    }

    /// Ends the faults of one project, or all there are.
    pub fn clear(&mut self, project: Option<&str>) {
        match project {
            Some(project) => self
                .faults
                .retain(|(host, _), _| host.as_deref() != Some(project)),
            None => self.faults.clear(),
        }
    }

    /// The fault that a request meets; a project's own goes before that of all.
    pub fn hit(&mut self, project: &str, endpoint: Endpoint) -> Option<Fault> {
        let own = (Some(project.to_owned()), endpoint);
        let key = if self.faults.contains_key(&own) {
            own
        } else {
            (None, endpoint)
        };
        let fault = self.faults.get_mut(&key)?;
        match &mut fault.times {
            Some(0) => {
                self.faults.remove(&key);
                return None;
            }
            Some(times) => *times -= 1,
            None => {}
        }
        (fault.mode != Mode::Ok).then(|| fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_projects_own_fault_goes_first() {
        let mut faults = Faults::default();
        faults.set(None, Endpoint::Jwks, fault(r#"{"mode":"hang"}"#));
        faults.set(Some("a".into()), Endpoint::Jwks, fault(r#"{"mode":"ok"}"#));
        assert!(faults.hit("a", Endpoint::Jwks).is_none());
        assert_eq!(faults.hit("b", Endpoint::Jwks).unwrap().mode, Mode::Hang);
        assert!(faults.hit("b", Endpoint::Discovery).is_none());
        faults.clear(Some("a"));
        assert!(faults.hit("a", Endpoint::Jwks).is_some());
    }

    #[test]
    fn a_fault_may_be_over_after_some_requests() {
        let mut faults = Faults::default();
        faults.set(
            None,
            Endpoint::Jwks,
            fault(r#"{"mode":"status","times":2}"#),
        );
        let hits = (0..4).filter(|_| faults.hit("a", Endpoint::Jwks).is_some());
        assert_eq!(hits.count(), 2);
    }
}
