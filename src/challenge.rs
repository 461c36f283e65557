//! What a refused client is told: 401 and 503.

use authgear_core::Reason;
use nginx_sys::{ngx_int_t, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_UNAUTHORIZED};

use crate::nginx::{Failed, Request};

/// 401 with the challenge of RFC 6750, section 3; the error only when a credential was sent.
pub fn unauthorized(r: &Request, realm: &str, reason: Option<Reason>) -> Result<ngx_int_t, Failed> {
    let mut value = format!("Bearer realm=\"{}\"", quoted(realm));
    if let Some(reason) = reason {
        value.push_str(", error=\"invalid_token\", error_description=\"");
        value.push_str(reason.description());
        value.push('"');
    }
    let value = r.pool().copy(value.as_bytes())?;
    let header = r.add_response_header("WWW-Authenticate", value)?;
    // SAFETY: the request is live. nginx takes the challenge back through this pointer when
    // another module grants access (`satisfy any`).
    unsafe {
        let headers = &mut (*r.raw()).headers_out;
        #[cfg(nginx_1_23)]
        {
            (*header.as_ptr()).next = headers.www_authenticate;
        }
        headers.www_authenticate = header.as_ptr();
    }
    Ok(NGX_HTTP_UNAUTHORIZED as ngx_int_t)
}

/// 503 with the seconds after which another try is worth while.
pub fn unavailable(r: &Request, seconds: u64) -> Result<ngx_int_t, Failed> {
    let value = r.pool().copy(seconds.to_string().as_bytes())?;
    r.add_response_header("Retry-After", value)?;
    Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t)
}

/// The inside of a quoted-string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
