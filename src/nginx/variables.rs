//! The slots of a request's variables.

use core::{mem, ptr, slice};

use nginx_sys::{ngx_http_core_main_conf_t, ngx_http_variable_t, ngx_palloc, ngx_variable_value_t};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::conf::Conf;
use super::guard::Failed;
use super::request::Request;
use super::text::bytes;

impl Request {
    /// Gives a subrequest a copy of its parent's variables, so that `set` in its server or location
    /// changes nothing of the parent's. Those at `of_headers` are forgotten: the subrequest has
    /// other headers.
    pub fn own_variables(&self, of_headers: &[usize]) -> Result<(), Failed> {
        let count = core_main_conf(self).variables.nelts;
        let size = mem::size_of::<ngx_variable_value_t>();
        // SAFETY: the request is live, its pool too, and its variables are as many as the core
        // module's list says. Both pieces of memory are aligned for pointers and do not overlap.
        unsafe {
            let own = ngx_palloc(self.pool().raw(), count * size).cast::<ngx_variable_value_t>();
            if own.is_null() {
                return Err(Failed);
            }
            ptr::copy_nonoverlapping(self.get().variables, own, count);
            (*self.raw()).variables = own;
        }
        self.forget_variables(of_headers);
        Ok(())
    }

    /// Has nginx evaluate variables again when they are read next.
    pub fn forget_variables(&self, indices: &[usize]) {
        let count = core_main_conf(self).variables.nelts;
        for &index in indices.iter().filter(|index| **index < count) {
            // SAFETY: the request is live, and has so many variables.
            unsafe { self.get().variables.add(index).write(mem::zeroed()) };
        }
    }
}

impl Conf {
    /// True when something in the configuration reads the variable of that name.
    pub fn reads_variable(&self, name: &str) -> bool {
        let Some(main) = NgxHttpCoreModule::main_conf(self.get()) else {
            return false;
        };
        indexed(main).any(|read| read == name.as_bytes())
    }
}

/// The indices of the variables whose values are made from request headers.
pub fn variables_of_headers(r: &Request) -> Box<[usize]> {
    let is_of_header = |name: &[u8]| {
        name.starts_with(b"http_")
            || name.starts_with(b"cookie_")
            || name == b"content_length"
            || name == b"content_type"
            || name == b"proxy_add_x_forwarded_for"
    };
    let names = indexed(core_main_conf(r)).enumerate();
    names
        .filter_map(|(index, name)| is_of_header(name).then_some(index))
        .collect()
}

/// The names of the variables that are read, by their index.
fn indexed(main: &ngx_http_core_main_conf_t) -> impl Iterator<Item = &[u8]> {
    let list = &main.variables;
    // SAFETY: the core module's list holds so many variables, and lives as long as the
    // configuration; so do their names.
    unsafe {
        slice::from_raw_parts(list.elts.cast::<ngx_http_variable_t>(), list.nelts)
            .iter()
            .map(|variable| bytes(&variable.name))
    }
}

fn core_main_conf(r: &Request) -> &ngx_http_core_main_conf_t {
    NgxHttpCoreModule::main_conf(r.get()).expect("nginx makes a core configuration")
}
