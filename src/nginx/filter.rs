//! A function before all header filters.

use core::cell::Cell;

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
    NGX_ERROR,
};

use super::guard::{guard, Failed};
use super::request::Request;

/// A function that is run before a response's header is made.
pub type BeforeHeader = fn(&Request) -> Result<(), Failed>;

thread_local! {
    // The event loop's thread alone runs filters. Both are code, which stays mapped.
    static NEXT: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
    static FIRST: Cell<Option<BeforeHeader>> = const { Cell::new(None) };
}

/// Puts `first` before all header filters. nginx makes the chain anew for each configuration, in the
/// process whose children inherit it.
pub fn set_first_header_filter(first: BeforeHeader) {
    FIRST.set(Some(first));
    // SAFETY: nginx reads its configuration in its only thread, and runs no filter meanwhile.
    unsafe {
        NEXT.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(header_filter);
    }
}

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    let is_ready = guard(false, || {
        // SAFETY: nginx hands a live request over.
        let r = unsafe { Request::from_raw(r) };
        FIRST.get().is_none_or(|first| first(&r).is_ok())
    });
    match NEXT.get() {
        // SAFETY: it is the next filter of nginx's chain.
        Some(next) if is_ready => unsafe { next(r) },
        _ => NGX_ERROR as ngx_int_t,
    }
}
