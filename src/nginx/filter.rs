//! Functions before and after all other header filters.

use core::cell::Cell;

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
    NGX_AGAIN, NGX_ERROR, NGX_OK,
};

use super::guard::{guard, Failed};
use super::request::Request;

/// A function that is run before a response's header is made. It may return a body that is sent in place of
/// the response's.
pub type BeforeHeader = fn(&Request) -> Result<Option<String>, Failed>;

/// A function that is run when all other filters have changed the header.
pub type AfterHeaders = fn(&Request) -> Result<(), Failed>;

thread_local! {
    // The event loop's thread alone runs filters. All are code, which stays mapped.
    static AFTER_FIRST: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
    static FIRST: Cell<Option<BeforeHeader>> = const { Cell::new(None) };
    static AFTER_LAST: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
    static LAST: Cell<Option<AfterHeaders>> = const { Cell::new(None) };
}

/// Puts `first` before all header filters that are there. nginx makes the chain anew for each configuration, in
/// the process whose children inherit it.
pub fn set_first_header_filter(first: BeforeHeader) {
    FIRST.set(Some(first));
    // SAFETY: nginx reads its configuration in its only thread, and runs no filter meanwhile.
    unsafe {
        AFTER_FIRST.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(first_filter);
    }
}

/// Puts `last` before all header filters that are there now: those of modules that are set up later run before
/// it.
pub fn set_last_header_filter(last: AfterHeaders) {
    LAST.set(Some(last));
    // SAFETY: nginx reads its configuration in its only thread, and runs no filter meanwhile.
    unsafe {
        AFTER_LAST.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(last_filter);
    }
}

unsafe extern "C" fn first_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    let body = guard(Err(Failed), || {
        // SAFETY: nginx hands a live request over.
        let r = unsafe { Request::from_raw(r) };
        FIRST.get().map_or(Ok(None), |first| first(&r))
    });
    let (Ok(body), Some(next)) = (body, AFTER_FIRST.get()) else {
        return NGX_ERROR as ngx_int_t;
    };
    // SAFETY: it is the next filter of nginx's chain.
    let status = unsafe { next(r) };
    let is_sent = status == NGX_OK as ngx_int_t || status == NGX_AGAIN as ngx_int_t;
    match body {
        Some(body) if is_sent => guard(NGX_ERROR as ngx_int_t, || {
            // SAFETY: nginx hands a live request over.
            unsafe { Request::from_raw(r) }.send_body_alone(body.as_bytes())
        }),
        _ => status,
    }
}

unsafe extern "C" fn last_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    let is_ready = guard(false, || {
        // SAFETY: nginx hands a live request over.
        let r = unsafe { Request::from_raw(r) };
        LAST.get().is_none_or(|last| last(&r).is_ok())
    });
    match AFTER_LAST.get() {
        // SAFETY: it is the next filter of nginx's chain.
        Some(next) if is_ready => unsafe { next(r) },
        _ => NGX_ERROR as ngx_int_t,
    }
}
