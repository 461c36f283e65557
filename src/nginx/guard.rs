//! Panics and failures at the border to C.

use std::panic::{catch_unwind, AssertUnwindSafe};

use nginx_sys::{ngx_int_t, NGX_OK};

/// nginx gave no memory, or refused a registration; it has logged why.
#[derive(Debug)]
pub struct Failed;

/// Takes a status of nginx's for a result.
pub(super) fn check(status: ngx_int_t) -> Result<(), Failed> {
    if status == NGX_OK as ngx_int_t {
        Ok(())
    } else {
        Err(Failed)
    }
}

/// Runs `f` so that no panic reaches nginx: one that happens becomes `on_panic`.
pub fn guard<T>(on_panic: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or(on_panic)
}
