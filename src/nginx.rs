//! nginx's raw pointers, behind types that borrow.
//!
//! Nothing here decides anything; it is what the `ngx` crate does not wrap. What a request has stands
//! in this file, what a configuration has in [`conf`].

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::{mem, slice};
use std::panic::{catch_unwind, AssertUnwindSafe};

use nginx_sys::{
    ngx_http_request_t, ngx_int_t, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_log_t,
    ngx_pcalloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t, ngx_table_elt_t,
    ngx_uint_t, NGX_OK,
};
use ngx::http::{HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

mod clock;
mod conf;
pub mod fields;
mod filter;
mod subrequest;
mod variable;

pub use clock::now;
pub use filter::set_first_header_filter;

pub use subrequest::variables_of_headers;
pub use variable::Getter;

pub use conf::{ComplexValue, Conf, LocationAt, LocationConfs, Place, CONF_ERROR};

/// nginx gave no memory, or refused a registration; it has logged why.
#[derive(Debug)]
pub struct Failed;

/// Runs `f` so that no panic reaches nginx: one that happens becomes `on_panic`.
pub fn guard<T>(on_panic: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(on_panic)
}

/// The bytes of an `ngx_str_t` for as long as the memory behind it lives.
///
/// # Safety
///
/// The string must stay valid and unchanged for `'a`.
pub unsafe fn bytes<'a>(s: &ngx_str_t) -> &'a [u8] {
    if s.len == 0 || s.data.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for the memory.
    unsafe { slice::from_raw_parts(s.data, s.len) }
}

/// An `ngx_str_t` that borrows `text`; nginx only reads through it.
pub fn borrowed_str(text: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}

/// A request, alive while nginx is inside one of our callbacks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// # Safety
    ///
    /// `r` must point to a live request, and the value must not outlive the callback.
    pub unsafe fn from_raw(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: nginx never passes a null request.
        Self(unsafe { NonNull::new_unchecked(r) })
    }

    pub fn raw(&self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    /// The client's request, of which this may be a subrequest.
    pub fn main(&self) -> Request {
        // SAFETY: `main` always points to a live request, that one's own main included.
        unsafe { Request::from_raw((*self.raw()).main) }
    }

    pub fn as_non_null(&self) -> NonNull<ngx_http_request_t> {
        self.0
    }

    pub fn is_main(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).main == self.raw() }
    }

    pub fn log(&self) -> *mut ngx_log_t {
        // SAFETY: a live request has a connection, and that a log.
        unsafe { (*(*self.raw()).connection).log }
    }

    /// Logs a line for whoever debugs nginx with `error_log … debug`.
    pub fn debug(&self, line: &str) {
        ngx::ngx_log_debug_mask!(DebugMask::Http, self.log(), "{line}");
    }

    pub fn pool(&self) -> Pool {
        // SAFETY: the request is live, and so is its pool.
        Pool(unsafe { (*self.raw()).pool })
    }

    pub fn location(&self) -> &crate::conf::LocationConf {
        // SAFETY: the request is live.
        crate::AuthgearModule::location_conf(unsafe { self.0.as_ref() })
            .expect("nginx makes a location configuration for every module")
    }

    pub fn main_conf(&self) -> &crate::conf::MainConf {
        // SAFETY: the request is live.
        crate::AuthgearModule::main_conf(unsafe { self.0.as_ref() })
            .expect("nginx makes a main configuration for every module")
    }

    pub fn server(&self) -> &crate::conf::ServerConf {
        // SAFETY: the request is live.
        crate::AuthgearModule::server_conf(unsafe { self.0.as_ref() })
            .expect("nginx makes a server configuration for every module")
    }

    /// The request's headers as nginx keeps them, in order.
    pub fn headers(&self) -> Headers<'_> {
        // SAFETY: the request is live, and so is its list of headers.
        unsafe { Headers::of(&(*self.raw()).headers_in.headers) }
    }

    /// The request's headers, those included whose name happens to have the hash 0.
    pub fn all_headers(&self) -> Headers<'_> {
        // SAFETY: the request is live, and so is its list of headers.
        unsafe { Headers::with_removed(&(*self.raw()).headers_in.headers) }
    }

    /// The value of `Authorization`, the first one if there are several.
    pub fn authorization(&self) -> Option<&[u8]> {
        // SAFETY: the request is live, and so are its headers.
        unsafe {
            let header = (*self.raw()).headers_in.authorization.as_ref()?;
            Some(bytes(&header.value))
        }
    }

    /// The values of the client's headers of that lower-case name, in order.
    pub fn values_of<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.headers()
            .map(header_parts)
            .filter_map(move |(found, value)| (found == name).then_some(value))
    }

    /// Replaces the list of the client's headers. Pointers that nginx holds into the old one
    /// stay valid, since it is the pool that owns it.
    ///
    /// # Safety
    ///
    /// `list` must have been filled from this request's pool.
    pub unsafe fn replace_headers(&self, list: ngx_list_t) {
        // SAFETY: the request is live; `last` of a list with one part points into the struct
        // itself, so it is set anew after the move.
        unsafe {
            let headers = &mut (*self.raw()).headers_in.headers;
            let single = list.part.next.is_null();
            *headers = list;
            if single {
                headers.last = ptr::addr_of_mut!(headers.part);
            }
        }
    }

    /// Appends headers to what the client sent, for the upstream to see. The value of each is a part
    /// of `values`, which ends where `ends` says and begins where that of the one before ends; a
    /// header whose part is empty is left out. `values` must live as long as the request.
    pub fn add_request_headers(
        &self,
        headers: &'static [RequestHeader],
        values: ngx_str_t,
        ends: &[u32],
    ) -> Result<(), Failed> {
        let mut start = 0;
        for (header, end) in headers.iter().zip(ends) {
            let end = *end as usize;
            if end <= start || end > values.len {
                continue;
            }
            // SAFETY: the list belongs to a live request.
            let added = unsafe {
                let list = ptr::addr_of_mut!((*self.raw()).headers_in.headers);
                push_header(list, self.pool())?
            };
            let value = ngx_str_t {
                len: end - start,
                // SAFETY: the place lies within the text.
                data: unsafe { values.data.add(start) },
            };
            header.write(added, value);
            start = end;
        }
        Ok(())
    }

    /// Appends a header to the response. `value` must live as long as the request.
    pub fn add_response_header(
        &self,
        key: &'static str,
        value: ngx_str_t,
    ) -> Result<NonNull<ngx_table_elt_t>, Failed> {
        // SAFETY: the list belongs to a live request.
        let header = unsafe {
            let list = ptr::addr_of_mut!((*self.raw()).headers_out.headers);
            push_header(list, self.pool())?
        };
        header.hash = 1;
        header.key = borrowed_str(key.as_bytes());
        header.value = value;
        Ok(NonNull::from(header))
    }

    /// Finds a header in the response's list: nginx empties the list where a filter replaces the
    /// response.
    pub fn has_response_header(&self, header: NonNull<ngx_table_elt_t>) -> bool {
        // SAFETY: the request is live, and so is its list of headers.
        let headers = unsafe { Headers::with_removed(&(*self.raw()).headers_out.headers) };
        headers.into_iter().any(|own| ptr::eq(own, header.as_ptr()))
    }

    /// The status of a finished subrequest, and what its upstream answered, if it has one: the
    /// status and the headers, those that `proxy_hide_header` hides included.
    pub fn answered(&self) -> (ngx_uint_t, Option<(ngx_uint_t, Headers<'_>)>) {
        // SAFETY: the request is live, and its upstream lives in its pool.
        unsafe {
            let request = self.0.as_ref();
            let upstream = request.upstream.as_ref().map(|upstream| {
                let headers = &upstream.headers_in;
                (headers.status_n, Headers::of(&headers.headers))
            });
            (request.headers_out.status, upstream)
        }
    }

    /// Unix time in seconds, as nginx's event loop last read it.
    pub fn now(&self) -> f64 {
        let time = nginx_sys::ngx_timeofday();
        time.sec as f64 + time.msec as f64 / 1000.0
    }
}

