//! Warnings of `nginx -t` about answers that nginx gives before this module or without it.

use core::ffi::CStr;
use core::mem;

use nginx_sys::{
    ngx_array_t, ngx_http_script_if_code_t, ngx_http_script_regex_code_t,
    NGX_HTTP_MOVED_PERMANENTLY,
};

use crate::nginx::{Conf, LocationAt, Place};

/// Warns of a `return` or `rewrite ... redirect` that answers before the access phase. One inside
/// an `if` is taken for what its writer means.
pub fn warn_of_answers(cf: &Conf, location: &LocationAt, verify: &Place) {
    let Some(name) = &location.name else {
        return;
    };
    let Some(directive) = location.rewrites.and_then(answers) else {
        return;
    };
    cf.warn_at(
        verify,
        format_args!(
            "\"{directive}\" in location \"{name}\" answers before \"authgear_verify\" is \
             reached, so nobody is verified there; write \"authgear_verify off;\" in it if that \
             is meant"
        ),
    );
}

/// Looks at a location that a project names in `resolve_request`: warns where clients could ask it
/// themselves, and notes it for what shows only when all is merged.
pub fn look_at_resolver(cf: &Conf, location: &LocationAt) {
    let Some(name) = location.name.as_deref() else {
        return;
    };
    let mut projects = cf.main_conf().projects.iter();
    let project =
        projects.find(|project| project.resolve_request.as_deref() == Some(name.as_bytes()));
    let Some(project) = project else {
        return;
    };
    let confs = location.confs;
    cf.main_conf().note_resolver(name, &project.name, confs);
    if !location.is_internal {
        cf.warn_nowhere(format_args!(
            "location \"{name}\" is the \"resolve_request\" of the project \"{}\" and open to \
             clients, so no question is sent to it; add \"internal;\"",
            project.name
        ));
    }
}

/// The directive that answers by itself, among the compiled directives of the rewrite module.
///
/// They stand one behind the other, each beginning with the function that runs it and as long as a
/// multiple of a pointer.
fn answers(codes: &ngx_array_t) -> Option<&'static str> {
    let function = |name: &CStr| {
        // SAFETY: the name ends with a zero. nginx may lack the function when it was built
        // without regular expressions.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address as usize)
    };
    let returns = function(c"ngx_http_script_return_code");
    let ifs = function(c"ngx_http_script_if_code");
    let rewrites = function(c"ngx_http_script_regex_start_code");

    const WORD: usize = mem::size_of::<usize>();
    let end = codes.nelts;
    let mut at = 0;
    while at + WORD <= end {
        // SAFETY: the array holds `nelts` bytes, aligned as a pointer is.
        let code = unsafe { codes.elts.cast::<u8>().add(at) };
        // SAFETY: there is a whole word at `at`.
        let word = Some(unsafe { code.cast::<usize>().read() });
        if word == returns {
            return Some("return");
        }
        if word == ifs && at + mem::size_of::<ngx_http_script_if_code_t>() <= end {
            // SAFETY: an `if` begins with its function, and there is room for all of it.
            let next = unsafe { (*code.cast::<ngx_http_script_if_code_t>()).next };
            at += next.max(WORD);
            continue;
        }
        if word == rewrites && at + mem::size_of::<ngx_http_script_regex_code_t>() <= end {
            // SAFETY: a `rewrite` begins with its function, and there is room for all of it.
            let status = unsafe { (*code.cast::<ngx_http_script_regex_code_t>()).status };
            if status >= NGX_HTTP_MOVED_PERMANENTLY as usize {
                return Some("rewrite");
            }
        }
        at += WORD;
    }
    None
}
