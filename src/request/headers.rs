//! `X-Authgear-*` on the way to the backend: the client's own removed, the verified ones set.

use authgear_core::session::{stripped_header, Field};

use crate::nginx::{Failed, Request, RequestHeader};
use crate::request::outcome::Outcome;

/// Removes every request header that a backend could take for one of ours, in a server in which a
/// location verifies. Variables that were made from headers until now are forgotten: nginx refuses some
/// requests before post-read, and an error page's URL may have read them.
pub fn strip(r: &Request) -> Result<(), Failed> {
    if !r.server().verifies() || !r.has_header(stripped_header) {
        return Ok(());
    }
    r.forget_variables(r.main_conf().request_variables(r));
    r.remove_headers(stripped_header)
}

/// Prepares the request headers for a new judgement: those that an earlier pass set are removed, and
/// a subrequest gets a list of its own, since it shares that of its parent.
pub fn renew(r: &Request) -> Result<(), Failed> {
    match (r.is_main(), r.is_internal()) {
        (false, _) => r.remove_headers(stripped_header),
        (true, true) => strip(r),
        // Nothing was set, and post-read removed the client's.
        (true, false) => Ok(()),
    }
}

/// Sets the headers that the resolver would set for a valid session, if there is one.
pub fn set(r: &Request, outcome: &Outcome) -> Result<(), Failed> {
    outcome.session().map_or(Ok(()), |session| {
        let fields = session.fields();
        r.add_request_headers(&HEADERS, fields.text(), fields.ends())
    })
}

/// Sets the header that the resolver would set for an invalid session.
pub fn set_invalid(r: &Request) -> Result<(), Failed> {
    const FIRST: &[RequestHeader] = HEADERS.split_at(1).0;
    r.add_request_headers(FIRST, b"false", &[5])
}

/// In the order of [`Field::ALL`].
static HEADERS: [RequestHeader; 8] = {
    let mut headers = [header(Field::SessionValid); 8];
    let mut index = 0;
    while index < headers.len() {
        headers[index] = header(Field::ALL[index]);
        index += 1;
    }
    headers
};

const fn header(field: Field) -> RequestHeader {
    RequestHeader::new(field.header(), field.lowcase_header())
}
