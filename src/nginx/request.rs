//! A request.

use core::ptr::NonNull;

use nginx_sys::{ngx_http_request_t, ngx_log_t, NGX_HTTP_CONNECT};
use ngx::http::{HttpModuleLocationConf, NgxHttpCoreModule};

use super::fields::{location, request};
use super::pool::Pool;
use super::text::bytes;

/// A request, alive while nginx is inside one of our callbacks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// # Safety
    ///
    /// `r` must point to a live request, and neither the value nor a clone of it may be used after
    /// the callback.
    pub unsafe fn from_raw(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: a pointer to a live request is not null.
        Self(unsafe { NonNull::new_unchecked(r) })
    }

    /// The request itself, for nginx's functions.
    pub fn raw(&self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    /// The same pointer as [`Request::raw`].
    pub fn as_non_null(&self) -> NonNull<ngx_http_request_t> {
        self.0
    }

    /// The request, to read fields of it. The reference must be gone before nginx runs again.
    pub(super) fn get(&self) -> &ngx_http_request_t {
        // SAFETY: the request is live, and this folder, which alone sees the reference, reads a
        // field through it at a time.
        unsafe { self.0.as_ref() }
    }

    /// The client's request, of which this may be a subrequest.
    pub fn main(&self) -> Request {
        // SAFETY: `main` always points to a live request, that one's own main included.
        unsafe { Request::from_raw(self.get().main) }
    }

    /// True for the client's own request, false for a subrequest.
    pub fn is_main(&self) -> bool {
        self.get().main == self.raw()
    }

    /// The request that a subrequest belongs to; `None` for the client's own.
    pub fn parent(&self) -> Option<Request> {
        // SAFETY: a subrequest's parent is live as long as the subrequest.
        NonNull::new(self.get().parent).map(|parent| unsafe { Request::from_raw(parent.as_ptr()) })
    }

    /// The log of the request's connection.
    pub fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a live request has a connection, and that a log.
        unsafe { (*self.get().connection).log }
    }

    /// Logs a line for whoever debugs nginx with `error_log … debug`.
    pub fn debug(&self, line: &str) {
        ngx::ngx_log_debug_mask!(DebugMask::Http, self.log(), "{line}");
    }

    /// The request's pool, which a subrequest shares with the client's request.
    pub fn pool(&self) -> Pool<'_> {
        // SAFETY: the request is live, and so is its pool.
        unsafe { Pool::from_raw(self.get().pool) }
    }

    /// The path, decoded, as nginx chooses the location by it.
    pub fn uri(&self) -> &[u8] {
        // SAFETY: the text lives in the request's pool.
        unsafe { bytes(&self.get().uri) }
    }

    /// Path and query as the client sent them, whatever nginx made of them since.
    pub fn unparsed_uri(&self) -> &[u8] {
        // SAFETY: the text lives in the request's pool.
        unsafe { bytes(&self.get().unparsed_uri) }
    }

    /// The request line as the client sent it, or as nginx made it of the pseudo-headers of HTTP/2 and HTTP/3.
    pub fn request_line(&self) -> &[u8] {
        // SAFETY: the text lives as long as the request.
        unsafe { bytes(&self.get().request_line) }
    }

    /// The query.
    pub fn args(&self) -> &[u8] {
        // SAFETY: the text lives in the request's pool.
        unsafe { bytes(&self.get().args) }
    }

    /// The host that the client asked, without a port and in lower case; empty without one.
    pub fn host(&self) -> &[u8] {
        // SAFETY: the text lives as long as the request.
        unsafe { bytes(&self.get().headers_in.server) }
    }

    /// The status of the response; 0 before there is one.
    pub fn status(&self) -> usize {
        self.get().headers_out.status
    }

    /// True of a response by which nginx refuses the request with this status, or of an error page that keeps it: not
    /// of a backend's own, nor where `error_page` leaves the status to another location.
    pub fn is_refused_with(&self, status: u32) -> bool {
        self.status() == status as usize && self.get().err_status == status as usize
    }

    /// Unix time in seconds, as nginx's event loop last read it.
    pub fn now(&self) -> f64 {
        let time = nginx_sys::ngx_timeofday();
        time.sec as f64 + time.msec as f64 / 1000.0
    }

    /// True after an internal redirect, and in a subrequest.
    pub fn is_internal(&self) -> bool {
        request::internal(self.get())
    }

    /// True once a filter has replaced the response by an error page.
    pub fn is_filter_finalized(&self) -> bool {
        request::filter_finalize(self.get())
    }

    /// True when the response comes from nginx's cache.
    pub fn is_from_cache(&self) -> bool {
        request::cached(self.get())
    }

    /// True once the header of the response was sent.
    pub fn has_sent_header(&self) -> bool {
        request::header_sent(self.get())
    }

    /// True in a location that is `internal` and not a named one.
    pub fn is_in_internal_location(&self) -> bool {
        let core = NgxHttpCoreModule::location_conf(self.get());
        core.is_some_and(|core| core.internal == 1 && !location::named(core))
    }

    /// True when the connection may go on as a tunnel (WebSocket, CONNECT). nginx then reads what the
    /// client sends into the buffer that holds the head: its headers change before they are logged.
    pub fn may_be_upgraded(&self) -> bool {
        let main = self.main();
        let main = main.get();
        !main.headers_in.upgrade.is_null() || main.method == NGX_HTTP_CONNECT as usize
    }

    /// Closes the connection behind the response, and says so in it.
    pub fn close_connection(&self) {
        // SAFETY: the request is live, and nothing else refers to it during the call.
        request::set_keepalive(unsafe { &mut *self.raw() }, false);
    }

    /// Keeps nginx from sending the body; of a subrequest nothing is then sent at all.
    pub fn send_headers_alone(&self) {
        // SAFETY: the request is live, and nothing else refers to it during the call.
        request::set_header_only(unsafe { &mut *self.raw() }, true);
    }

    /// Has nginx send no error page in place of the response.
    pub fn forbid_error_pages(&self) {
        // SAFETY: the request is live, and nothing else refers to it during the call.
        request::set_error_page(unsafe { &mut *self.raw() }, true);
    }
}
