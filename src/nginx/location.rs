//! A location whose configuration is merged, and what other modules do there.

use core::ffi::c_void;
use core::ptr;

use nginx_sys::{ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t};

use super::conf::Conf;
use super::fields::location;
use super::listeners::ServerAt;
use super::phases::PhaseHandler;
use super::text::bytes;

/// The structures that all modules have for one location.
///
/// They live as long as the configuration, and must be kept in its structures alone, as a
/// [`ComplexValue`](super::ComplexValue).
#[derive(Debug, Clone, Copy)]
pub struct LocationConfs(*mut *mut c_void);

/// A location, as far as the module looks at what other modules do there.
#[derive(Debug, Clone)]
pub struct LocationAt {
    /// As the configuration names it; `None` for a server, an `if` and a `limit_except`.
    pub name: Option<String>,
    /// True for a location, an `if` or a `limit_except` that no other is inside of.
    pub is_leaf: bool,
    /// True when clients cannot ask it.
    pub is_internal: bool,
    /// The structures of all modules.
    pub confs: LocationConfs,
    /// The handler that answers its requests, if one was set.
    pub handler: Option<PhaseHandler>,
    /// The server that it is in.
    pub server: ServerAt,
}

impl LocationAt {
    /// Tells whether it is a location that clients can ask.
    pub fn is_open(&self) -> bool {
        let is_named = self.name.as_ref().is_some_and(|name| name.starts_with('@'));
        self.name.is_some() && !is_named && !self.is_internal
    }
}

impl Conf {
    /// The location whose configuration is being merged.
    pub fn location(&self) -> LocationAt {
        // SAFETY: while nginx merges, the context's `ctx` is that of the level being merged, which
        // holds a structure for each module.
        unsafe {
            let levels = self.get().ctx.cast::<ngx_http_conf_ctx_t>();
            let core_module = &*ptr::addr_of!(nginx_sys::ngx_http_core_module);
            let conf = (*levels).loc_conf.add(core_module.ctx_index);
            let core = &*(*conf).cast::<ngx_http_core_loc_conf_t>();
            let is_named_place = core.name.len > 0 && !location::noname(core);
            LocationAt {
                name: is_named_place
                    .then(|| String::from_utf8_lossy(bytes(&core.name)).into_owned()),
                is_leaf: (is_named_place || location::noname(core)) && core.locations.is_null(),
                is_internal: core.internal == 1,
                confs: LocationConfs((*levels).loc_conf),
                handler: core.handler,
                server: ServerAt(*(*levels).srv_conf.add(core_module.ctx_index)),
            }
        }
    }

    /// True when `proxy_cache` is in force in a location, after all levels were merged.
    #[cfg(ngx_feature = "http_cache")]
    pub fn is_proxy_cached(&self, confs: LocationConfs) -> bool {
        self.http_module(c"ngx_http_proxy_module")
            .is_some_and(|module| {
                // SAFETY: the structures live as long as the configuration; the proxy module's begins
                // with that of its upstream.
                unsafe {
                    let conf = *confs.0.add(module.ctx_index);
                    let upstream = &*conf.cast::<nginx_sys::ngx_http_upstream_conf_t>();
                    !upstream.cache_zone.is_null() || !upstream.cache_value.is_null()
                }
            })
    }

    /// Never true: this nginx has no cache.
    #[cfg(not(ngx_feature = "http_cache"))]
    pub fn is_proxy_cached(&self, _: LocationConfs) -> bool {
        false
    }

    /// True when `allow` or `deny` is in force in a location, after all levels were merged.
    pub fn has_access_rules(&self, confs: LocationConfs) -> bool {
        self.http_module(c"ngx_http_access_module")
            .is_some_and(|module| {
                // SAFETY: the structures live as long as the configuration. The access module's, which no
                // header declares, begins with the pointer to its rules, null without any.
                unsafe { !(*(*confs.0.add(module.ctx_index)).cast::<*const c_void>()).is_null() }
            })
    }

    /// The http module of that name, if nginx has it.
    fn http_module(&self, name: &core::ffi::CStr) -> Option<&nginx_sys::ngx_module_t> {
        // SAFETY: the cycle's list of modules ends with a null pointer, and each has a name that
        // ends with a zero.
        unsafe {
            let mut module = (*self.get().cycle).modules;
            while let Some(one) = (*module).as_ref() {
                if core::ffi::CStr::from_ptr(one.name) == name {
                    return Some(one);
                }
                module = module.add(1);
            }
        }
        None
    }
}
