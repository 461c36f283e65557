//! The location of `authgear_webhook`: receives what Authgear sends.

use std::path::Path;
use std::sync::Arc;

use authgear_core::credential::trim;
use authgear_core::revocation::journal::Record;
use authgear_core::revocation::stream::Message;
use authgear_core::revocation::{Delivery, Event, State, MOST_BODY};
use authgear_core::status::{Count, Received};
use authgear_tables::revocations::Merged;
use nginx_sys::{
    ngx_http_request_t, ngx_int_t, NGX_HTTP_BAD_REQUEST, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_NOT_ALLOWED, NGX_HTTP_NO_CONTENT, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
    NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_UNAUTHORIZED, NGX_LOG_ERR,
};

use super::saver::{save_and_answer, Save};
use super::shared::Shared;
use crate::conf::Project;
use crate::log::log_limited;
use crate::nginx::{guard, update_time, Failed, Request};
use crate::worker;

/// The complaint where an older revocation gave way.
pub const EVICTED: &str =
    "the shared zone is too small for revocations: an older one is dropped; enlarge \
                           \"authgear_shared_zone\"";
/// The complaint where a revocation found no room.
pub const NO_ROOM: &str =
    "the shared zone is too small for revocations: this one is dropped; enlarge \
                           \"authgear_shared_zone\"";

/// The content handler.
pub fn handle(r: &Request) -> ngx_int_t {
    if !r.is_post() {
        if let Some(index) = r.location().webhook() {
            let project = &r.main_conf().projects[index];
            worker::count(project, Count::Webhook(Received::BadMethod));
        }
        return r
            .add_response_header("Allow", b"POST")
            .map_or(NGX_HTTP_INTERNAL_SERVER_ERROR, |_| NGX_HTTP_NOT_ALLOWED)
            as ngx_int_t;
    }
    r.read_body(on_body)
}

/// nginx calls this when the body has been read.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    // SAFETY: nginx hands a live request over.
    let r = unsafe { Request::from_raw(r) };
    let status = guard(Some(NGX_HTTP_INTERNAL_SERVER_ERROR), || receive(&r));
    if let Some(status) = status {
        r.finalize(status as ngx_int_t);
    }
}

/// A webhook whose body is there.
struct Webhook<'r> {
    r: &'r Request,
    project: &'r Project,
}

/// An event of interest, with the webhook that told it, signed by the first secret.
struct Signed {
    event: Event,
    body: Vec<u8>,
    signature: String,
}

/// Receives a delivery, and returns the status of the answer; `None` if it is answered when it is saved.
fn receive(r: &Request) -> Option<u32> {
    let Some(index) = r.location().webhook() else {
        return Some(NGX_HTTP_INTERNAL_SERVER_ERROR);
    };
    let project = &r.main_conf().projects[index];
    let webhook = Webhook { r, project };
    let (received, status) = match webhook.event() {
        Ok(Some(signed)) => {
            let status = webhook.accept(signed)?;
            (received_with(status), status)
        }
        Ok(None) => (Received::Ignored, NGX_HTTP_NO_CONTENT),
        Err(status) => (received_with(status), status),
    };
    // `count_lost_webhook` counts each that is too large.
    if status != NGX_HTTP_REQUEST_ENTITY_TOO_LARGE {
        worker::count(project, Count::Webhook(received));
    }
    Some(status)
}

/// The counter for an answer's status.
fn received_with(status: u32) -> Received {
    match status {
        NGX_HTTP_NO_CONTENT => Received::Accepted,
        NGX_HTTP_UNAUTHORIZED => Received::BadSignature,
        NGX_HTTP_BAD_REQUEST => Received::Malformed,
        _ => Received::Unavailable,
    }
}

