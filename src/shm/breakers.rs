//! The suspension of the resolvers of tenants; a project with one endpoint has its own beside its counters.

use authgear_core::digest::{Digester, Kind};
use authgear_tables::breaker::Breaker;
use authgear_tables::source::Id;

use super::zone::SharedZone;

impl SharedZone {
    /// A digest of a tenant, which is never 0.
    fn tenant_digest(self, tenant: &Id) -> u64 {
        let digest = Digester::with(self.header().bucket_key).of(Kind::Tenant, &[tenant]);
        u128::from_ne_bytes(digest) as u64 | 1
    }

    /// Hands the breaker of a tenant to `read`, if anything is remembered of it.
    pub fn read_breaker<T>(self, tenant: &Id, read: impl FnOnce(&Breaker) -> T) -> Option<T> {
        let digest = self.tenant_digest(tenant);
        self.header().breakers().find(digest).map(read)
    }

    /// Hands the breaker of a tenant of that project to `change`, with the mutex held.
    pub fn change_breaker<T>(
        self,
        (tenant, project): (&Id, u64),
        now: u64,
        change: impl FnOnce(&Breaker) -> T,
    ) -> T {
        let digest = self.tenant_digest(tenant);
        let locked = self.lock();
        let breakers = locked.zone().breakers();
        change(breakers.find_or_insert(digest, project, now))
    }

    /// The time since which a tenant of that project is suspended.
    pub fn tenants_suspended_since(self, project: u64) -> Option<u64> {
        self.header().breakers().suspended_since(project)
    }
}
