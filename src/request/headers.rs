//! `X-Authgear-*` on the way to the backend: the client's own removed, the verified ones set.

use authgear_core::session::{stripped_header, Field};
use nginx_sys::{ngx_list_t, ngx_table_elt_t};

use crate::nginx::{borrowed_str, header_parts, push_header, Failed, Request, RequestHeader};
use crate::request::outcome::Outcome;

/// Removes every request header that a backend could take for one of ours, in a server in which a
/// location verifies. Variables that were made from headers until now are forgotten: nginx refuses some
/// requests before post-read, and an error page's URL may have read them.
pub fn strip(r: &Request) -> Result<(), Failed> {
    if !r.server().verifies() || !r.all_headers().any(is_ours) {
        return Ok(());
    }
    r.forget_variables(r.main_conf().request_variables(r));
    copy_others(r)
}

/// Prepares the request headers for a new judgement: those that an earlier pass set are removed, and
/// a subrequest gets a list of its own, since it shares that of its parent.
pub fn renew(r: &Request) -> Result<(), Failed> {
    match (r.is_main(), r.is_internal()) {
        (false, _) => copy_others(r),
        (true, true) => strip(r),
        // Nothing was set, and post-read removed the client's.
        (true, false) => Ok(()),
    }
}

/// Gives the request a list of copies of all headers but ours. nginx and its modules point into the
/// old elements, so those stay as they are.
fn copy_others(r: &Request) -> Result<(), Failed> {
    // SAFETY: a list is plain data, and all-zero is how nginx makes one.
    let mut list: ngx_list_t = unsafe { core::mem::zeroed() };
    let kept = r.all_headers().filter(|header| !is_ours(header)).count();
    r.pool().init_headers(&mut list, kept)?;
    for header in r.all_headers().filter(|header| !is_ours(header)) {
        // SAFETY: the list was made for headers of this request.
        *unsafe { push_header(&mut list, r.pool())? } = *header;
    }
    // SAFETY: the list comes from this request's pool.
    unsafe { r.replace_headers(list) };
    Ok(())
}

fn is_ours(header: &ngx_table_elt_t) -> bool {
    stripped_header(header_parts(header).0)
}

/// Sets the headers that the resolver would set for a valid session, if there is one.
pub fn set(r: &Request, outcome: &Outcome) -> Result<(), Failed> {
    match outcome {
        Outcome::Verified(token, _) => {
            let session = token.session();
            let text = r.pool().copy(session.fields().text())?;
            r.add_request_headers(&HEADERS, text, session.fields().ends())
        }
        Outcome::Resolved(session, _) => {
            let (text, ends) = session.in_pool();
            r.add_request_headers(&HEADERS, text, ends)
        }
        _ => Ok(()),
    }
}

/// Sets the header that the resolver would set for an invalid session.
pub fn set_invalid(r: &Request) -> Result<(), Failed> {
    const FIRST: &[RequestHeader] = HEADERS.split_at(1).0;
    r.add_request_headers(FIRST, borrowed_str(b"false"), &[5])
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
