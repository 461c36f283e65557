//! Warnings of `nginx -t` about the location of `resolve_request`.

use crate::nginx::{Conf, LocationAt};

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
