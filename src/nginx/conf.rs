//! nginx's configuration while it is read, and values compiled from it.

use core::ffi::{c_char, c_void, CStr};
use core::fmt;
use core::ptr::{self, NonNull};
use core::{mem, slice, str};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nginx_sys::{
    ngx_add_path, ngx_array_push, ngx_conf_full_name, ngx_conf_t, ngx_http_compile_complex_value,
    ngx_http_compile_complex_value_t, ngx_http_complex_value, ngx_http_complex_value_t,
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_handler_pt,
    ngx_http_request_t, ngx_int_t, ngx_list_part_t, ngx_module_t, ngx_path_t, ngx_pcalloc,
    ngx_shm_zone_t, ngx_str_t, ngx_uint_t, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::fields::location;
use super::{bytes, Failed, Pool, Request};

/// nginx's configuration context while a directive is read.
pub struct Conf(NonNull<ngx_conf_t>);

impl Conf {
    /// # Safety
    ///
    /// `cf` must be the context of the configuration being read, and the value must not outlive
    /// the callback.
    pub unsafe fn from_raw(cf: *mut ngx_conf_t) -> Self {
        // SAFETY: nginx never passes a null context.
        Self(unsafe { NonNull::new_unchecked(cf) })
    }

    pub fn raw(&self) -> *mut ngx_conf_t {
        self.0.as_ptr()
    }

    pub fn pool(&self) -> Pool {
        // SAFETY: the context is live.
        Pool(unsafe { (*self.raw()).pool })
    }

    /// Reads the file that the directive `include` names, as nginx's own blocks do.
    pub fn include(&self) -> Result<(), Failed> {
        // SAFETY: the context is live; nginx looks at its words alone.
        let status =
            unsafe { nginx_sys::ngx_conf_include(self.raw(), ptr::null_mut(), ptr::null_mut()) };
        match status.is_null() {
            true => Ok(()),
            false => Err(Failed),
        }
    }

    /// The directive's words, its name first. `Err` says which directive has one that is not
    /// UTF-8.
    pub fn words(&self) -> Result<Vec<&str>, String> {
        // SAFETY: the context is live, and `args` is an array of `ngx_str_t`, whose texts live in
        // the configuration's pool.
        let words: Vec<&[u8]> = unsafe {
            let args: &[ngx_str_t] = (*(*self.raw()).args).as_slice();
            args.iter().map(|arg| bytes(arg)).collect()
        };
        words
            .iter()
            .map(|word| str::from_utf8(word))
            .collect::<Result<_, _>>()
            .map_err(|_| {
                let name = String::from_utf8_lossy(words[0]).into_owned();
                format!("\"{name}\" has a parameter that is not UTF-8")
            })
    }

    /// Logs a mistake that stops nginx; nginx appends the file and line.
    pub fn emerg(&self, message: impl fmt::Display) {
        ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.raw(), "authgear: {message}");
    }

    /// Like [`Conf::emerg`], for a mistake that stands at no one line.
    pub fn emerg_nowhere(&self, message: impl fmt::Display) {
        // SAFETY: the context's log is live.
        let log = unsafe { (*self.raw()).log };
        ngx::ngx_log_error!(NGX_LOG_EMERG, log, "authgear: {message}");
    }

    /// Tells whether another module has asked for a shared memory zone of that name.
    pub fn is_zone_taken(&self, name: &str, tag: *mut c_void) -> bool {
        // SAFETY: the cycle's list holds `ngx_shm_zone_t`, and lives as long as the context.
        unsafe {
            let mut part: *const ngx_list_part_t = &(*(*self.raw()).cycle).shared_memory.part;
            while let Some(zones) = part.as_ref() {
                let of_part =
                    slice::from_raw_parts(zones.elts.cast::<ngx_shm_zone_t>(), zones.nelts);
                if of_part
                    .iter()
                    .any(|zone| bytes(&zone.shm.name) == name.as_bytes() && zone.tag != tag)
                {
                    return true;
                }
                part = zones.next;
            }
        }
        false
    }

    /// The location whose configuration is being merged.
    pub fn location(&self) -> LocationAt {
        // SAFETY: while nginx merges, the context's `ctx` is that of the level being merged, which
        // holds a structure for each module.
        unsafe {
            let levels = (*self.raw()).ctx.cast::<ngx_http_conf_ctx_t>();
            let core = ptr::addr_of!(nginx_sys::ngx_http_core_module);
            let conf = (*levels).loc_conf.add((*core).ctx_index);
            let core = &*(*conf).cast::<ngx_http_core_loc_conf_t>();
            let is_named_place = core.name.len > 0 && !location::noname(core);
            LocationAt {
                name: is_named_place
                    .then(|| String::from_utf8_lossy(bytes(&core.name)).into_owned()),
                is_leaf: (is_named_place || location::noname(core)) && core.locations.is_null(),
                is_internal: core.internal == 1,
                confs: LocationConfs((*levels).loc_conf),
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

    /// The http module of that name, if nginx has it.
    fn http_module(&self, name: &CStr) -> Option<&ngx_module_t> {
        // SAFETY: the cycle's list of modules ends with a null pointer, and each has a name that
        // ends with a zero.
        unsafe {
            let mut module = (*(*self.raw()).cycle).modules;
            while let Some(one) = (*module).as_ref() {
                if CStr::from_ptr(one.name) == name {
                    return Some(one);
                }
                module = module.add(1);
            }
        }
        None
    }

    /// Logs something that an administrator should look at; nginx appends the file and line.
    pub fn warn(&self, message: impl fmt::Display) {
        ngx::ngx_conf_log_error!(NGX_LOG_WARN, self.raw(), "authgear: {message}");
    }

    /// The file and line of the directive, for a mistake that is found later.
    pub fn place(&self) -> Place {
        // SAFETY: the context is live; `conf_file` is null only for `-g` parameters.
        unsafe {
            let Some(file) = (*self.raw()).conf_file.as_ref() else {
                return Place::default();
            };
            Place {
                file: String::from_utf8_lossy(bytes(&file.file.name)).into_owned(),
                line: file.line,
            }
        }
    }

    /// Like [`Conf::emerg`], for a directive that was read before.
    pub fn emerg_at(&self, place: &Place, message: impl fmt::Display) {
        self.emerg_nowhere(format_args!("{message} in {place}"));
    }

    /// Like [`Conf::warn`], for a directive that was read before.
    pub fn warn_at(&self, place: &Place, message: impl fmt::Display) {
        self.warn_nowhere(format_args!("{message} in {place}"));
    }

    /// Like [`Conf::warn`], for something that stands at no one line.
    pub fn warn_nowhere(&self, message: impl fmt::Display) {
        // SAFETY: the context's log is live.
        let log = unsafe { (*self.raw()).log };
        ngx::ngx_log_error!(NGX_LOG_WARN, log, "authgear: {message}");
    }

    /// The absolute path of a file that a directive names, as nginx's own directives take it.
    pub fn full_name(&self, path: &str) -> Result<String, Failed> {
        let mut name = self.pool().copy(format!("{path}\0").as_bytes())?;
        name.len -= 1;
        // SAFETY: the context's cycle is live, and the name has its terminating zero.
        unsafe {
            if ngx_conf_full_name((*self.raw()).cycle, &mut name, 1) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            Ok(String::from_utf8_lossy(bytes(&name)).into_owned())
        }
    }

    /// Has nginx make a folder for the workers' user alone, as it does for `proxy_cache_path`.
    pub fn add_private_folder(&self, path: &str) -> Result<PathBuf, Failed> {
        let mut name = self.pool().copy(format!("{path}\0").as_bytes())?;
        name.len -= 1;
        // SAFETY: the context, its cycle and its pool are live; an all-zero path has no levels
        // and nobody who manages it.
        unsafe {
            let cf = self.raw();
            if ngx_conf_full_name((*cf).cycle, &mut name, 0) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            let path = ngx_pcalloc((*cf).pool, mem::size_of::<ngx_path_t>()).cast::<ngx_path_t>();
            let mut slot = NonNull::new(path).ok_or(Failed)?.as_ptr();
            (*slot).name = name;
            (*slot).conf_file = (*(*cf).conf_file).file.name.data;
            (*slot).line = (*(*cf).conf_file).line;
            if ngx_add_path(cf, &mut slot) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            Ok(OsStr::from_bytes(bytes(&name)).into())
        }
    }

    /// Compiles a parameter that may hold variables.
    pub fn complex_value(&self, text: &str) -> Result<ComplexValue, Failed> {
        let mut source = self.pool().copy(text.as_bytes())?;
        // SAFETY: all-zero is what nginx expects of both structures before it fills them; the
        // value is allocated in the configuration's pool and lives as long as it.
        unsafe {
            let value = ngx_pcalloc(
                (*self.raw()).pool,
                mem::size_of::<ngx_http_complex_value_t>(),
            )
            .cast::<ngx_http_complex_value_t>();
            let value = NonNull::new(value).ok_or(Failed)?;
            let mut compile: ngx_http_compile_complex_value_t = mem::zeroed();
            compile.cf = self.raw();
            compile.value = &mut source;
            compile.complex_value = value.as_ptr();
            if ngx_http_compile_complex_value(&mut compile) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            Ok(ComplexValue(value))
        }
    }

    /// Puts `handler` before all others of the log phase, which nginx runs in their order.
    pub fn add_first_log_handler(
        &self,
        handler: extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
    ) -> Result<(), Failed> {
        self.add_phase_handler(nginx_sys::ngx_http_phases_NGX_HTTP_LOG_PHASE, handler)?;
        // SAFETY: the context is live; the core module's configuration is the structure named, and
        // its array holds handlers, the last of which was just added.
        unsafe {
            let core: &mut ngx_http_core_main_conf_t =
                NgxHttpCoreModule::main_conf_mut(self.0.as_ref()).ok_or(Failed)?;
            let phase = nginx_sys::ngx_http_phases_NGX_HTTP_LOG_PHASE as usize;
            let handlers = &core.phases[phase].handlers;
            let all = slice::from_raw_parts_mut(
                handlers.elts.cast::<ngx_http_handler_pt>(),
                handlers.nelts,
            );
            all.rotate_right(1);
        }
        Ok(())
    }

    /// Puts `handler` into one of nginx's request phases.
    pub fn add_phase_handler(
        &self,
        phase: nginx_sys::ngx_http_phases,
        handler: extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
    ) -> Result<(), Failed> {
        // SAFETY: the context is live; the core module's configuration is the structure named.
        unsafe {
            let core: &mut ngx_http_core_main_conf_t =
                NgxHttpCoreModule::main_conf_mut(self.0.as_ref()).ok_or(Failed)?;
            let slot = ngx_array_push(&mut core.phases[phase as usize].handlers)
                .cast::<ngx_http_handler_pt>();
            if slot.is_null() {
                return Err(Failed);
            }
            slot.write(Some(handler));
        }
        Ok(())
    }
}

/// The structures that all modules have for one location; they live as long as the configuration.
#[derive(Debug, Clone, Copy)]
pub struct LocationConfs(*mut *mut c_void);

/// A location, as far as the module looks at what other modules do there.
#[derive(Debug)]
pub struct LocationAt {
    /// As the configuration names it; `None` for a server, an `if` and a `limit_except`.
    pub name: Option<String>,
    /// Whether it is a location, an `if` or a `limit_except`, and no other is inside it.
    pub is_leaf: bool,
    /// Whether clients cannot ask it.
    pub is_internal: bool,
    /// The structures of all modules.
    pub confs: LocationConfs,
}

impl LocationAt {
    /// Tells whether it is a location that clients can ask.
    pub fn is_open(&self) -> bool {
        let is_named = self.name.as_ref().is_some_and(|name| name.starts_with('@'));
        self.name.is_some() && !is_named && !self.is_internal
    }
}

/// A line of a configuration file.
#[derive(Debug, Clone, Default)]
pub struct Place {
    file: String,
    line: ngx_uint_t,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A parameter that may hold variables, compiled.
#[derive(Debug, Clone, Copy)]
pub struct ComplexValue(NonNull<ngx_http_complex_value_t>);

impl ComplexValue {
    /// The value for this request, which lives as long as the request.
    pub fn evaluate(self, r: &Request) -> Result<&[u8], Failed> {
        let mut value = ngx_str_t::empty();
        // SAFETY: the request and the compiled value are live.
        unsafe {
            if ngx_http_complex_value(r.raw(), self.0.as_ptr(), &mut value) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            Ok(bytes(&value))
        }
    }
}

/// A directive handler's "error, already logged".
pub const CONF_ERROR: *mut c_char = ngx::core::NGX_CONF_ERROR;
