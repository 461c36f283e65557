//! Requests below a client request: run, ended, given headers of their own.

use core::{mem, ptr};

use nginx_sys::{
    ngx_http_finalize_request, ngx_http_headers_in_t, ngx_http_post_request,
    ngx_http_request_body_t, ngx_int_t, ngx_str_t, ngx_table_elt_t,
};

use super::guard::Failed;
use super::headers::{self, RequestHeader};
use super::pool::Pool;
use super::request::Request;

static AUTHORIZATION: RequestHeader = RequestHeader::new("Authorization", "authorization");
static COOKIE: RequestHeader = RequestHeader::new("Cookie", "cookie");

impl Request {
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

    /// Gives a subrequest headers of its own: `Authorization` and `Cookie` unless they are empty, the
    /// client's `User-Agent`, and nothing else. It has no body, whatever the client sends: that is
    /// not to be read or closed by the subrequest's upstream.
    ///
    /// # Safety
    ///
    /// Both texts must live as long as the subrequest.
    pub unsafe fn carry_only(
        &self,
        authorization: ngx_str_t,
        cookie: ngx_str_t,
    ) -> Result<(), Failed> {
        let pool = self.pool();
        let body = pool.zeroed::<ngx_http_request_body_t>()?;
        // SAFETY: the request is live. All-zero is how nginx makes its headers; the list is filled in
        // its place, since it points into itself. The caller vouches for the texts, and the elements
        // live in the request's pool.
        unsafe {
            (*self.raw()).request_body = body.as_ptr();
            let headers = &mut (*self.raw()).headers_in;
            let before = *headers;
            *headers = mem::zeroed::<ngx_http_headers_in_t>();
            headers.server = before.server;
            headers.content_length_n = -1;
            headers.keep_alive_n = -1;
            headers::init(&mut headers.headers, pool, 4)?;
            if let Some(agent) = before.user_agent.as_ref() {
                let own = headers::push(&mut headers.headers, pool)?;
                *own = *agent;
                headers.user_agent = own;
            }
            if authorization.len > 0 {
                let own = headers::push(&mut headers.headers, pool)?;
                AUTHORIZATION.write(own, authorization);
                headers.authorization = own;
            }
            if cookie.len > 0 {
                let own = headers::push(&mut headers.headers, pool)?;
                COOKIE.write(own, cookie);
                set_cookie(headers, own, pool)?;
            }
        }
        Ok(())
    }
}

/// Has nginx find the `Cookie` header, which it looks up in a place of its own.
#[cfg(nginx_1_23)]
fn set_cookie(
    headers: &mut ngx_http_headers_in_t,
    cookie: &mut ngx_table_elt_t,
    _: Pool<'_>,
) -> Result<(), Failed> {
    headers.cookie = cookie;
    Ok(())
}

/// Has nginx find the `Cookie` header, which it looks up in a place of its own: an array of pointers.
#[cfg(not(nginx_1_23))]
fn set_cookie(
    headers: &mut ngx_http_headers_in_t,
    cookie: &mut ngx_table_elt_t,
    pool: Pool<'_>,
) -> Result<(), Failed> {
    let slot = pool.zeroed::<*mut ngx_table_elt_t>()?;
    // SAFETY: the slot is new, and as large as a pointer.
    unsafe { slot.write(cookie) };
    headers.cookies = nginx_sys::ngx_array_t {
        elts: slot.as_ptr().cast(),
        nelts: 1,
        size: mem::size_of::<*mut ngx_table_elt_t>(),
        nalloc: 1,
        pool: pool.raw(),
    };
    Ok(())
}
