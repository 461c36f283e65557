//! The questions that a client address may cause before any limit.

use authgear_core::digest::{Digester, Kind};
use authgear_tables::early::Slip;

use super::zone::SharedZone;

impl SharedZone {
    /// Counts a question of a client's network at `now`; `None` where it has asked as often as it may.
    pub fn take_early_question(self, network: &[u8], now: u64) -> Option<Slip> {
        let locked = self.lock();
        let zone = locked.zone();
        let digest = Digester::with(zone.bucket_key).of(Kind::Address, &[network]);
        zone.early.take(u128::from_ne_bytes(digest), now)
    }

    /// Counts a question no more.
    pub fn give_back_early_question(self, slip: Slip) {
        self.lock().zone().early.give_back(slip);
    }
}
