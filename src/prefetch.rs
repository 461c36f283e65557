//! CPU prefetch hints.

/// Starts to load memory into the processor's caches. All its cache lines are loaded at the same time,
/// while other code runs.
#[cfg(target_arch = "x86_64")]
pub fn prefetch_lines(start: *const u8, length: usize) {
    use core::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
    /// Bytes of a cache line.
    const LINE: usize = 64;
    let before = start.addr() % LINE;
    let first = start.wrapping_sub(before);
    for at in (0..before + length).step_by(LINE) {
        // SAFETY: the instruction is part of SSE, which every x86-64 has. It is a hint that reads
        // nothing, so that any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(at).cast()) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn prefetch_lines(_: *const u8, _: usize) {}
