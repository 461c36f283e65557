//! Parameters with variables.

use core::mem;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_str_t,
};

use super::conf::Conf;
use super::guard::{check, Failed};
use super::request::Request;
use super::text::bytes;

/// A parameter that may hold variables, compiled.
///
/// It lies in the configuration's pool and must be kept in the configuration's structures alone. No
/// lifetime can say so, as they own each other; it holds because a request reaches a value only
/// through its own configuration, which outlives it.
#[derive(Debug, Clone, Copy)]
pub struct ComplexValue(NonNull<ngx_http_complex_value_t>);

impl Conf {
    /// Compiles a parameter that may hold variables.
    pub fn complex_value(&self, text: &str) -> Result<ComplexValue, Failed> {
        let mut source = self.pool().copy(text.as_bytes())?;
        let value = self.pool().zeroed()?;
        // SAFETY: all-zero is what nginx expects of both structures before it fills them.
        check(unsafe {
            let mut compile: ngx_http_compile_complex_value_t = mem::zeroed();
            compile.cf = self.raw();
            compile.value = &mut source;
            compile.complex_value = value.as_ptr();
            ngx_http_compile_complex_value(&mut compile)
        })?;
        Ok(ComplexValue(value))
    }
}

impl ComplexValue {
    /// The value for this request, which lives as long as the request.
    pub fn evaluate(self, r: &Request) -> Result<&[u8], Failed> {
        let mut value = ngx_str_t::empty();
        // SAFETY: the request is live, and so is its configuration with the compiled value.
        unsafe {
            check(ngx_http_complex_value(r.raw(), self.0.as_ptr(), &mut value))?;
            Ok(bytes(&value))
        }
    }
}
