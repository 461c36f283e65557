//! Whole responses.

use core::{mem, ptr};

use nginx_sys::{
    ngx_chain_t, ngx_create_temp_buf, ngx_http_complex_value_t, ngx_http_output_filter,
    ngx_http_send_response, ngx_http_send_special, ngx_int_t, ngx_str_t, ngx_uint_t, NGX_ERROR,
    NGX_HTTP_LAST,
};

use super::fields::buffer;
use super::guard::Failed;
use super::request::Request;
use super::text::borrowed_str;

/// The methods of a request, as far as this module tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET or HEAD.
    Read,
    /// Any other.
    Other,
}

impl Request {
    /// The request's method.
    pub fn method(&self) -> Method {
        match self.get().method as u32 {
            nginx_sys::NGX_HTTP_GET | nginx_sys::NGX_HTTP_HEAD => Method::Read,
            _ => Method::Other,
        }
    }

    /// Sends this status with this body, which is copied, and of a HEAD request its headers. With a status that
    /// redirects, the body is the URL to go to. Returns nginx's status.
    pub fn respond(
        &self,
        status: u16,
        content_type: &'static str,
        body: &[u8],
    ) -> Result<ngx_int_t, Failed> {
        let mut content_type = borrowed_str(content_type.as_bytes());
        // SAFETY: the request is live. All-zero but for the value is a value without variables, which nginx
        // sends as it is; the text lives in the request's pool.
        unsafe {
            let mut value: ngx_http_complex_value_t = mem::zeroed();
            value.value = self.pool().copy(body)?;
            Ok(ngx_http_send_response(
                self.raw(),
                status.into(),
                &mut content_type,
                &mut value,
            ))
        }
    }

    /// Makes another response of one whose header is not sent yet: with this status, and a body of this length.
    /// Headers that are about the former body, or redirect, are removed.
    pub fn replace_response(&self, status: u16, content_type: Option<&'static str>, length: usize) {
        const OF_THE_BODY: [&[u8]; 10] = [
            b"accept-ranges",
            b"content-disposition",
            b"content-encoding",
            b"content-language",
            b"content-length",
            b"content-range",
            b"etag",
            b"last-modified",
            b"location",
            b"refresh",
        ];
        self.remove_response_headers(|name| {
            OF_THE_BODY
                .iter()
                .any(|other| name.eq_ignore_ascii_case(other))
        });
        let content_type = content_type.unwrap_or_default();
        // SAFETY: the request is live, and nothing else refers to its response during this.
        unsafe {
            // For $status and the access log.
            (*self.raw()).err_status = status.into();
            let headers = &mut (*self.raw()).headers_out;
            headers.status = status.into();
            headers.status_line = ngx_str_t::empty();
            headers.content_length_n = length as nginx_sys::off_t;
            headers.content_length = ptr::null_mut();
            headers.content_encoding = ptr::null_mut();
            headers.location = ptr::null_mut();
            headers.content_type = borrowed_str(content_type.as_bytes());
            headers.content_type_len = content_type.len();
            headers.content_type_lowcase = ptr::null_mut();
            headers.charset = ngx_str_t::empty();
        }
    }

    /// Sends a body after the header, as if the response had no other.
    pub(super) fn send_body_alone(&self, body: &[u8]) -> ngx_int_t {
        // SAFETY: the request is live, and so is its pool, in which the buffer is. The buffer has room for the
        // body.
        let status = unsafe {
            if body.is_empty() {
                let status = ngx_http_send_special(self.raw(), NGX_HTTP_LAST as ngx_uint_t);
                self.send_headers_alone();
                return status;
            }
            let buffer = ngx_create_temp_buf(self.pool().raw(), body.len());
            let Some(buffer) = buffer.as_mut() else {
                return NGX_ERROR as ngx_int_t;
            };
            ptr::copy_nonoverlapping(body.as_ptr(), buffer.last, body.len());
            buffer.last = buffer.last.add(body.len());
            buffer::set_last_buf(buffer, true);
            buffer::set_last_in_chain(buffer, true);
            let mut chain = ngx_chain_t {
                buf: buffer,
                next: ptr::null_mut(),
            };
            ngx_http_output_filter(self.raw(), &mut chain)
        };
        self.send_headers_alone();
        status
    }
}
