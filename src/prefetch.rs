//! CPU prefetch hints.

/// Tells the processor that memory will be read: what is in none of its faster caches is then fetched
/// while it does something else, and at once, not line by line.
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
