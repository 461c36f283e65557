//! Warnings of `nginx -t` about the location of `resolve_request`.

use std::collections::BTreeSet;

use crate::conf::Project;
use crate::nginx::{Conf, LocationAt, LocationConfs, ServerAt};

/// The variable by which one resolver's location serves several endpoints.
const ENDPOINT_HOST: &str = "authgear_endpoint_host";

/// A location that a project names in `resolve_request`, checked when all is merged.
#[derive(Debug)]
pub struct ResolverLocation {
    pub name: String,
    pub project: String,
    pub confs: LocationConfs,
    pub server: ServerAt,
}

/// Warns of a resolver's location that is asked about several endpoints, where nothing says which. It is asked
/// about the projects that verify in its server, which `gates` tells; where none does yet, about all.
pub fn warn_of_one_host(
    cf: &Conf,
    locations: &[ResolverLocation],
    gates: &[(ServerAt, Option<usize>)],
) {
    if cf.reads_variable(ENDPOINT_HOST) {
        return;
    }
    let has_several = |location: &&ResolverLocation| {
        let of_server = gates
            .iter()
            .filter(|(server, _)| *server == location.server);
        let indices: Vec<Option<usize>> = of_server.map(|(_, index)| *index).collect();
        let verifies = |index| indices.contains(&Some(index)) || indices.contains(&None);
        let asks = |project: &&Project| {
            is_resolved_at(project, &location.name)
                && (indices.is_empty() || verifies(project.index))
        };
        let projects = cf.main_conf().projects.iter().filter(asks);
        let mut origins =
            projects.map(|project| project.fixed_tenant().map(|tenant| &tenant.origin));
        let first = origins.next();
        first.is_some_and(|first| first.is_none() || origins.any(|other| other != first))
    };
    let several = locations.iter().filter(has_several);
    let names: BTreeSet<&str> = several.map(|location| &*location.name).collect();
    for name in names {
        cf.warn_nowhere(format_args!(
            "location \"{name}\" is asked about several endpoints and does not say about which; add \
             \"proxy_set_header Host $authgear_endpoint_host;\""
        ));
    }
}

fn is_resolved_at(project: &Project, name: &str) -> bool {
    project.resolve_request.as_deref() == Some(name.as_bytes())
}

/// Looks at a location that a project names in `resolve_request`: warns where clients could ask it
/// themselves, and records it for the `proxy_cache` check in `conf::finish`.
pub fn look_at_resolver(cf: &Conf, location: &LocationAt) {
    let Some(name) = location.name.as_deref() else {
        return;
    };
    let mut projects = cf.main_conf().projects.iter();
    let Some(project) = projects.find(|project| is_resolved_at(project, name)) else {
        return;
    };
    cf.main_conf().note_resolver(ResolverLocation {
        name: name.to_string(),
        project: project.name.clone(),
        confs: location.confs,
        server: location.server,
    });
    if !location.is_internal {
        cf.warn_nowhere(format_args!(
            "location \"{name}\" is the \"resolve_request\" of the project \"{}\" and open to \
             clients, so no question is sent to it; add \"internal;\"",
            project.name
        ));
    }
}
