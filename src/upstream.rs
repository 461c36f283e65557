//! `X-Authgear-*` on the way to the backend: the client's own removed, the verified ones set.

use authgear_core::session::{stripped_header, Field, Session};
use nginx_sys::{ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t};

use crate::nginx::{header_hash, header_parts, part, Failed, Request};

/// Removes every header that a backend could take for one of ours.
pub fn strip(r: &Request) -> Result<(), Failed> {
    if !r.headers().any(is_ours) {
        return Ok(());
    }
    // nginx and its modules point into the old elements, so they stay where they are and the
    // request gets a list of copies.
    // SAFETY: a list is plain data, and all-zero is how nginx makes one.
    let mut list: ngx_list_t = unsafe { core::mem::zeroed() };
    let kept = r.headers().filter(|header| !is_ours(header)).count();
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
    for (header, &end) in HEADERS.iter().zip(ends) {
        if end > start {
            header.set(r, part(fields, start as usize..end as usize))?;
        }
        start = end;
    }
    Ok(())
}

/// Sets what the resolver would have set for an invalid one.
pub fn hand_over_no(r: &Request) -> Result<(), Failed> {
    HEADERS[Field::SessionValid.index()].set(r, r.pool().copy(b"false")?)
}

/// A header as nginx keeps it in a request.
#[derive(Clone, Copy)]
struct Header {
    name: &'static str,
    lowcase: &'static str,
    hash: ngx_uint_t,
}

impl Header {
    const fn new(field: Field) -> Self {
        let lowcase = field.lowcase_header();
        assert!(field.header().len() == lowcase.len());
        Self {
            name: field.header(),
            lowcase,
            hash: header_hash(lowcase),
        }
    }

    /// Never inlined: eight copies of it would be more for the processor to fetch than to execute.
    #[inline(never)]
    fn set(&self, r: &Request, value: ngx_str_t) -> Result<(), Failed> {
        r.add_request_header(self.name, self.lowcase, self.hash, value)
    }
}

/// In the order of [`Field::ALL`].
static HEADERS: [Header; 8] = {
    let mut headers = [Header::new(Field::SessionValid); 8];
    let mut index = 0;
    while index < headers.len() {
        headers[index] = Header::new(Field::ALL[index]);
        index += 1;
    }
    headers
};
