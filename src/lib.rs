//! An nginx module that validates Authgear's access tokens inside the worker.
//!
//! This file holds the module's tables and the functions that nginx calls. The crate
//! `authgear-core` decides; the modules below connect it to nginx. They depend on one another in one
//! direction, and none on this file: `request`, `revocation` and `status` → `worker` → `conf` → `keys` → `shm` → `nginx`, each
//! on any of those behind it.

#![cfg_attr(not(test), warn(unused_crate_dependencies))]

use core::ffi::{c_char, c_void};
use core::ptr;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_POST_READ_PHASE,
    ngx_http_phases_NGX_HTTP_REWRITE_PHASE, ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE,
    ngx_http_request_t, ngx_int_t, ngx_module_t, ngx_uint_t, NGX_ERROR,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_MODULE, NGX_OK,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::HttpModule;

use crate::conf::{AuthgearModule, LocationConf};
use crate::nginx::{guard, Conf, Failed, Request};
use crate::request::{access, login, variables, waiting};

/// Directives: tables, setters, merging, messages.
mod conf;
/// Tenants and the sources of their keys; the worker's parsed key sets, and the fetch of new ones.
mod keys;
/// Log lines that a client can cause, at most once a second.
mod log;
/// nginx's structures behind types. Imports nothing of this crate.
mod nginx;
/// One client request: judgement, headers, variables, challenges.
mod request;
/// Webhooks, and the file that keeps what they told.
mod revocation;
/// The shared zone: key sets, counters, and the resolver's answers.
mod shm;
/// The status page, and the metrics.
mod status;
/// The state of a worker that depends on the configuration.
mod worker;

static MODULE_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(AuthgearModule::create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(AuthgearModule::create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(AuthgearModule::create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
};

#[cfg(not(angie))]
const MODULE: ngx_module_t = ngx_module_t::default();

/// Angie compares a version of its own, and its sign where nginx has a spare field.
#[cfg(angie)]
const MODULE: ngx_module_t = ngx_module_t {
    spare1: (b'A' as ngx_uint_t)
        + (b'n' as ngx_uint_t)
        + (b'g' as ngx_uint_t)
        + (b'i' as ngx_uint_t)
        + (b'e' as ngx_uint_t),
    version: nginx_sys::angie_version as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The module as nginx knows it. `conf/module.rs` refers to it by its symbol, hence the export.
#[no_mangle]
#[allow(non_upper_case_globals)]
static mut ngx_http_authgear_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(MODULE_CONTEXT).cast_mut().cast(),
    commands: ptr::addr_of_mut!(conf::COMMANDS).cast::<ngx_command_t>(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    ..MODULE
};

static FIRST_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: Some(postconfiguration_of_first),
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

/// A second module without directives. nginx puts it behind all others, so its handlers are the
/// first of their phases, as nginx runs those in reverse: before `set`, `if` and `rewrite`, and before
/// `limit_req`.
#[allow(non_upper_case_globals)]
static mut ngx_http_authgear_first_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(FIRST_CONTEXT).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..MODULE
};

static LAST_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    postconfiguration: Some(postconfiguration_of_last),
    ..FIRST_CONTEXT
};

/// A third module without directives, before nginx's module of `expires` and `add_header`: nginx runs header
/// filters in reverse, so its filter has the last word.
#[allow(non_upper_case_globals)]
static mut ngx_http_authgear_last_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(LAST_CONTEXT).cast_mut().cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..MODULE
};

/// The symbols that `load_module` looks up: the modules in this file, their names, and their place
/// among nginx's own.
mod exports {
    use core::ffi::c_char;
    use core::ptr;

    use nginx_sys::ngx_module_t;

    /// A table of pointers that nothing writes after the module is loaded.
    #[repr(transparent)]
    pub struct Table<T, const N: usize>([*const T; N]);

    // SAFETY: the pointers are to statics and never change.
    unsafe impl<T, const N: usize> Sync for Table<T, N> {}

    #[no_mangle]
    #[allow(non_upper_case_globals)]
    static ngx_modules: Table<ngx_module_t, 4> = Table([
        ptr::addr_of!(super::ngx_http_authgear_module),
        ptr::addr_of!(super::ngx_http_authgear_first_module),
        ptr::addr_of!(super::ngx_http_authgear_last_module),
        ptr::null(),
    ]);

    #[no_mangle]
    #[allow(non_upper_case_globals)]
    static ngx_module_names: Table<c_char, 4> = Table([
        c"ngx_http_authgear_module".as_ptr(),
        c"ngx_http_authgear_first_module".as_ptr(),
        c"ngx_http_authgear_last_module".as_ptr(),
        ptr::null(),
    ]);

