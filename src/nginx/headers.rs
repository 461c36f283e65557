//! Lists of headers, of a request, a response and an upstream.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::{mem, slice};

use nginx_sys::{
    ngx_list_init, ngx_list_part_t, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t,
    ngx_uint_t,
};

use super::fields::upstream;
use super::guard::{check, Failed};
use super::pool::Pool;
use super::request::Request;
use super::text::{borrowed_str, bytes};

impl Request {
    /// The request's headers as nginx keeps them, in order.
    pub fn headers(&self) -> Headers<'_> {
        // SAFETY: the request is live, and so is its list of headers.
        unsafe { Headers::of(&self.get().headers_in.headers) }
    }

    /// The values of the client's headers of that lower-case name, in order.
    pub fn values_of<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.headers()
            .filter_map(move |(found, value)| (found == name).then_some(value))
    }

    /// Tells whether a header has a lower-case name that `is_meant`, headers whose name happens to
    /// have the hash 0 included.
    pub fn has_header(&self, is_meant: impl Fn(&[u8]) -> bool) -> bool {
        // SAFETY: the request is live, and so is its list of headers.
        let mut all = unsafe { Elements::of(&self.get().headers_in.headers) };
        // SAFETY: nginx has filled the headers of a live request.
        all.any(|header| is_meant(unsafe { parts(header) }.0))
    }

    /// Gives the request a list of copies of its headers, those left out whose lower-case name
    /// `is_meant`. nginx and its modules point into the old elements, so those stay as they are.
    pub fn remove_headers(&self, is_meant: impl Fn(&[u8]) -> bool) -> Result<(), Failed> {
        // SAFETY: the request is live; its old list stays in its pool. A list is plain data, and
        // all-zero is how nginx makes one; `last` of one with a single part points into the struct
        // itself, so it is set anew after the move.
        unsafe {
            let headers = ptr::addr_of_mut!((*self.raw()).headers_in.headers);
            let old = headers.read();
            let kept = Elements::of(&old).filter(|header| !is_meant(parts(header).0));
            let mut list: ngx_list_t = mem::zeroed();
            init(&mut list, self.pool(), kept.clone().count())?;
            for header in kept {
                *push(&mut list, self.pool())? = *header;
            }
            headers.write(list);
            if list.part.next.is_null() {
                (*headers).last = ptr::addr_of_mut!((*headers).part);
            }
        }
        Ok(())
    }

    /// Appends headers to what the client sent, for the upstream to see. The value of each is a part
    /// of `values`, which ends where `ends` says and begins where that of the one before ends; a
    /// header whose part is empty is left out. The values are copied.
    pub fn add_request_headers(
        &self,
        headers: &'static [RequestHeader],
        values: &[u8],
        ends: &[u32],
    ) -> Result<(), Failed> {
        let values = self.pool().copy(values)?;
        let mut start = 0;
        for (header, end) in headers.iter().zip(ends) {
            let end = *end as usize;
            if end <= start || end > values.len {
                continue;
            }
            // SAFETY: the list belongs to a live request, and the part lies within the text.
            unsafe {
                let list = ptr::addr_of_mut!((*self.raw()).headers_in.headers);
                let value = ngx_str_t {
                    len: end - start,
                    data: values.data.add(start),
                };
                header.write(push(list, self.pool())?, value);
            }
            start = end;
        }
        Ok(())
    }

    /// Appends a header to the response. The value is copied.
    pub fn add_response_header(
        &self,
        name: &'static str,
        value: &[u8],
    ) -> Result<NonNull<ngx_table_elt_t>, Failed> {
        let value = self.pool().copy(value)?;
        // SAFETY: the list belongs to a live request.
        let header = unsafe {
            let list = ptr::addr_of_mut!((*self.raw()).headers_out.headers);
            push(list, self.pool())?
        };
        header.hash = 1;
        header.key = borrowed_str(name.as_bytes());
        header.value = value;
        Ok(NonNull::from(header))
    }

    /// Removes a header that [`Request::add_response_header`] added under that very name. Says whether it was
    /// still in the list.
    pub fn remove_response_header(
        &self,
        name: &'static str,
        header: NonNull<ngx_table_elt_t>,
    ) -> bool {
        let is_there = self.has_response_header(name, header);
        if is_there {
            // SAFETY: the header is in the live request's list, to whose elements no reference is held.
            unsafe { (*header.as_ptr()).hash = 0 };
        }
        is_there
    }

    /// Tells whether a header that [`Request::add_response_header`] added under that very name is still in the
    /// list, sent or not: nginx empties it where a filter replaces the response, and others fill it again.
    pub fn has_response_header(
        &self,
        name: &'static str,
        header: NonNull<ngx_table_elt_t>,
    ) -> bool {
        // SAFETY: the request is live, and so is its list of headers.
        let mut all = unsafe { Elements::of(&self.get().headers_out.headers) };
        all.any(|own| ptr::eq(own, header.as_ptr()) && ptr::eq(own.key.data, name.as_ptr()))
    }

    /// Tells whether a header that [`Request::add_response_header`] added under that very name is still sent.
    pub fn shows_response_header(
        &self,
        name: &'static str,
        header: NonNull<ngx_table_elt_t>,
    ) -> bool {
        // SAFETY: a header that is in the live request's list can be read.
        self.has_response_header(name, header) && unsafe { header.as_ref().hash != 0 }
    }

    /// Removes headers of the response by their name.
    pub fn remove_response_headers(&self, is_meant: impl Fn(&[u8]) -> bool) {
        // SAFETY: the request is live, and so is its list of headers, to whose elements no reference is held.
        unsafe {
            let mut all = Elements::of(&self.get().headers_out.headers);
            while let Some(header) = all.next_pointer() {
                let header = header.as_ptr();
                if is_meant(bytes(&(*header).key)) {
                    (*header).hash = 0;
                }
            }
        }
    }

    /// The status of a finished subrequest, and what its upstream answered, if it has one: the
    /// status and the headers, those that `proxy_hide_header` hides included.
    pub fn answered(&self) -> (ngx_uint_t, Option<(ngx_uint_t, Headers<'_>)>) {
        // SAFETY: the request is live, and its upstream lives in its pool.
        let upstream = unsafe {
            self.get().upstream.as_ref().map(|upstream| {
                let headers = &upstream.headers_in;
                (headers.status_n, Headers::of(&headers.headers))
            })
        };
        (self.status(), upstream)
    }

    /// The directive whose time was over, where the upstream of a finished subrequest timed out.
    pub fn timed_out(&self) -> &'static str {
        // SAFETY: the request is live, and its upstream lives in its pool.
        match unsafe { self.get().upstream.as_ref() } {
            Some(upstream) if upstream::request_body_sent(upstream) => "proxy_read_timeout",
            Some(upstream) if upstream::request_sent(upstream) => "proxy_send_timeout",
            _ => "proxy_connect_timeout",
        }
    }
}

