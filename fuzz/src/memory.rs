//! Memory that two processes would share, and the commands that an input consists of.

use std::alloc::{alloc, dealloc, Layout};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Aligned memory of that very size, so that AddressSanitizer sees any access beyond it.
pub struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Memory that is filled with a byte.
    pub fn new(size: usize, byte: u8) -> Memory {
        let layout = Layout::from_size_align(size, 64).expect("a size");
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) }).expect("memory");
        // SAFETY: it was allocated with this size.
        unsafe { start.write_bytes(byte, size) };
        Memory { start, layout }
    }

    /// Its first byte.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The words of it.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the memory is aligned, initialised and long enough; all of it that changes is atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.layout.size() / 8) }
    }

    /// Stores what a wild pointer of another process might, but in words whose index is `constant`.
    pub fn scribble(&self, input: &mut Input<'_>, constant: &[usize]) {
        let words = self.words();
        let index = usize::from(input.short()) % words.len();
        if !constant.contains(&index) {
            words[index].store(input.value(), Ordering::Release);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// An input as numbers; 0 behind its end.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The numbers of these bytes.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    /// True behind the end.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// The next two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number of any size: the first byte says which bits are set apart from a small one.
    pub fn value(&mut self) -> u64 {
        let (kind, small) = (self.byte(), u64::from(self.byte()));
        match kind % 8 {
            0 => small,
            1 => u64::MAX - small,
            2 => small << 56 | u64::from(self.short()),
            3 => 1 << (small % 64),
            4 => (1 << 42) + small,
            5 => small << 32 | u64::from(self.short()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }
}
