//! Tables of directives, and what runs a directive's row.

use core::ffi::{c_char, c_void, CStr};
use core::ptr;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_str_t, ngx_uint_t, NGX_CONF_1MORE, NGX_CONF_BLOCK,
    NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
};
use ngx::core::NGX_CONF_OK;

use super::mistake::Mistake;
use super::value;
use crate::nginx::{guard, Conf, CONF_ERROR};

/// A directive with one parameter.
pub const ONE: u32 = NGX_CONF_TAKE1;
/// A directive with at least one parameter.
pub const MANY: u32 = NGX_CONF_1MORE;
/// A directive with one parameter and a block.
pub const BLOCK: u32 = NGX_CONF_TAKE1 | NGX_CONF_BLOCK;

/// A directive whose parameters are read into a `T`: a row of a table.
pub struct Directive<T> {
    /// As administrators write it.
    pub name: &'static CStr,
    /// [`ONE`], [`MANY`] or [`BLOCK`].
    pub takes: u32,
    /// Reads the parameters.
    pub set: Set<T>,
    /// Takes over what the level above says and this level does not.
    pub merge: fn(&mut T, &T),
}

/// Reads a directive's parameters, the words behind its name.
pub type Set<T> = fn(&mut T, &Conf, &[&str]) -> Result<(), Mistake>;

/// Makes the table `DIRECTIVES` of one level, and the structure that its directives are read into.
///
/// A row is: name, number of parameters, field, setter, merge.
/// - `read f`: `f(cf, words)` gives the value of the field, an `Option` that is filled once.
/// - `set f`: `f(self, cf, words)` does everything itself.
/// - `require f`: `f(field, cf, words)` fills the field of a requirement, whose place the structure's
///   `note` remembers.
/// - The merge may be missing: then the field stays as this level has it.
///
/// Fields that no directive has for itself follow behind `..`.
macro_rules! directives {
    (
        $(#[$doc:meta])*
        $vis:vis struct $conf:ident {
            $(
                $name:literal, $takes:expr, $field_vis:vis $field:ident: $type:ty,
                $how:ident $with:expr $(, $merge:path)?;
            )*
            $(.. { $($more:tt)* })?
        }
    ) => {
        $(#[$doc])*
        $vis struct $conf {
            $($field_vis $field: $type,)*
            $($($more)*)?
        }

        impl $conf {
            /// The directives of this level, in the order of the reference.
            pub const DIRECTIVES: &'static [$crate::conf::directive::Directive<Self>] = &[$(
                $crate::conf::directive::Directive {
                    name: $name,
                    takes: $takes,
                    set: directives!(@$how $name, $field, $with),
                    merge: |_here, _above| {
                        $($merge(&mut _here.$field, &_above.$field);)?
                    },
                },
            )*];
        }
    };
    (@read $name:literal, $field:ident, $with:expr) => {
        |conf, cf, words| $crate::conf::directive::read_once(&mut conf.$field, cf, words, $with)
    };
    (@set $name:literal, $field:ident, $with:expr) => { $with };
    (@require $name:literal, $field:ident, $with:expr) => {
        |conf, cf, words| {
            $with(&mut conf.$field, cf, words)?;
            conf.note($name, cf, words);
            Ok(())
        }
    };
}
pub(crate) use directives;

/// The value of a directive that may stand once at a level.
pub fn read_once<T>(
    field: &mut Option<T>,
    cf: &Conf,
    words: &[&str],
    read: fn(&Conf, &[&str]) -> Result<T, Mistake>,
) -> Result<(), Mistake> {
    value::set(field, read(cf, words)?)
}

/// The merge of a directive that a level inherits unless it has its own.
pub fn inherit<T: Clone>(here: &mut Option<T>, above: &Option<T>) {
    if here.is_none() {
        here.clone_from(above);
    }
}

/// The levels at which a table's directives may stand.
#[derive(Clone, Copy)]
pub struct Level {
    contexts: u32,
    /// The place of the structure that nginx hands over.
    offset: usize,
}

/// The `http` block alone, and `MainConf`.
pub const HTTP: Level = Level {
    contexts: NGX_HTTP_MAIN_CONF,
    offset: NGX_HTTP_MAIN_CONF_OFFSET,
};

/// The levels `http`, `server`, `location`, `if` and `limit_except`, and `LocationConf`.
pub const ANY: Level = Level {
    contexts: NGX_HTTP_MAIN_CONF
        | NGX_HTTP_SRV_CONF
        | NGX_HTTP_LOC_CONF
        | NGX_HTTP_LIF_CONF
        | NGX_HTTP_LMT_CONF,
    offset: NGX_HTTP_LOC_CONF_OFFSET,
};

/// A location alone, and `LocationConf`.
pub const LOCATION: Level = Level {
    contexts: NGX_HTTP_LOC_CONF,
    offset: NGX_HTTP_LOC_CONF_OFFSET,
};

/// Puts the commands of a table into nginx's, from `at` on.
///
/// # Safety
///
/// This module's structure at that level must be a `T`.
pub const unsafe fn add_commands<T>(
    commands: &mut [ngx_command_t],
    at: usize,
    level: Level,
    table: &'static [Directive<T>],
) {
    let mut row = 0;
    while row < table.len() {
        let directive = &table[row];
        commands[at + row] = ngx_command_t {
            // nginx compares up to the terminating zero.
            name: ngx_str_t {
                len: directive.name.count_bytes(),
                data: directive.name.as_ptr().cast_mut().cast(),
            },
            type_: (level.contexts | directive.takes) as ngx_uint_t,
            set: Some(set::<T>),
            conf: level.offset,
            offset: 0,
            post: ptr::from_ref(directive).cast_mut().cast(),
        };
        row += 1;
    }
}

/// Runs the directive behind a command of [`add_commands`].
unsafe extern "C" fn set<T>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: nginx hands over a valid context, the command, whose `post` is its row, and the
        // structure of its level, a `T`.
        let (cf, directive, conf) = unsafe {
            (
                Conf::from_raw(cf),
                &*(*command).post.cast::<Directive<T>>(),
                &mut *conf.cast::<T>(),
            )
        };
        run(&cf, |words| (directive.set)(conf, &cf, &words[1..]))
    })
}

/// Runs `set` on all words of the directive; a mistake is logged after the directive's name.
pub fn run(cf: &Conf, set: impl FnOnce(&[&str]) -> Result<(), Mistake>) -> *mut c_char {
    let done = cf.words().map_err(Mistake::from).and_then(|words| {
        set(&words).map_err(|mistake| mistake.after(&format!("\"{}\"", words[0])))
    });
    match done {
        Ok(()) => return NGX_CONF_OK,
        Err(Mistake::Here(text)) => cf.emerg(text),
        Err(Mistake::Logged) => {}
    }
    CONF_ERROR
}
