//! Keeps webhooks in the zone that other nodes have yet to be told, so that they outlive the worker that received
//! them.
//!
//! Each has a time from which any worker may tell it: until then the one that is about to does. It is told twice
//! where that one is slow, which changes nothing.

use core::mem;
use core::ptr::{self, NonNull};
use core::slice;

use authgear_tables::word::{Link, Word};

use super::outgoing::Outgoing;
use super::zone::SharedZone;

impl SharedZone {
    /// Keeps a webhook that this worker tells before `due_at`; returns its number, or `None` where there is no
    /// room. Together they take at most a thirty-second of the zone.
    pub fn keep_outgoing(self, bytes: &[u8], due_at: u64) -> Option<u64> {
        let mut locked = self.lock();
        let size = mem::size_of::<Outgoing>() + bytes.len();
        let kept = locked.outgoing();
        let kept = kept.map(|(_, kept)| mem::size_of::<Outgoing>() + kept.len);
        if kept.sum::<usize>() + size > self.size().0 / 32 {
            return None;
        }
        let block = locked.allocate_spare(size)?.cast::<Outgoing>();
        let zone = locked.zone();
        let outgoing = Outgoing {
            next: Link::null(),
            number: zone.leases.increment(),
            due_at: Word::default(),
            len: bytes.len(),
        };
        outgoing.next.set(zone.outgoing.get());
        outgoing.due_at.set(due_at);
        let number = outgoing.number;
        // SAFETY: the block holds the header and the bytes behind it, and slab blocks are aligned to their size
        // rounded up to a power of two.
        unsafe {
            block.write(outgoing);
            ptr::copy_nonoverlapping(bytes.as_ptr(), block.add(1).cast().as_ptr(), bytes.len());
        }
        zone.outgoing.set(block.as_ptr());
        locked.linked();
        Some(number)
    }

    /// Takes the webhooks that are due, with their numbers, to be told before `until`.
    pub fn take_outgoing(self, now: u64, until: u64) -> Vec<(u64, Vec<u8>)> {
        // Most often, and without the mutex.
        if self.header().outgoing.get().is_null() {
            return Vec::new();
        }
        let locked = self.lock();
        let due = locked
            .outgoing()
            .filter(|(_, outgoing)| outgoing.due_at.get() <= now);
        let take = |(block, outgoing): (NonNull<Outgoing>, &Outgoing)| {
            outgoing.due_at.set(until);
            // SAFETY: the bytes follow the header in the block. Nothing changes them, or frees them while the
            // mutex is held.
            let bytes = unsafe {
                let bytes = block.add(1).cast::<u8>();
                slice::from_raw_parts(bytes.as_ptr(), outgoing.len)
            };
            (outgoing.number, bytes.to_vec())
        };
        due.map(take).collect()
    }

    /// Lets any worker tell a webhook from `now` on.
    pub fn outgoing_is_due(self, number: u64, now: u64) {
        let locked = self.lock();
        let mut outgoing = locked.outgoing();
        if let Some((_, outgoing)) = outgoing.find(|(_, outgoing)| outgoing.number == number) {
            outgoing.due_at.set(now);
        }
    }

    /// Forgets a webhook, which other nodes know.
    pub fn forget_outgoing(self, number: u64) {
        let mut locked = self.lock();
        let mut link = &self.header().outgoing;
        // SAFETY: the chain holds live blocks, and none is freed while it is followed.
        while let Some(found) = unsafe { link.get().as_ref() } {
            if found.number == number {
                let block = link.get();
                locked.zone().unlinked_old.set(block.cast());
                link.set(found.next.get());
                locked.zone().unlinked_old.set(ptr::null_mut());
                // SAFETY: nothing points to the block any more.
                unsafe { locked.free(block) };
                return;
            }
            link = &found.next;
        }
    }
}
