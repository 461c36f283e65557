//! Warnings of `nginx -t` about the location of `resolve_request`.

use std::collections::BTreeSet;

use crate::nginx::{Conf, LocationAt, LocationConfs};

/// The variable by which one resolver's location serves several endpoints.
const ENDPOINT_HOST: &str = "authgear_endpoint_host";

/// A location that a project names in `resolve_request`, checked when all is merged.
#[derive(Debug)]
pub struct ResolverLocation {
    pub name: String,
    pub project: String,
    pub confs: LocationConfs,
}

/// Warns of a resolver's location that is asked about several endpoints, where nothing says which.
pub fn warn_of_one_host(cf: &Conf, locations: &[ResolverLocation]) {
    if cf.reads_variable(ENDPOINT_HOST) {
        return;
    }
    let names: BTreeSet<&str> = locations.iter().map(|location| &*location.name).collect();
    for name in names {
        let projects = cf.main_conf().projects.iter();
        let mut sharers = projects
            .filter(|project| project.resolve_request.as_deref() == Some(name.as_bytes()))
            .map(|project| project.fixed_tenant().map(|tenant| &tenant.origin));
        let first = sharers.next().flatten();
        if first.is_none() || sharers.any(|other| other != first) {
            cf.warn_nowhere(format_args!(
                "location \"{name}\" is asked about several endpoints and does not say about which; add \
                 \"proxy_set_header Host $authgear_endpoint_host;\""
            ));
        }
    }
}

/// Looks at a location that a project names in `resolve_request`: warns where clients could ask it
/// themselves, and records it for the `proxy_cache` check in `conf::finish`.
pub fn look_at_resolver(cf: &Conf, location: &LocationAt) {
    let Some(name) = location.name.as_deref() else {
        return;
    };
    let mut projects = cf.main_conf().projects.iter();
    let project =
        projects.find(|project| project.resolve_request.as_deref() == Some(name.as_bytes()));
    let Some(project) = project else {
        return;
    };
    let confs = location.confs;
    cf.main_conf().note_resolver(name, &project.name, confs);
    if !location.is_internal {
        cf.warn_nowhere(format_args!(
            "location \"{name}\" is the \"resolve_request\" of the project \"{}\" and open to \
             clients, so no question is sent to it; add \"internal;\"",
            project.name
        ));
    }
}
