//! The location of `authgear_webhook`: receives what Authgear sends.

use authgear_core::revocation::{Delivery, State};
use authgear_tables::revocations::Merged;
use nginx_sys::{
    ngx_http_request_t, ngx_int_t, NGX_HTTP_BAD_REQUEST, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_ALLOWED, NGX_HTTP_NO_CONTENT, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_UNAUTHORIZED,
    NGX_LOG_CRIT, NGX_LOG_ERR,
};

use crate::conf::Project;
use crate::log::log_limited;
use crate::nginx::{guard, update_time, Request};
use crate::worker;

/// The content handler. An error page could turn a refusal into a success, which Authgear would believe.
pub fn handle(r: &Request) -> ngx_int_t {
    r.forbid_error_pages();
    if !r.is_post() {
        return NGX_HTTP_NOT_ALLOWED as ngx_int_t;
    }
    r.read_body(on_body)
}

/// nginx calls this when the body has been read.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    // SAFETY: nginx hands a live request over.
    let r = unsafe { Request::from_raw(r) };
    let status = guard(NGX_HTTP_INTERNAL_SERVER_ERROR, || receive(&r));
    r.finalize(status as ngx_int_t);
}

/// Receives a delivery, and returns the status of the answer.
fn receive(r: &Request) -> u32 {
    let main = r.main_conf();
    let project = r.location().webhook().map(|index| &main.projects[index]);
    let Some((project, secrets)) =
        project.and_then(|project| Some((project, project.webhook_secrets.as_ref()?)))
    else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    };
    let refuse = |level, word, status, why: &dyn core::fmt::Display| {
        log_limited(
            r,
            level,
            (project.index, word),
            format_args!("webhook of project \"{}\": {why}", project.name),
        );
        status
    };
    let body = match r.body() {
        Ok(body) => body,
        Err(error) => {
            let why = format!("cannot read the body from its file: {error}");
            return refuse(NGX_LOG_CRIT, "body", NGX_HTTP_INTERNAL_SERVER_ERROR, &why);
        }
    };
    let mut signatures = r.values_of(b"x-authgear-body-signature");
    let signer = match (signatures.next(), signatures.next()) {
        (Some(signature), None) => secrets.verify(&body, signature),
        _ => None,
    };
    if signer.is_none() {
        let why =
            "refused, since its signature is missing or wrong; compare \"webhook_secret_file\" \
                   with the secret that the portal shows";
        return refuse(NGX_LOG_ERR, "signature", NGX_HTTP_UNAUTHORIZED, &why);
    }
    update_time();
    let now = r.now() as u64;
    let event = match Delivery::read(&body, now, project.revocation_keep) {
        Ok(Delivery::Lifecycle(event)) => event,
        Ok(Delivery::Ignored) => return NGX_HTTP_NO_CONTENT,
        Err(error) => return refuse(NGX_LOG_ERR, "event", NGX_HTTP_BAD_REQUEST, &error),
    };
    let keep = main.revocation_keep();
    let stored = store(project, &event.user, &State::of(&event), keep, now);
    match stored {
        Some(Merged::Known | Merged::Stored) => NGX_HTTP_NO_CONTENT,
        Some(Merged::Evicted) => {
            let why =
                "the shared zone is too small for revocations: an older one is dropped; enlarge \
                       \"authgear_shared_zone\"";
            refuse(NGX_LOG_ERR, "evicted", NGX_HTTP_NO_CONTENT, &why)
        }
        Some(Merged::NoRoom) => {
            let why = "the shared zone is too small for revocations: this one is dropped; enlarge \
                       \"authgear_shared_zone\"";
            refuse(NGX_LOG_ERR, "room", NGX_HTTP_SERVICE_UNAVAILABLE, &why)
        }
        None => {
            let why = "cannot be stored, since the shared zone is gone";
            refuse(NGX_LOG_ERR, "zone", NGX_HTTP_SERVICE_UNAVAILABLE, &why)
        }
    }
}

/// Stores what was heard of a user under each name of the project; the worst result.
fn store(project: &Project, user: &str, heard: &State, keep: u64, now: u64) -> Option<Merged> {
    let names = &project.fixed_tenant()?.names;
    let mut results = names
        .iter()
        .map(|name| worker::revoke(name, user, heard, keep, now));
    results.try_fold(Merged::Known, |worst, result| Some(worst.max(result?)))
}
