//! `authgear_status`: the state of the module, as a page, JSON, or metrics.

mod gather;

use authgear_core::status::Format;
use nginx_sys::{
    ngx_int_t, NGX_DECLINED, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK,
};

use crate::nginx::{Failed, Method, Request};

/// Answers in a location with `authgear_status`.
pub fn answer(r: &Request) -> ngx_int_t {
    let Some(choice) = r.location().status() else {
        return NGX_DECLINED as ngx_int_t;
    };
    let sent = match r.method() {
        Method::Other => r
            .add_response_header("Allow", b"GET, HEAD")
            .map(|_| NGX_HTTP_NOT_ALLOWED as ngx_int_t),
        Method::Read => send(r, Format::choose(choice, r.values_of(b"accept"))),
    };
    sent.unwrap_or(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t)
}

fn send(r: &Request, format: Format) -> Result<ngx_int_t, Failed> {
    let body = gather::snapshot(r.main_conf()).render(format);
    r.add_response_header("Cache-Control", b"no-store")?;
    r.add_response_header("Vary", b"Accept")?;
    r.add_response_header("X-Content-Type-Options", b"nosniff")?;
    if format == Format::Html {
        // The page has one style sheet inside, and refreshes itself.
        let policy = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
            form-action 'none'; frame-ancestors 'none'";
        r.add_response_header("Content-Security-Policy", policy)?;
    }
    r.respond(NGX_HTTP_OK as u16, format.content_type(), body.as_bytes())
}
