//! The configuration while it is read: words, files, zones.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::{slice, str};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nginx_sys::{
    ngx_add_path, ngx_conf_full_name, ngx_conf_include, ngx_conf_t, ngx_list_part_t, ngx_path_t,
    ngx_shm_zone_t, ngx_str_t, ngx_uint_t,
};

use super::guard::{check, Failed};
use super::pool::Pool;
use super::text::bytes;

/// nginx's configuration context while a directive is read.
pub struct Conf(NonNull<ngx_conf_t>);

impl Conf {
    /// # Safety
    ///
    /// `cf` must be the context of the configuration being read, and the value must not outlive
    /// the callback.
    pub unsafe fn from_raw(cf: *mut ngx_conf_t) -> Self {
        // SAFETY: a pointer to a live context is not null.
        Self(unsafe { NonNull::new_unchecked(cf) })
    }

    /// The context itself, for nginx's functions.
    pub fn raw(&self) -> *mut ngx_conf_t {
        self.0.as_ptr()
    }

    /// The context, to read fields of it. The reference must be gone before nginx runs again.
    pub(super) fn get(&self) -> &ngx_conf_t {
        // SAFETY: the context is live, and this folder, which alone sees the reference, reads a
        // field through it at a time.
        unsafe { self.0.as_ref() }
    }

    /// The configuration's pool.
    pub fn pool(&self) -> Pool<'_> {
        // SAFETY: the context is live, and so is its pool.
        unsafe { Pool::from_raw(self.get().pool) }
    }

    /// Reads the file that the directive `include` names, as nginx's own blocks do.
    pub fn include(&self) -> Result<(), Failed> {
        // SAFETY: the context is live; nginx looks at its words alone.
        let status = unsafe { ngx_conf_include(self.raw(), ptr::null_mut(), ptr::null_mut()) };
        if status.is_null() {
            Ok(())
        } else {
            Err(Failed)
        }
    }

    /// The directive's words, its name first. `Err` says which directive has one that is not
    /// UTF-8.
    pub fn words(&self) -> Result<Vec<&str>, String> {
        // SAFETY: the context is live, and `args` is an array of `ngx_str_t`, whose texts live in
        // the configuration's pool.
        let words: Vec<&[u8]> = unsafe {
            let args: &[ngx_str_t] = (*self.get().args).as_slice();
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

    /// Tells whether another module has asked for a shared memory zone of that name.
    pub fn is_zone_taken(&self, name: &str, tag: *mut c_void) -> bool {
        // SAFETY: the cycle's list holds `ngx_shm_zone_t`, and lives as long as the context.
        unsafe {
            let mut part: *const ngx_list_part_t = &(*self.get().cycle).shared_memory.part;
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

    /// The absolute path of a file that a directive names, as nginx's own directives take it.
    pub fn full_name(&self, path: &str) -> Result<String, Failed> {
        const IN_CONF: ngx_uint_t = 1;
        let name = self.absolute(path, IN_CONF)?;
        // SAFETY: the name lives in the configuration's pool.
        Ok(String::from_utf8_lossy(unsafe { bytes(&name) }).into_owned())
    }

    /// Has nginx make a folder for the workers' user alone, as it does for `proxy_cache_path`.
    pub fn add_private_folder(&self, path: &str) -> Result<PathBuf, Failed> {
        const IN_PREFIX: ngx_uint_t = 0;
        let name = self.absolute(path, IN_PREFIX)?;
        let path = self.pool().zeroed::<ngx_path_t>()?;
        // SAFETY: the context and its file are live; an all-zero path has no levels and nobody who
        // manages it. The name lives in the configuration's pool.
        unsafe {
            let mut slot = path.as_ptr();
            let file = self.get().conf_file;
            (*slot).name = name;
            (*slot).conf_file = (*file).file.name.data;
            (*slot).line = (*file).line;
            check(ngx_add_path(self.raw(), &mut slot))?;
            Ok(OsStr::from_bytes(bytes(&name)).into())
        }
    }

    /// `path` below nginx's folder of configuration files, or below its prefix, unless it is
    /// absolute.
    fn absolute(&self, path: &str, in_conf: ngx_uint_t) -> Result<ngx_str_t, Failed> {
        let mut name = self.pool().copy(format!("{path}\0").as_bytes())?;
        name.len -= 1;
        // SAFETY: the context's cycle is live, and the name has its terminating zero.
        check(unsafe { ngx_conf_full_name(self.get().cycle, &mut name, in_conf) })?;
        Ok(name)
    }
}