    /// Each module stands before all that are named behind it here; one that is not named stands behind all.
    /// The first is the module with the access handler. nginx runs
    /// access handlers in the reverse of this order: cheap refusals (`deny`, `auth_basic`) come
    /// before a signature is checked, and `auth_request` comes after it, so that its subrequest can
    /// use `$authgear_*`.
    #[no_mangle]
    #[allow(non_upper_case_globals)]
    static ngx_module_order: Table<c_char, 6> = Table([
        c"ngx_http_authgear_module".as_ptr(),
        c"ngx_http_auth_basic_module".as_ptr(),
        c"ngx_http_access_module".as_ptr(),
        c"ngx_http_authgear_last_module".as_ptr(),
        c"ngx_http_headers_filter_module".as_ptr(),
        ptr::null(),
    ]);
}

/// Handlers of the configuration: the function that nginx calls, and the one that does the work.
macro_rules! configuration_handlers {
    ($($name:ident => $handle:path,)*) => {$(
        unsafe extern "C" fn $name(cf: *mut ngx_conf_t) -> ngx_int_t {
            guard(NGX_ERROR as ngx_int_t, || {
                // SAFETY: nginx hands a valid configuration context over.
                let done: Result<(), Failed> = $handle(&unsafe { Conf::from_raw(cf) });
                done.map_or(NGX_ERROR as ngx_int_t, |()| NGX_OK as ngx_int_t)
            })
        }
    )*};
}

configuration_handlers! {
    preconfiguration => prepare,
    postconfiguration => finish,
    postconfiguration_of_first => register_first,
    postconfiguration_of_last => register_last,
}

/// Registers the variables, and hands over the functions that configuration refers to.
fn prepare(cf: &Conf) -> Result<(), Failed> {
    cf.main_conf().set_claim_getter(variables::get_claim_at);
    cf.main_conf().set_status_handler(status_handler);
    cf.main_conf().set_receivers(webhook_handler, login_handler);
    variables::register(cf)
}

/// Registers the access handler, and checks the whole configuration.
fn finish(cf: &Conf) -> Result<(), Failed> {
    cf.add_phase_handler(ngx_http_phases_NGX_HTTP_ACCESS_PHASE, access_handler)?;
    conf::finish(cf)
}

/// Registers the handlers that run before those of all other modules.
fn register_first(cf: &Conf) -> Result<(), Failed> {
    cf.add_phase_handler(ngx_http_phases_NGX_HTTP_POST_READ_PHASE, post_read_handler)?;
    let phase = ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE;
    cf.add_phase_handler(phase, server_rewrite_handler)?;
    cf.add_phase_handler(ngx_http_phases_NGX_HTTP_REWRITE_PHASE, rewrite_handler)?;
    cf.add_first_preaccess_handler(preaccess_handler)?;
    cf.add_first_log_handler(log_handler)?;
    nginx::set_first_header_filter(access::before_header);
    Ok(())
}

/// Registers the filter that runs after all that change headers.
fn register_last(cf: &Conf) -> Result<(), Failed> {
    if cf.main_conf().has_login() {
        nginx::set_last_header_filter(login::forbid_caching);
    }
    Ok(())
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    prev: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    guard(NGX_CONF_ERROR, || {
        // SAFETY: nginx hands over a valid context and two structures that `create_loc_conf`
        // made.
        let (cf, prev, conf) = unsafe {
            (
                Conf::from_raw(cf),
                &*prev.cast::<LocationConf>(),
                &mut *conf.cast::<LocationConf>(),
            )
        };
        conf.merge(prev, &cf)
            .map_or(NGX_CONF_ERROR, |()| NGX_CONF_OK)
    })
}

/// Handlers of phases and locations: the function that nginx calls, and the one that does the work.
macro_rules! phase_handlers {
    ($($name:ident => $handle:path,)*) => {$(
        unsafe extern "C" fn $name(r: *mut ngx_http_request_t) -> ngx_int_t {
            guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
                // SAFETY: nginx hands a live request over.
                $handle(&unsafe { Request::from_raw(r) })
            })
        }
    )*};
}

phase_handlers! {
    post_read_handler => access::post_read,
    server_rewrite_handler => access::server_rewrite,
    rewrite_handler => access::rewrite,
    preaccess_handler => access::preaccess,
    access_handler => access::access,
    log_handler => access::log,
    status_handler => status::answer,
    webhook_handler => revocation::receive_webhook,
    login_handler => login::end,
}

extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        worker::reset(cycle);
        // SAFETY: nginx hands the live cycle over.
        revocation::prepare(unsafe { &*cycle });
        NGX_OK as ngx_int_t
    })
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands the live cycle over.
        let cycle = unsafe { &*cycle };
        worker::start(cycle, waiting::poll);
        revocation::start(cycle);
        NGX_OK as ngx_int_t
    })
}
