//! Bit fields, timers, and the checked layout of nginx's structures.
//!
//! Bit fields are read and written in C (`fields.c`, which says why), so that the C compiler decides
//! where a bit is. So are nginx's inline functions that use some. Other fields are plain members,
//! whose offsets the build compares with the C compiler's (`layout.txt`).

use nginx_sys::{
    ngx_buf_t, ngx_connection_t, ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_request_t,
    ngx_http_upstream_t, ngx_msec_t, ngx_queue_t, ngx_slab_pool_t, ngx_uint_t,
    ngx_variable_value_t,
};

// Assertions about the members of `layout.txt`.
include!(concat!(env!("OUT_DIR"), "/layout.rs"));

/// Declares the functions of `fields.c` for one structure as a module: `name()` reads the field,
/// `set_name()` writes it.
macro_rules! fields {
    ($($module:ident: $structure:ident {
        $($field:ident $(/ $set:ident)?: $kind:ty,)*
    })*) => {$(
        // A row may stand here before its first caller.
        #[allow(dead_code)]
        pub mod $module {
            use super::*;

            // SAFETY: the functions read or write one field of the structure behind the reference.
            unsafe extern "C" {
                $(
                    #[link_name = concat!("authgear_", stringify!($structure), "_", stringify!($field))]
                    pub safe fn $field(at: &$structure) -> $kind;
                    $(
                        #[link_name = concat!("authgear_", stringify!($structure), "_", stringify!($set))]
                        pub safe fn $set(at: &mut $structure, value: $kind);
                    )?
                )*
            }
        }
    )*};
}

fields! {
    request: ngx_http_request_t {
        background: bool,
        blocked: ngx_uint_t,
        cached: bool,
        count / set_count: ngx_uint_t,
        done: bool,
        error_page / set_error_page: bool,
        filter_finalize: bool,
        header_only / set_header_only: bool,
        header_sent: bool,
        internal: bool,
        invalid_header: bool,
        keepalive / set_keepalive: bool,
        limit_conn_status / set_limit_conn_status: ngx_uint_t,
        limit_req_status / set_limit_req_status: ngx_uint_t,
        logged / set_logged: bool,
        post_action: bool,
        subrequest_in_memory: bool,
        uri_changed: bool,
    }
    upstream: ngx_http_upstream_t {
        header_sent: bool,
        request_body_sent: bool,
        request_sent: bool,
        upgrade: bool,
    }
    location: ngx_http_core_loc_conf_t {
        exact_match: bool,
        named: bool,
        noname: bool,
    }
    value: ngx_variable_value_t {
        len / set_len: ngx_uint_t,
        escape / set_escape: bool,
        no_cacheable / set_no_cacheable: bool,
        not_found / set_not_found: bool,
        valid / set_valid: bool,
    }
    buffer: ngx_buf_t {
        last_buf / set_last_buf: bool,
        last_in_chain / set_last_in_chain: bool,
    }
    event: ngx_event_t {
        active / set_active: bool,
        cancelable / set_cancelable: bool,
        posted: bool,
        timedout / set_timedout: bool,
        timer_set: bool,
    }
    connection: ngx_connection_t {
        close: bool,
        destroyed: bool,
        error / set_error: bool,
    }
    slab_pool: ngx_slab_pool_t {
        log_nomem / set_log_nomem: bool,
    }
}

extern "C" {
    /// Sets a timer, or moves one that is set.
    ///
    /// # Safety
    ///
    /// The event must be live, with a log, and stay where it is while the timer is set.
    #[link_name = "authgear_add_timer"]
    pub fn add_timer(event: *mut ngx_event_t, milliseconds: ngx_msec_t);

    /// Removes a timer.
    ///
    /// # Safety
    ///
    /// The event must be live, and its timer set.
    #[link_name = "authgear_del_timer"]
    pub fn del_timer(event: *mut ngx_event_t);

    /// Queues the event for the event loop, unless it is queued.
    ///
    /// # Safety
    ///
    /// The event must be live, and `queue` one of nginx's queues of posted events.
    #[link_name = "authgear_post_event"]
    pub fn post_event(event: *mut ngx_event_t, queue: *mut ngx_queue_t);

    /// Takes an event out of the timers and the queue of posted events.
    ///
    /// # Safety
    ///
    /// The event must be live.
    #[link_name = "authgear_cancel_event"]
    pub fn cancel_event(event: *mut ngx_event_t);
}
