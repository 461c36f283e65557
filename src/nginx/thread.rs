//! Threads beside the event loop, and other processes.

use core::mem;
use std::{io, thread};

/// Enough for a TLS handshake in a debug build.
const STACK: usize = 1 << 20;

/// Runs `run` on a thread that no signal interrupts: nginx's handlers belong to its own.
pub fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: both sets are initialised before they are read; the mask is this thread's own and
    // is put back before anything else runs.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = thread::Builder::new().stack_size(STACK).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, core::ptr::null_mut());
        spawned.map(drop)
    }
}

/// True in a worker, and in nginx without a master process.
pub fn serves_requests() -> bool {
    // SAFETY: written before the process starts.
    let process = unsafe { nginx_sys::ngx_process } as u32;
    matches!(
        process,
        nginx_sys::NGX_PROCESS_SINGLE | nginx_sys::NGX_PROCESS_WORKER
    )
}

/// Tells whether a process is there. One of another user is.
pub fn is_process_alive(process: u64) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else {
        return false;
    };
    // SAFETY: signal 0 is sent to nobody; the call only looks for the process.
    let found = unsafe { libc::kill(process, 0) } == 0;
    found || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
