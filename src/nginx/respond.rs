//! Whole responses.

use core::mem;

use nginx_sys::{ngx_http_complex_value_t, ngx_http_send_response, ngx_int_t, NGX_HTTP_OK};

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

    /// Sends 200 with this body, which is copied, and of a HEAD request its headers. Returns nginx's status.
    pub fn respond(&self, content_type: &'static str, body: &[u8]) -> Result<ngx_int_t, Failed> {
        let mut content_type = borrowed_str(content_type.as_bytes());
        // SAFETY: the request is live. All-zero but for the value is a value without variables, which nginx
        // sends as it is; the text lives in the request's pool.
        unsafe {
            let mut value: ngx_http_complex_value_t = mem::zeroed();
            value.value = self.pool().copy(body)?;
            Ok(ngx_http_send_response(
                self.raw(),
                NGX_HTTP_OK as usize,
                &mut content_type,
                &mut value,
            ))
        }
    }
}