impl Webhook<'_> {
    /// Logs why it is not accepted, or not as it should be; returns the status.
    fn complain(&self, topic: &'static str, status: u32, why: &dyn core::fmt::Display) -> u32 {
        log_limited(
            self.r,
            NGX_LOG_ERR,
            (self.project.index, topic),
            format_args!("webhook of project \"{}\": {why}", self.project.name),
        );
        status
    }

    /// The event, unless it is of no interest; else the status of the refusal.
    fn event(&self) -> Result<Option<Signed>, u32> {
        let body = self.r.body(MOST_BODY).map_err(|error| {
            let why = format!("cannot read the body from its file: {error}");
            self.complain("body", NGX_HTTP_INTERNAL_SERVER_ERROR, &why)
        })?;
        let Some(body) = body else {
            let why = format!("refused, since its body is longer than {MOST_BODY} bytes");
            return Err(self.complain("length", NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, &why));
        };
        let mut signatures = self.r.values_of(b"x-authgear-body-signature").map(trim);
        let signature = (signatures.next(), signatures.next());
        let signature = match (&self.project.webhook_secrets, signature) {
            (Some(secrets), (Some(signature), None)) => match secrets.verify(&body, signature) {
                Some(0) => Some(String::from_utf8_lossy(signature).into_owned()),
                // Other nodes may not have a later secret yet, or any more.
                Some(_) => Some(secrets.sign(&body)),
                None => None,
            },
            _ => None,
        };
        let Some(signature) = signature else {
            let why = "refused, since its signature is missing or wrong; compare \
                       \"webhook_secret_file\" with the secret that the portal shows";
            return Err(self.complain("signature", NGX_HTTP_UNAUTHORIZED, &why));
        };
        // A later question to the resolver then has a later time than this event.
        update_time();
        match Delivery::read(&body, self.r.now() as u64, self.project.revocation_keep) {
            Ok(Delivery::Lifecycle(event)) => Ok(Some(Signed {
                event,
                body,
                signature,
            })),
            Ok(Delivery::Ignored) => Ok(None),
            Err(error) => Err(self.complain("event", NGX_HTTP_BAD_REQUEST, &error)),
        }
    }

    /// Stores what an event says, saves it where there is `state_path`, and tells other nodes.
    fn accept(
        &self,
        Signed {
            event,
            body,
            signature,
        }: Signed,
    ) -> Option<u32> {
        let (keep, now) = (self.r.main_conf().revocation_keep(), self.r.now() as u64);
        let state = State::of(&event);
        let unavailable = NGX_HTTP_SERVICE_UNAVAILABLE;
        let Some(tenant) = self.project.fixed_tenant() else {
            return Some(unavailable);
        };
        // First of all: other nodes are told even if this worker dies next.
        let shared = self.r.main_conf().stream.address().map(|address| {
            let message = Message {
                endpoint: tenant.origin.to_string(),
                body,
                signature,
                until: state.last_time().saturating_add(keep),
            };
            Shared::new(address, message)
        });
        let refusal = match store(self.project, &event.user, &state, keep, now) {
            Some(Merged::Known | Merged::Renewed | Merged::Stored) => None,
            Some(Merged::Evicted) => {
                self.complain("evicted", NGX_HTTP_NO_CONTENT, &EVICTED);
                None
            }
            Some(Merged::NoRoom) => Some(self.complain("room", unavailable, &NO_ROOM)),
            None => {
                let why = "cannot be stored, since the shared zone is gone";
                Some(self.complain("zone", unavailable, &why))
            }
        };
        if refusal.is_some() {
            if let Some(shared) = shared {
                shared.forget();
            }
            return refusal;
        }
        let journal = record(self.project, event.user, state);
        if journal.is_none() && shared.is_none() {
            return Some(NGX_HTTP_NO_CONTENT);
        }
        let save = Save {
            journal,
            shared,
            now,
            keep,
        };
        match save_and_answer(self.r, self.project.index, save) {
            Ok(()) => None,
            Err(Failed) => Some(unavailable),
        }
    }
}

/// Stores what was heard of a user under each name of the project; the worst result.
pub fn store(project: &Project, user: &str, heard: &State, keep: u64, now: u64) -> Option<Merged> {
    let names = &project.fixed_tenant()?.names;
    let mut results = names
        .iter()
        .map(|name| worker::revoke(name, user, heard, keep, now));
    results.try_fold(Merged::Known, |worst, result| Some(worst.max(result?)))
}

/// The record of a user's state for `state_path`, and its folder; `None` without one.
pub fn record(project: &Project, user: String, state: State) -> Option<(Arc<Path>, Record)> {
    let folder = Arc::clone(project.state.as_ref()?);
    let names = project.fixed_tenant()?.names.to_vec();
    Some((folder, Record { names, user, state }))
}
