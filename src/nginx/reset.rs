//! The end of a request before its response is.

use core::mem;
use core::ptr;

use nginx_sys::{
    ngx_http_finalize_request, ngx_http_run_posted_requests, ngx_int_t, NGX_ERROR,
    NGX_HTTP_VERSION_20,
};

use super::fields::{connection, request};
use super::request::Request;

impl Request {
    /// Ends the client's request and resets its connection, or its stream in HTTP/2 and HTTP/3, so that no
    /// client takes what it has for a whole response. Only from the event loop; the request is gone then.
    pub fn reset(self) {
        // SAFETY: the request is live, and so is its connection, which is looked up before it may end.
        unsafe {
            let main = self.main().raw();
            let client = (*main).connection;
            if (*main).http_version < NGX_HTTP_VERSION_20 as usize {
                let linger = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                libc::setsockopt(
                    (*client).fd,
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    ptr::from_ref(&linger).cast(),
                    mem::size_of_val(&linger) as libc::socklen_t,
                );
                // TLS sends no alert that would look like an end.
                connection::set_error(&mut *client, true);
            }
            // The upstream gives its reference up when it is ended, and nginx would keep a connection whose
            // request has none. The end sets the number itself.
            let references = request::count(&*main);
            request::set_count(&mut *main, references + 1);
            ngx_http_finalize_request(main, NGX_ERROR as ngx_int_t);
            ngx_http_run_posted_requests(client);
        }
    }
}
