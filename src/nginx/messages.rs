//! Messages of `nginx -t`, with file and line.

use core::ffi::c_char;
use core::fmt;

use nginx_sys::{ngx_log_t, ngx_uint_t, NGX_LOG_EMERG, NGX_LOG_WARN};

use super::conf::Conf;
use super::text::bytes;

/// A directive handler's "error, already logged".
pub const CONF_ERROR: *mut c_char = ngx::core::NGX_CONF_ERROR;

/// A line of a configuration file.
#[derive(Debug, Clone, Default)]
pub struct Place {
    file: String,
    line: ngx_uint_t,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Conf {
    /// Logs a mistake that stops nginx; nginx appends the file and line.
    pub fn emerg(&self, message: impl fmt::Display) {
        ngx::ngx_conf_log_error!(NGX_LOG_EMERG, self.raw(), "authgear: {message}");
    }

    /// Like [`Conf::emerg`], for a directive that was read before.
    pub fn emerg_at(&self, place: &Place, message: impl fmt::Display) {
        self.emerg_nowhere(format_args!("{message} in {place}"));
    }

    /// Like [`Conf::emerg`], for a mistake that stands at no one line.
    pub fn emerg_nowhere(&self, message: impl fmt::Display) {
        ngx::ngx_log_error!(NGX_LOG_EMERG, self.log(), "authgear: {message}");
    }

    /// Logs something that an administrator should look at; nginx appends the file and line.
    pub fn warn(&self, message: impl fmt::Display) {
        ngx::ngx_conf_log_error!(NGX_LOG_WARN, self.raw(), "authgear: {message}");
    }

    /// Like [`Conf::warn`], for a directive that was read before.
    pub fn warn_at(&self, place: &Place, message: impl fmt::Display) {
        self.warn_nowhere(format_args!("{message} in {place}"));
    }

    /// Like [`Conf::warn`], for something that stands at no one line.
    pub fn warn_nowhere(&self, message: impl fmt::Display) {
        ngx::ngx_log_error!(NGX_LOG_WARN, self.log(), "authgear: {message}");
    }

    fn log(&self) -> *mut ngx_log_t {
        self.get().log
    }

    /// The file and line of the directive, for a mistake that is found later.
    pub fn place(&self) -> Place {
        // SAFETY: the context is live; `conf_file` is null only for `-g` parameters. The name lives
        // in the configuration's pool.
        unsafe {
            let Some(file) = self.get().conf_file.as_ref() else {
                return Place::default();
            };
            Place {
                file: String::from_utf8_lossy(bytes(&file.file.name)).into_owned(),
                line: file.line,
            }
        }
    }
}
