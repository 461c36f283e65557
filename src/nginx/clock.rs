//! The clock that all workers share.

/// Milliseconds of the machine's monotonic clock, which all processes share, counted from long before
/// the machine started: a saved key set can be older than that.
pub fn now() -> u64 {
    const START: u64 = 1 << 42;
    START + since_start()
}

/// Unix time in whole seconds, as the event loop last read it.
pub fn unix_time() -> u64 {
    u64::try_from(nginx_sys::ngx_timeofday().sec).unwrap_or_default()
}

#[cfg(target_pointer_width = "64")]
fn since_start() -> u64 {
    // SAFETY: the event loop writes it between callbacks only.
    unsafe { nginx_sys::ngx_current_msec as u64 }
}

/// nginx counts milliseconds in a machine word. One of 32 bits begins again after 49.7 days, when what
/// is in the zone would seem to come from the future.
#[cfg(not(target_pointer_width = "64"))]
fn since_start() -> u64 {
    // SAFETY: the clock is there, and the time is the caller's.
    let time = unsafe {
        let mut time: libc::timespec = core::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time
    };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