/// Makes `list` an empty one of headers, with room for `capacity` in its first part. It points into
/// itself, so it must not be moved while it is filled.
///
/// # Safety
///
/// `list` must be valid for writes.
pub(super) unsafe fn init(
    list: *mut ngx_list_t,
    pool: Pool<'_>,
    capacity: usize,
) -> Result<(), Failed> {
    let size = mem::size_of::<ngx_table_elt_t>();
    // SAFETY: the pool is live, and the caller vouches for the list.
    check(unsafe { ngx_list_init(list, pool.raw(), capacity.max(1), size) })
}

/// Appends an all-zero header. A list that was never made, as that of an HTTP/0.9 request, is made
/// first.
///
/// # Safety
///
/// `list` must be all-zero or hold `ngx_table_elt_t`, and lie where it was made; `pool` must be that
/// of its request. The reference must not be used beside another to the same header.
pub(super) unsafe fn push<'a>(
    list: *mut ngx_list_t,
    pool: Pool<'_>,
) -> Result<&'a mut ngx_table_elt_t, Failed> {
    // SAFETY: the caller vouches for list and pool. What is pushed is uninitialised memory of the
    // element's size, which an all-zero `ngx_table_elt_t` makes valid.
    unsafe {
        if (*list).last.is_null() {
            init(list, pool, 8)?;
        }
        let header = ngx_list_push(list).cast::<ngx_table_elt_t>();
        if header.is_null() {
            return Err(Failed);
        }
        header.write(mem::zeroed());
        Ok(&mut *header)
    }
}

/// Iterator over the lower-case names and the values of an nginx list of headers. Those with a zero
/// `hash` are left out, as nginx marks removed ones by it.
pub struct Headers<'a>(Elements<'a>);

impl<'a> Headers<'a> {
    /// # Safety
    ///
    /// The list must hold headers that nginx has filled, and live in a pool for `'a`.
    unsafe fn of(list: &'a ngx_list_t) -> Self {
        // SAFETY: the caller vouches for the list.
        Self(unsafe { Elements::of(list) })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.find(|header| header.hash != 0)?;
        // SAFETY: whoever made the iterator vouches for its headers.
        Some(unsafe { parts(header) })
    }
}

/// Iterator over the elements of an nginx list of headers.
#[derive(Clone)]
struct Elements<'a> {
    /// The first part lies in the list itself, which may be replaced meanwhile: so it is copied.
    part: ngx_list_part_t,
    next: usize,
    list: PhantomData<&'a ngx_list_t>,
}

impl<'a> Elements<'a> {
    /// # Safety
    ///
    /// The list must hold `ngx_table_elt_t`, or nothing, and its parts live for `'a`.
    unsafe fn of(list: &ngx_list_t) -> Self {
        Self {
            part: list.part,
            next: 0,
            list: PhantomData,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a ngx_table_elt_t;

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the element lives as long as the list.
        self.next_pointer().map(|header| unsafe { header.as_ref() })
    }
}

impl Elements<'_> {
    /// The next element, to be changed.
    fn next_pointer(&mut self) -> Option<NonNull<ngx_table_elt_t>> {
        while self.next >= self.part.nelts {
            // SAFETY: parts of a live list are valid until its pool goes.
            self.part = unsafe { *self.part.next.as_ref()? };
            self.next = 0;
        }
        // SAFETY: `next` is below the number of elements of this part.
        let header = unsafe { self.part.elts.cast::<ngx_table_elt_t>().add(self.next) };
        self.next += 1;
        NonNull::new(header)
    }
}

/// The lower-case name and the value of a header.
///
/// # Safety
///
/// nginx must have filled the header: its texts are valid, and `lowcase_key` is null or as long as
/// `key`. They must live as long as the header.
unsafe fn parts(header: &ngx_table_elt_t) -> (&[u8], &[u8]) {
    // SAFETY: the caller vouches for the texts.
    unsafe {
        let name = if header.lowcase_key.is_null() {
            bytes(&header.key)
        } else {
            slice::from_raw_parts(header.lowcase_key, header.key.len)
        };
        (name, bytes(&header.value))
    }
}

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

    /// Fills an element of a request's list. The value must live as long as the request.
    pub(super) fn write(&self, element: &mut ngx_table_elt_t, value: ngx_str_t) {
        element.hash = self.hash;
        element.key = borrowed_str(self.name.as_bytes());
        element.value = value;
        element.lowcase_key = self.lowcase.as_ptr().cast_mut();
    }
}
