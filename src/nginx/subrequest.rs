//! Subrequests: what nginx shares between them and their parent, made their own.

use core::ptr::{self, NonNull};
use core::{mem, slice};

use nginx_sys::{
    ngx_http_core_main_conf_t, ngx_http_finalize_request, ngx_http_headers_in_t,
    ngx_http_post_request, ngx_http_request_t, ngx_http_variable_t, ngx_int_t, ngx_list_init,
    ngx_palloc, ngx_str_t, ngx_table_elt_t, ngx_variable_value_t, NGX_OK,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::{bytes, push_header, Failed, Request, RequestHeader};

static AUTHORIZATION: RequestHeader = RequestHeader::new("Authorization", "authorization");
static COOKIE: RequestHeader = RequestHeader::new("Cookie", "cookie");

impl Request {
    /// The request that a subrequest belongs to; `None` for the client's own.
    pub fn parent(&self) -> Option<Request> {
        // SAFETY: the request is live, and so is its parent.
        unsafe {
            let parent = NonNull::new((*self.raw()).parent)?;
            Some(Request::from_raw(parent.as_ptr()))
        }
    }

    /// The path, decoded, as nginx chooses the location by it.
    pub fn uri(&self) -> &[u8] {
        // SAFETY: the request is live.
        unsafe { bytes(&(*self.raw()).uri) }
    }

    /// The status of the response; 0 before there is one.
    pub fn status(&self) -> usize {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).headers_out.status }
    }

    /// Has nginx run a request's phases again before it returns to the event loop.
    pub fn post(&self) {
        // SAFETY: the request is live. Without memory it is not run; its client then waits for
        // nothing more than its own time limit.
        unsafe { ngx_http_post_request(self.raw(), ptr::null_mut()) };
    }

    /// Ends a request, from a handler that then returns `NGX_DONE`.
    pub fn finalize(&self, status: ngx_int_t) {
        // SAFETY: the request is live.
        unsafe { ngx_http_finalize_request(self.raw(), status) };
    }

    /// Gives a subrequest a copy of its parent's variables, so that `set` in its server or location
    /// changes nothing of the parent's. Those at `of_headers` are forgotten: the subrequest has
    /// other headers.
    pub fn own_variables(&self, of_headers: &[usize]) -> Result<(), Failed> {
        let count = core_main_conf(self).variables.nelts;
        let size = mem::size_of::<ngx_variable_value_t>();
        // SAFETY: the request is live, its pool too, and its variables are as many as the core
        // module's list says. Both pieces of memory are aligned for pointers and do not overlap.
        unsafe {
            let request: *mut ngx_http_request_t = self.raw();
            let own = ngx_palloc((*request).pool, count * size).cast::<ngx_variable_value_t>();
            if own.is_null() {
                return Err(Failed);
            }
            ptr::copy_nonoverlapping((*request).variables, own, count);
            for &index in of_headers.iter().filter(|index| **index < count) {
                own.add(index).write(mem::zeroed());
            }
            (*request).variables = own;
        }
        Ok(())
    }

    /// Has nginx evaluate variables again when they are read next.
    pub fn forget_variables(&self, indices: &[usize]) {
        let count = core_main_conf(self).variables.nelts;
        for &index in indices.iter().filter(|index| **index < count) {
            // SAFETY: the request is live, and has so many variables.
            unsafe { (*self.raw()).variables.add(index).write(mem::zeroed()) };
        }
    }

    /// Gives a subrequest headers of its own: `Authorization` and `Cookie` unless they are empty, the
    /// client's `User-Agent`, and nothing else. It has no body, whatever the client sends.
    pub fn carry_only(&self, authorization: ngx_str_t, cookie: ngx_str_t) -> Result<(), Failed> {
        // SAFETY: the request is live. All-zero is how nginx makes its headers; the list is filled in
        // its place, since it points into itself. Texts and elements live in the request's pool.
        unsafe {
            let headers = &mut (*self.raw()).headers_in;
            let before = *headers;
            *headers = mem::zeroed::<ngx_http_headers_in_t>();
            headers.server = before.server;
            headers.content_length_n = -1;
            headers.keep_alive_n = -1;
            let size = mem::size_of::<ngx_table_elt_t>();
            let list = &mut headers.headers;
            if ngx_list_init(list, (*self.raw()).pool, 4, size) != NGX_OK as ngx_int_t {
                return Err(Failed);
            }
            if let Some(agent) = before.user_agent.as_ref() {
                let own = push_header(&mut headers.headers, self.pool())?;
                *own = *agent;
                headers.user_agent = own;
            }
            if authorization.len > 0 {
                let own = push_header(&mut headers.headers, self.pool())?;
                AUTHORIZATION.write(own, authorization);
                headers.authorization = own;
            }
            if cookie.len > 0 {
                let own = push_header(&mut headers.headers, self.pool())?;
                COOKIE.write(own, cookie);
                set_cookie(headers, own, (*self.raw()).pool)?;
            }
        }
        Ok(())
    }
}

/// Has nginx find the `Cookie` header, which it looks up in a place of its own.
#[cfg(nginx_1_23)]
unsafe fn set_cookie(
    headers: &mut ngx_http_headers_in_t,
    cookie: &mut ngx_table_elt_t,
    _: *mut nginx_sys::ngx_pool_t,
) -> Result<(), Failed> {
    headers.cookie = cookie;
    Ok(())
}

/// Has nginx find the `Cookie` header, which it looks up in a place of its own.
#[cfg(not(nginx_1_23))]
unsafe fn set_cookie(
    headers: &mut ngx_http_headers_in_t,
    cookie: &mut ngx_table_elt_t,
    pool: *mut nginx_sys::ngx_pool_t,
) -> Result<(), Failed> {
    // SAFETY: the caller vouches for the pool; the array holds pointers to headers.
    unsafe {
        let size = mem::size_of::<*mut ngx_table_elt_t>();
        let slot = ngx_palloc(pool, size).cast::<*mut ngx_table_elt_t>();
        if slot.is_null() {
            return Err(Failed);
        }
        slot.write(cookie);
        headers.cookies = nginx_sys::ngx_array_t {
            elts: slot.cast(),
            nelts: 1,
            size,
            nalloc: 1,
            pool,
        };
    }
    Ok(())
}

/// The indices of the variables whose values are made from request headers.
pub fn variables_of_headers(r: &Request) -> Box<[usize]> {
    let list = &core_main_conf(r).variables;
    // SAFETY: the core module's list holds so many variables, and lives as long as the
    // configuration.
    let variables =
        unsafe { slice::from_raw_parts(list.elts.cast::<ngx_http_variable_t>(), list.nelts) };
    let is_of_header = |variable: &ngx_http_variable_t| {
        // SAFETY: a variable's name lives as long as the configuration.
        let name = unsafe { bytes(&variable.name) };
        name.starts_with(b"http_")
            || name.starts_with(b"cookie_")
            || name == b"content_length"
            || name == b"content_type"
            || name == b"proxy_add_x_forwarded_for"
    };
    let indexed = variables.iter().enumerate();
    indexed
        .filter_map(|(index, variable)| is_of_header(variable).then_some(index))
        .collect()
}

fn core_main_conf(r: &Request) -> &ngx_http_core_main_conf_t {
    // SAFETY: the request is live, and so is its configuration.
    NgxHttpCoreModule::main_conf(unsafe { &*r.raw() }).expect("nginx makes a core configuration")
}
