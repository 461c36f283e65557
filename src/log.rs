//! Log lines that a client, a tenant or a server can cause.

use core::cell::RefCell;
use core::fmt;
use core::mem::{self, ManuallyDrop};
use std::collections::BTreeMap;

use nginx_sys::{ngx_log_t, NGX_LOG_INFO};
use ngx::ngx_log_error;

use crate::nginx::{now, Request};

/// Lines that are counted together: the project's number, or digest, and a word.
pub type Topic = (usize, &'static str);

thread_local! {
    // For each topic: the second of its last line, and how many were held back since. Never dropped, so
    // that it can be used until the process ends.
    static LOGGED: ManuallyDrop<RefCell<BTreeMap<Topic, (u64, u64)>>> =
        const { ManuallyDrop::new(RefCell::new(BTreeMap::new())) };
}

/// Logs a line at most once a second for each topic of each project, and more of them at level `info`:
/// no client can fill the log. The next line says how many there were, if they were many.
pub fn log_limited(r: &Request, level: u32, topic: Topic, line: fmt::Arguments<'_>) {
    log_limited_in(r.log(), level, topic, line);
}

/// As [`log_limited`], outside of a request.
pub fn log_limited_in(log: *mut ngx_log_t, level: u32, topic: Topic, line: fmt::Arguments<'_>) {
    const MANY: u64 = 10;
    let second = now() / 1000;
    let more = LOGGED.with(|logged| {
        let mut logged = logged.borrow_mut();
        let (last, more) = logged.entry(topic).or_insert((0, 0));
        if *last == second {
            *more += 1;
            return None;
        }
        *last = second;
        Some(mem::take(more))
    });
    let (level, more) = match more {
        None => (NGX_LOG_INFO, 0),
        Some(more) => (level, more),
    };
    if more < MANY {
        ngx_log_error!(level, log, "authgear: {line}");
    } else {
        ngx_log_error!(
            level,
            log,
            "authgear: {line}, and {more} like it before, logged at level info"
        );
    }
}
