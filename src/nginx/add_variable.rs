//! Adds variables while the configuration is read.

use core::ptr;

use nginx_sys::{
    ngx_http_add_variable, ngx_http_request_t, ngx_int_t, ngx_variable_value_t,
    NGX_HTTP_VAR_NOCACHEABLE,
};

use super::conf::Conf;
use super::guard::Failed;
use super::text::borrowed_str;

/// Fills the slot of a variable. nginx hands over a live request, the slot, and what the variable was
/// added with.
pub type Getter =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_variable_value_t, usize) -> ngx_int_t;

impl Conf {
    /// Adds a variable that is asked for anew at each read; `getter` is handed `data`.
    pub fn add_variable(
        &self,
        name: &str,
        flags: u32,
        getter: Getter,
        data: usize,
    ) -> Result<(), Failed> {
        let mut name = borrowed_str(name.as_bytes());
        let flags = (flags | NGX_HTTP_VAR_NOCACHEABLE) as usize;
        // SAFETY: the context is live; nginx copies the name.
        unsafe {
            let variable = ngx_http_add_variable(self.raw(), &mut name, flags)
                .as_mut()
                .ok_or(Failed)?;
            variable.get_handler = Some(getter);
            variable.data = data;
        }
        Ok(())
    }

    /// Adds a variable that an administrator named, and returns what `getter` is handed for it and
    /// for no other: its address. `None` if another directive sets it; nginx refuses the directives
    /// that would set it later.
    pub fn add_named_variable(&self, name: &str, getter: Getter) -> Result<Option<usize>, Failed> {
        let mut name = borrowed_str(name.as_bytes());
        let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
        // SAFETY: the context is live; nginx copies the name.
        let variable = unsafe {
            ngx_http_add_variable(self.raw(), &mut name, flags)
                .as_mut()
                .ok_or(Failed)?
        };
        if variable.get_handler.is_some() {
            return Ok(None);
        }
        variable.get_handler = Some(getter);
        variable.data = ptr::from_mut(variable) as usize;
        Ok(Some(variable.data))
    }
}
