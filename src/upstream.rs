//! `X-Authgear-*` on the way to the backend: the client's own removed, the verified ones set.

use authgear_core::session::{stripped_header, Field, Session};
use nginx_sys::{ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t};

use crate::nginx::{header_hash, header_parts, part, Failed, Request};

/// Removes every header that a backend could take for one of ours.
pub fn strip(r: &Request) -> Result<(), Failed> {
    let total = r.headers().count();
    let kept = r.headers().filter(|header| !is_ours(header)).count();
    if kept == total {
        return Ok(());
    }
    // nginx and its modules point into the old elements, so they stay where they are and the
    // request gets a list of copies.
    // SAFETY: a list is plain data, and all-zero is how nginx makes one.
    let mut list: ngx_list_t = unsafe { core::mem::zeroed() };
    r.pool().init_headers(&mut list, kept)?;
    for header in r.headers().filter(|header| !is_ours(header)) {
        // SAFETY: the list was made for headers of this request; an nginx header is plain data.
        unsafe {
            let slot = ngx_list_push(&mut list).cast::<ngx_table_elt_t>();
            if slot.is_null() {
                return Err(Failed);
            }
            slot.copy_from_nonoverlapping(header, 1);
        }
    }
    // SAFETY: the list comes from this request's pool.
    unsafe { r.replace_headers(list) };
    Ok(())
}

fn is_ours(header: &ngx_table_elt_t) -> bool {
    stripped_header(header_parts(header).0)
}

/// Sets what the resolver would have set for a valid session.
pub fn hand_over(r: &Request, session: &Session) -> Result<(), Failed> {
    let (fields, ends) = session.fields();
    let fields = r.pool().copy(fields.as_bytes())?;
    let mut start = 0;
    for (field, &end) in Field::ALL.into_iter().zip(ends) {
        if end > start {
            add(r, field, part(fields, start as usize..end as usize))?;
        }
        start = end;
    }
    Ok(())
}

/// Sets what the resolver would have set for an invalid one.
pub fn hand_over_no(r: &Request) -> Result<(), Failed> {
    add(r, Field::SessionValid, r.pool().copy(b"false")?)
}

fn add(r: &Request, field: Field, value: ngx_str_t) -> Result<(), Failed> {
    let (lowcase, hash) = LOWCASE[field.index()];
    r.add_request_header(field.header(), lowcase, hash, value)
}

const fn named(lowcase: &'static str) -> (&'static str, ngx_uint_t) {
    (lowcase, header_hash(lowcase))
}

/// The headers' lower-case names in the order of [`Field::ALL`], with nginx's hash of them.
static LOWCASE: [(&str, ngx_uint_t); 8] = [
    named("x-authgear-session-valid"),
    named("x-authgear-user-id"),
    named("x-authgear-user-anonymous"),
    named("x-authgear-user-verified"),
    named("x-authgear-user-can-reauthenticate"),
    named("x-authgear-user-roles"),
    named("x-authgear-session-amr"),
    named("x-authgear-session-authenticated-at"),
];
