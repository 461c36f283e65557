//! Content handlers, and the bodies of requests.

use core::mem::ManuallyDrop;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use nginx_sys::{
    ngx_http_client_body_handler_pt, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t,
    ngx_http_read_client_request_body, ngx_int_t, ngx_time_update, NGX_DONE, NGX_HTTP_POST,
    NGX_HTTP_SPECIAL_RESPONSE,
};

use super::conf::Conf;
use super::phases::PhaseHandler;
use super::request::Request;

impl Conf {
    /// Makes `handler` answer the requests of the location whose block is being read, or merged.
    pub fn set_content_handler(&self, handler: PhaseHandler) {
        // SAFETY: nobody else refers to the location's configuration.
        unsafe { (*self.core_location()).handler = Some(handler) };
    }

    /// Has the location that is being merged send no error page in place of a response. nginx has merged its own
    /// settings of all levels before.
    pub fn drop_error_pages(&self) {
        // SAFETY: nobody else refers to the location's configuration.
        unsafe { (*self.core_location()).error_pages = core::ptr::null_mut() };
    }

    /// True when a directive makes something answer the requests of the location whose block is being
    /// read.
    pub fn is_answered(&self) -> bool {
        // SAFETY: the location's configuration is live.
        unsafe { (*self.core_location()).handler.is_some() }
    }

    /// Tells whether `handler` answers the requests of the location whose configuration is being
    /// merged.
    pub fn has_content_handler(&self, handler: PhaseHandler) -> bool {
        // SAFETY: the location's configuration is live.
        let own = unsafe { (*self.core_location()).handler };
        own.is_some_and(|own| core::ptr::fn_addr_eq(own, handler))
    }

    fn core_location(&self) -> *mut ngx_http_core_loc_conf_t {
        // SAFETY: while nginx reads or merges a location, the context's `ctx` is that of the location,
        // which holds a structure for each module.
        unsafe {
            let levels = self.get().ctx.cast::<ngx_http_conf_ctx_t>();
            let core = &raw const nginx_sys::ngx_http_core_module;
            (*(*levels).loc_conf.add((*core).ctx_index)).cast()
        }
    }
}

impl Request {
    /// True for `POST`.
    pub fn is_post(&self) -> bool {
        self.get().method == NGX_HTTP_POST as usize
    }

    /// Reads the body, into memory or a file, and calls `then` when it is there. Returns the status for
    /// the content handler to return.
    pub fn read_body(&self, then: PhaseBody) -> ngx_int_t {
        // SAFETY: the request is live.
        let status = unsafe { ngx_http_read_client_request_body(self.raw(), Some(then)) };
        if status >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
            return status;
        }
        NGX_DONE as ngx_int_t
    }

    /// A copy of the body, after nginx has read it; `None` if it is longer than `most` bytes.
    ///
    /// # Errors
    ///
    /// When the file that holds it cannot be read.
    pub fn body(&self, most: usize) -> io::Result<Option<Vec<u8>>> {
        // SAFETY: the request is live. nginx has either put the whole body into the file, or left it in
        // memory, in the buffers of the chain.
        unsafe {
            let Some(body) = self.get().request_body.as_ref() else {
                return Ok(Some(Vec::new()));
            };
            if let Some(spooled) = body
                .temp_file
                .as_ref()
                .filter(|spooled| spooled.file.offset > 0)
            {
                let length = spooled.file.offset as usize;
                if length > most {
                    return Ok(None);
                }
                let mut text = vec![0; length];
                let file = ManuallyDrop::new(File::from_raw_fd(spooled.file.fd));
                file.read_exact_at(&mut text, 0)?;
                return Ok(Some(text));
            }
            let mut text = Vec::new();
            let mut link = body.bufs;
            while let Some(chain) = link.as_ref() {
                let (first, last) = ((*chain.buf).pos, (*chain.buf).last);
                if !first.is_null() {
                    let length = last.offset_from_unsigned(first);
                    if length > most - text.len() {
                        return Ok(None);
                    }
                    text.extend_from_slice(core::slice::from_raw_parts(first, length));
                }
                link = chain.next;
            }
            Ok(Some(text))
        }
    }
}

/// A function that nginx calls when a request's body has been read.
pub type PhaseBody = unsafe extern "C" fn(*mut nginx_sys::ngx_http_request_t);

const _: fn(PhaseBody) -> ngx_http_client_body_handler_pt = |handler| Some(handler);

/// Reads the clocks again, which the event loop else does only between callbacks.
pub fn update_time() {
    // SAFETY: nginx calls it between and inside callbacks.
    unsafe { ngx_time_update() };
}