/// Appends an all-zero header. A list that was never made, as that of an HTTP/0.9 request, is made
/// first.
///
/// # Safety
///
/// `list` must be all-zero or hold `ngx_table_elt_t`, and lie where it stays; `pool` must be the one of
/// its request.
pub unsafe fn push_header<'a>(
    list: *mut ngx_list_t,
    pool: Pool,
) -> Result<&'a mut ngx_table_elt_t, Failed> {
    // SAFETY: the caller vouches for list and pool. What is pushed is uninitialised memory of the
    // element's size, which an all-zero `ngx_table_elt_t` makes valid.
    unsafe {
        if (*list).last.is_null() {
            pool.init_headers(&mut *list, 8)?;
        }
        let header = ngx_list_push(list).cast::<ngx_table_elt_t>();
        if header.is_null() {
            return Err(Failed);
        }
        header.write(mem::zeroed());
        Ok(&mut *header)
    }
}

/// Iterator over an nginx list of headers, those with a zero `hash` left out.
#[derive(Clone)]
pub struct Headers<'a> {
    part: &'a ngx_list_part_t,
    next: usize,
    with_removed: bool,
}

impl<'a> Headers<'a> {
    /// # Safety
    ///
    /// The list must hold headers, and its pool must live for `'a`.
    pub unsafe fn of(list: &'a ngx_list_t) -> Self {
        Self {
            part: &list.part,
            next: 0,
            with_removed: false,
        }
    }

    /// As [`Headers::of`], with those that have a zero `hash`.
    ///
    /// # Safety
    ///
    /// As of [`Headers::of`].
    pub unsafe fn with_removed(list: &'a ngx_list_t) -> Self {
        Self {
            with_removed: true,
            // SAFETY: the caller vouches for the list.
            ..unsafe { Self::of(list) }
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = &'a ngx_table_elt_t;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.next >= self.part.nelts {
                // SAFETY: parts of a live list are valid until its pool goes.
                self.part = unsafe { self.part.next.as_ref()? };
                self.next = 0;
            }
            // SAFETY: `next` is below the number of elements of this part.
            let header = unsafe { &*self.part.elts.cast::<ngx_table_elt_t>().add(self.next) };
            self.next += 1;
            if header.hash != 0 || self.with_removed {
                return Some(header);
            }
        }
    }
}

