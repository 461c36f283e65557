//! Memory pools.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{ngx_pcalloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t};

use super::guard::Failed;

/// A pool, borrowed from the request or the configuration that it belongs to. The memory that it
/// gives lives until nginx destroys the pool, at the end of that request or configuration.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    pool: NonNull<ngx_pool_t>,
    owner: PhantomData<&'a ngx_pool_t>,
}

/// A cleanup handler: nginx calls it with the value before it destroys the pool.
pub type Cleanup = unsafe extern "C" fn(*mut c_void);

impl Pool<'_> {
    /// # Safety
    ///
    /// `pool` must point to a pool that is live for the lifetime that the caller chooses.
    pub unsafe fn from_raw(pool: *mut ngx_pool_t) -> Self {
        Self {
            // SAFETY: a pointer to a live pool is not null.
            pool: unsafe { NonNull::new_unchecked(pool) },
            owner: PhantomData,
        }
    }

    /// The pool itself, for nginx's functions.
    pub fn raw(self) -> *mut ngx_pool_t {
        self.pool.as_ptr()
    }

    /// Copies `text` into the pool, with a zero byte behind it that is not counted. nginx's parsers of
    /// configurations and headers leave one, and some of its functions read it:
    /// `ngx_http_compile_complex_value` behind a `$` at the end.
    pub fn copy(self, text: &[u8]) -> Result<ngx_str_t, Failed> {
        if text.is_empty() {
            return Ok(ngx_str_t::empty());
        }
        // SAFETY: the pool is live, and the new block is a byte longer than the text.
        unsafe {
            let data = ngx_pnalloc(self.raw(), text.len() + 1).cast::<u8>();
            if data.is_null() {
                return Err(Failed);
            }
            ptr::copy_nonoverlapping(text.as_ptr(), data, text.len());
            data.add(text.len()).write(0);
            Ok(ngx_str_t {
                len: text.len(),
                data,
            })
        }
    }

    /// An all-zero structure.
    pub fn zeroed<T>(self) -> Result<NonNull<T>, Failed> {
        const { assert!(mem::align_of::<T>() <= mem::align_of::<*const c_void>()) };
        // SAFETY: the pool is live.
        let block = unsafe { ngx_pcalloc(self.raw(), mem::size_of::<T>()) };
        NonNull::new(block.cast()).ok_or(Failed)
    }

    /// Moves `value` into the pool; `drop` is called with it when nginx destroys the pool.
    ///
    /// # Safety
    ///
    /// `drop` must be sound when it is called once, with a pointer to a `T`, after everything that
    /// refers to the value.
    pub unsafe fn alloc_with_cleanup<T>(
        self,
        value: T,
        drop: Cleanup,
    ) -> Result<NonNull<T>, Failed> {
        const { assert!(mem::align_of::<T>() <= mem::align_of::<*const c_void>()) };
        // SAFETY: the pool is live; nginx aligns the cleanup's data for anything of pointer
        // alignment, and gives as many bytes as were asked for.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.raw(), mem::size_of::<T>());
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
            let mut cleanup = (*self.raw()).cleanup;
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
