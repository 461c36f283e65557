//! An nginx module that validates Authgear's access tokens inside the worker.
//!
//! The module's tables and its places in nginx's phases stand here; what decides lives in the
//! crate `authgear-core`, and what touches nginx in the modules below.

use core::ffi::{c_char, c_void};
use core::ptr;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_module_t,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_POST_READ_PHASE,
    ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, ngx_http_phases_NGX_HTTP_REWRITE_PHASE,
    ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE, ngx_http_request_t, ngx_int_t, ngx_module_t,
    ngx_uint_t, NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_MODULE, NGX_OK,
};
use ngx::core::{NGX_CONF_ERROR, NGX_CONF_OK};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

use crate::conf::{LocationConf, MainConf, ServerConf};
use crate::nginx::{guard, Conf, Failed, Request};
use crate::request::{access, variables};

mod conf;
mod keys;
mod nginx;
mod prefetch;
mod request;
mod shm;
mod worker;

struct AuthgearModule;

static MODULE_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(AuthgearModule::preconfiguration),
    postconfiguration: Some(AuthgearModule::postconfiguration),
    create_main_conf: Some(AuthgearModule::create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(AuthgearModule::create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(AuthgearModule::create_loc_conf),
    merge_loc_conf: Some(merge_loc_conf),
};

/// The module as nginx knows it.
#[allow(non_upper_case_globals)]
static mut ngx_http_authgear_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(MODULE_CONTEXT).cast_mut().cast(),
    commands: ptr::addr_of_mut!(conf::COMMANDS).cast::<ngx_command_t>(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    ..ngx_module_t::default()
};

static FIRST_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: Some(register_first),
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
    ..ngx_module_t::default()
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
    static ngx_modules: Table<ngx_module_t, 3> = Table([
        ptr::addr_of!(super::ngx_http_authgear_module),
        ptr::addr_of!(super::ngx_http_authgear_first_module),
        ptr::null(),
    ]);

    #[no_mangle]
    #[allow(non_upper_case_globals)]
    static ngx_module_names: Table<c_char, 3> = Table([
        c"ngx_http_authgear_module".as_ptr(),
        c"ngx_http_authgear_first_module".as_ptr(),
        ptr::null(),
    ]);

    /// Of the first module alone; the other stands behind all. nginx runs access handlers in the reverse of this order: cheap refusals (`deny`,
    /// `auth_basic`) come before a signature is checked, and `auth_request` comes after it, so
    /// that its subrequest can use `$authgear_*`.
    #[no_mangle]
    #[allow(non_upper_case_globals)]
    static ngx_module_order: Table<c_char, 4> = Table([
        c"ngx_http_authgear_module".as_ptr(),
        c"ngx_http_auth_basic_module".as_ptr(),
        c"ngx_http_access_module".as_ptr(),
        ptr::null(),
    ]);
}

impl HttpModule for AuthgearModule {
    fn module() -> &'static ngx_module_t {
        // SAFETY: nginx fills the module's index in before it calls anything here, and never
        // changes it while requests or configuration refer to it.
        unsafe { &*ptr::addr_of!(ngx_http_authgear_module) }
    }

    unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        guard(NGX_ERROR as ngx_int_t, || {
            // SAFETY: nginx hands a valid configuration context over.
            let cf = unsafe { Conf::from_raw(cf) };
            cf.main_conf().set_claim_getter(variables::get_claim_at);
            variables::register(&cf).map_or(NGX_ERROR as ngx_int_t, |()| NGX_OK as ngx_int_t)
        })
    }

    unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
        guard(NGX_ERROR as ngx_int_t, || {
            // SAFETY: nginx hands a valid configuration context over.
            let cf = unsafe { Conf::from_raw(cf) };
            let registered = cf
                .add_phase_handler(ngx_http_phases_NGX_HTTP_ACCESS_PHASE, access_handler)
                .and_then(|()| conf::finish(&cf));
            registered.map_or(NGX_ERROR as ngx_int_t, |()| NGX_OK as ngx_int_t)
        })
    }
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

// SAFETY: `create_main_conf` allocates this type for this module.
unsafe impl HttpModuleMainConf for AuthgearModule {
    type MainConf = MainConf;
}

// SAFETY: `create_srv_conf` allocates this type for this module.
unsafe impl HttpModuleServerConf for AuthgearModule {
    type ServerConf = ServerConf;
}

// SAFETY: `create_loc_conf` allocates this type for this module.
unsafe impl HttpModuleLocationConf for AuthgearModule {
    type LocationConf = LocationConf;
}

unsafe extern "C" fn register_first(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands a valid configuration context over.
        let cf = unsafe { Conf::from_raw(cf) };
        let register = || -> Result<(), Failed> {
            cf.add_phase_handler(ngx_http_phases_NGX_HTTP_POST_READ_PHASE, post_read_handler)?;
            let phase = ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE;
            cf.add_phase_handler(phase, server_rewrite_handler)?;
            cf.add_phase_handler(ngx_http_phases_NGX_HTTP_REWRITE_PHASE, rewrite_handler)?;
            cf.add_phase_handler(ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, preaccess_handler)?;
            cf.add_first_log_handler(log_handler)?;
            nginx::set_first_header_filter(before_header);
            Ok(())
        };
        register().map_or(NGX_ERROR as ngx_int_t, |()| NGX_OK as ngx_int_t)
    })
}

/// Handlers of phases: what nginx calls, and the function that does it.
macro_rules! phase_handlers {
    ($($name:ident => $handle:path,)*) => {$(
        extern "C" fn $name(r: *mut ngx_http_request_t) -> ngx_int_t {
            guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
                // SAFETY: nginx hands a live request over.
                $handle(&unsafe { Request::from_raw(r) })
            })
        }
    )*};
}

/// Runs before any module adds a header to the response.
fn before_header(r: &Request) -> Result<(), Failed> {
    access::before_header(r)
}

phase_handlers! {
    post_read_handler => access::post_read,
    server_rewrite_handler => access::server_rewrite,
    rewrite_handler => access::rewrite,
    preaccess_handler => access::preaccess,
    access_handler => access::access,
    log_handler => access::log,
}

extern "C" fn init_module(_: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        worker::renew();
        NGX_OK as ngx_int_t
    })
}

extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands the live cycle over.
        worker::start(unsafe { &*cycle });
        NGX_OK as ngx_int_t
    })
}
