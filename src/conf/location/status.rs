//! `authgear_status`.

use core::ptr::fn_addr_eq;

use authgear_core::status::Choice;

use crate::conf::mistake::Mistake;
use crate::nginx::{Conf, Failed, LocationAt, PhaseHandler, Place};

/// The status page of a location: its format, and where the directive stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// The format.
    pub choice: Choice,
    place: Place,
}

/// Reads `authgear_status`'s format, and has the location answered.
pub fn read(cf: &Conf, words: &[&str]) -> Result<Status, Mistake> {
    const FORM: &str =
        "write \"authgear_status;\", or \"html\", \"json\" or \"prometheus\" behind it";
    let choice = match words {
        [] => Choice::Negotiated,
        ["html"] => Choice::Html,
        ["json"] => Choice::Json,
        ["prometheus"] => Choice::Prometheus,
        [other] => return Err(format!("has an unknown format \"{other}\"; {FORM}").into()),
        _ => return Err(format!("takes one format, not {}; {FORM}", words.len()).into()),
    };
    let handler = cf.main_conf().status_handler().ok_or(Failed)?;
    if cf.is_answered() {
        return Err(BESIDE.into());
    }
    cf.set_content_handler(handler);
    let place = cf.place();
    Ok(Status { choice, place })
}

/// Has an `if` or a `limit_except` in the location of a status page answered by the page too, unless it is
/// answered otherwise.
pub fn inherit_page(status: &mut Option<Status>, above: Option<&Status>, cf: &Conf) {
    let (None, Some(above), None, false) = (&status, above, cf.location().name, cf.is_answered())
    else {
        return;
    };
    if let Some(handler) = cf.main_conf().status_handler() {
        cf.set_content_handler(handler);
        *status = Some(above.clone());
    }
}

const BESIDE: &str =
    "stands beside another directive that answers requests, such as \"proxy_pass\"; \
                      give it a location of its own";

/// Checks that no later directive answers the requests, and remembers the location for
/// [`warn_of_strangers`].
pub fn note(status: &Status, cf: &Conf, location: &LocationAt) -> Result<(), Failed> {
    let own = cf.main_conf().status_handler();
    let is_own = |handler: PhaseHandler| own.is_some_and(|own| fn_addr_eq(own, handler));
    if !location.handler.is_some_and(is_own) {
        cf.emerg_at(&status.place, format_args!("\"authgear_status\" {BESIDE}"));
        return Err(Failed);
    }
    if let Some(name) = location.name.clone().filter(|_| location.is_open()) {
        cf.main_conf().note_status(StatusLocation {
            name,
            place: status.place.clone(),
            location: location.clone(),
        });
    }
    Ok(())
}

/// The location of a status page, checked when all is merged.
#[derive(Debug)]
pub struct StatusLocation {
    name: String,
    place: Place,
    location: LocationAt,
}

/// Warns of status pages that strangers can read.
pub fn warn_of_strangers(cf: &Conf, pages: &[StatusLocation]) {
    for page in pages {
        let location = &page.location;
        if cf.is_exposed(location.server) && !cf.has_access_rules(location.confs) {
            cf.warn_at(
                &page.place,
                format_args!(
                    "\"authgear_status\" in location \"{}\" can be read by everybody; add \"allow\" and \
                     \"deny\", or have its server listen on 127.0.0.1 alone",
                    page.name
                ),
            );
        }
    }
}
