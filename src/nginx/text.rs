//! `ngx_str_t` and byte slices.

use core::slice;

use nginx_sys::ngx_str_t;

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

/// An `ngx_str_t` that points to `text`; nginx only reads through it.
pub fn borrowed_str(text: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}