/// The lower-case name and the value of a request's header.
pub fn header_parts(header: &ngx_table_elt_t) -> (&[u8], &[u8]) {
    // SAFETY: nginx fills `lowcase_key` with as many bytes as `key` has for every request header.
    unsafe {
        let name = if header.lowcase_key.is_null() {
            bytes(&header.key)
        } else {
            slice::from_raw_parts(header.lowcase_key, header.key.len)
        };
        (name, bytes(&header.value))
    }
}

/// A pool; what it gives lives until nginx destroys it.
#[derive(Debug, Clone, Copy)]
pub struct Pool(*mut ngx_pool_t);

impl Pool {
    /// Copies `text` into the pool.
    pub fn copy(self, text: &[u8]) -> Result<ngx_str_t, Failed> {
        if text.is_empty() {
            return Ok(ngx_str_t::empty());
        }
        // SAFETY: the pool is live, and the new block is as long as the text.
        unsafe {
            let data = ngx_pnalloc(self.0, text.len()).cast::<u8>();
            if data.is_null() {
                return Err(Failed);
            }
            ptr::copy_nonoverlapping(text.as_ptr(), data, text.len());
            Ok(ngx_str_t {
                len: text.len(),
                data,
            })
        }
    }

    /// An all-zero structure.
    pub fn zeroed<T>(self) -> Result<NonNull<T>, Failed> {
        // SAFETY: the pool is live.
        let block = unsafe { ngx_pcalloc(self.0, mem::size_of::<T>()) };
        NonNull::new(block.cast()).ok_or(Failed)
    }

    /// Makes `list` an empty one of headers, with room for `capacity` in its first part. The list
    /// points into itself: it must not be moved while it is filled.
    pub fn init_headers(self, list: &mut ngx_list_t, capacity: usize) -> Result<(), Failed> {
        let size = mem::size_of::<ngx_table_elt_t>();
        // SAFETY: the pool is live.
        match unsafe { nginx_sys::ngx_list_init(list, self.0, capacity.max(1), size) } {
            status if status == NGX_OK as ngx_int_t => Ok(()),
            _ => Err(Failed),
        }
    }

    /// Moves `value` into the pool; `drop` is called with it when nginx destroys the pool.
    pub fn alloc_with_cleanup<T>(self, value: T, drop: Cleanup) -> Result<NonNull<T>, Failed> {
        const { assert!(mem::align_of::<T>() <= mem::align_of::<*const c_void>()) };
        // SAFETY: the pool is live; nginx aligns the cleanup's data for anything of pointer
        // alignment, and gives as many bytes as were asked for.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.0, mem::size_of::<T>());
            if cleanup.is_null() {
                return Err(Failed);
            }
            let data = (*cleanup).data.cast::<T>();
            data.write(value);
            (*cleanup).handler = Some(drop);
            NonNull::new(data).ok_or(Failed)
        }
    }

    /// The value that [`Pool::alloc_with_cleanup`] moved in last with the same `drop`.
    pub fn find_cleanup<T>(self, drop: Cleanup) -> Option<NonNull<T>> {
        // SAFETY: the pool is live, and so is its chain of cleanups.
        unsafe {
            let mut cleanup = (*self.0).cleanup;
            while let Some(entry) = cleanup.as_ref() {
                if entry
                    .handler
                    .is_some_and(|handler| ptr::fn_addr_eq(handler, drop))
                {
                    return NonNull::new(entry.data.cast());
                }
                cleanup = entry.next;
            }
        }
        None
    }
}

/// A cleanup handler: a pool calls it with the value before it is destroyed.
pub type Cleanup = unsafe extern "C" fn(*mut c_void);

/// A header's name as nginx keeps it in a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestHeader {
    name: &'static str,
    lowcase: &'static str,
    /// The hash of the lower-case name, as `ngx_hash_key` computes it.
    hash: ngx_uint_t,
}

impl RequestHeader {
    /// `lowcase` is `name` in lower case.
    pub const fn new(name: &'static str, lowcase: &'static str) -> Self {
        assert!(name.len() == lowcase.len());
        let mut hash: ngx_uint_t = 0;
        let mut i = 0;
        while i < lowcase.len() {
            let letter = lowcase.as_bytes()[i];
            assert!(name.as_bytes()[i].to_ascii_lowercase() == letter);
            hash = hash.wrapping_mul(31).wrapping_add(letter as ngx_uint_t);
            i += 1;
        }
        Self {
            name,
            lowcase,
            hash,
        }
    }

    /// Fills an element of a request's list.
    pub fn write(&self, element: &mut ngx_table_elt_t, value: ngx_str_t) {
        element.hash = self.hash;
        element.key = borrowed_str(self.name.as_bytes());
        element.value = value;
        element.lowcase_key = self.lowcase.as_ptr().cast_mut();
    }
}
