//! The module's type, by which the crate `ngx` finds its configuration.

use core::ptr;

use nginx_sys::ngx_module_t;
use ngx::http::HttpModule;

/// The nginx module that owns the directives.
#[derive(Debug)]
pub struct AuthgearModule;

unsafe extern "C" {
    /// Declared here as a C module declares it in a header, so that this file needs none above it.
    /// `lib.rs` defines it.
    static mut ngx_http_authgear_module: ngx_module_t;
}

impl HttpModule for AuthgearModule {
    fn module() -> &'static ngx_module_t {
        // SAFETY: `lib.rs` defines the static with this type. nginx fills its indices in before it
        // calls anything of the module, and never changes them while requests or configuration
        // refer to it.
        unsafe { &*ptr::addr_of!(ngx_http_authgear_module) }
    }
}
