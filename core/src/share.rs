//! The questions to resolvers that a worker may have under way, and whose they are.
//!
//! A question takes two connections of nginx, so that a slow resolver could take all of a worker's. All
//! questions together get a part of them, a project a part of that, and a tenant a part of its project's.
//! Half of each part is kept for credentials that had a yes: made-up ones take at most the other half. Of that
//! half the probes of suspended resolvers, which may hang for ten seconds, come first, up to a part of their own: where
//! the resolvers of many tenants are suspended, those of others are still asked.

use std::collections::BTreeMap;

use crate::digest::Digest;

/// One question for so many connections of the worker.
const CONNECTIONS_OF_ALL: usize = 4;
/// One question of one project for so many connections.
const CONNECTIONS_OF_PROJECT: usize = 8;
/// The least bound of a project, and of all projects together.
const LEAST: usize = 32;
/// A tenant's part of its project's questions is one in so many.
const TENANTS: usize = 4;
/// The part of probes is one in so many.
const PROBES: usize = 4;
/// The probes of one resolver: one a second, each for at most ten.
const PROBES_OF_ONE: usize = 10;

/// The subject of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A credential that the resolver has accepted before.
    Known,
    /// Another credential.
    Stranger,
    /// A made-up session, to find out if a suspended resolver responds.
    Probe,
}

/// The questions under way in one worker.
#[derive(Debug, Default)]
pub struct Questions(BTreeMap<Scope, UnderWay>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    All,
    /// A project, by the digest of its name.
    Project(u64),
    /// A tenant of a project with many, by its identity.
    Tenant([u8; 32]),
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    /// Those about credentials that never had a yes.
    strangers: usize,
    /// Those that are probes.
    probes: usize,
}

/// The place of one question, which [`Questions::leave`] gives back.
#[derive(Debug)]
pub struct Place {
    scopes: [Option<Scope>; 3],
    subject: Subject,
}

impl Scope {
    /// The most questions, in a worker with so many connections.
    fn bound(self, connections: usize) -> usize {
        let of_project = (connections / CONNECTIONS_OF_PROJECT).max(LEAST);
        match self {
            Self::All => (connections / CONNECTIONS_OF_ALL).max(LEAST),
            Self::Project(_) => of_project,
            Self::Tenant(_) => of_project / TENANTS,
        }
    }
}

impl UnderWay {
    fn has_room(&self, bound: usize, subject: Subject) -> bool {
        self.all < bound
            && match subject {
                Subject::Known => true,
                Subject::Stranger => self.strangers + self.probes < bound / 2,
                Subject::Probe => self.probes < (bound / PROBES).max(PROBES_OF_ONE),
            }
    }

    fn count(&mut self, subject: Subject) -> Option<&mut usize> {
        match subject {
            Subject::Known => None,
            Subject::Stranger => Some(&mut self.strangers),
            Subject::Probe => Some(&mut self.probes),
        }
    }
}

impl Questions {
    /// Takes a place for a question of a project, and of the tenant if it has many. `None` where there is no
    /// place.
    pub fn enter(
        &mut self,
        project: u64,
        tenant: Option<[u8; 32]>,
        subject: Subject,
        connections: usize,
    ) -> Option<Place> {
        let scopes = [
            Some(Scope::All),
            Some(Scope::Project(project)),
            tenant.map(Scope::Tenant),
        ];
        let has_room = |scope: Scope| {
            let under_way = self.0.get(&scope);
            under_way.is_none_or(|all| all.has_room(scope.bound(connections), subject))
        };
        if !scopes.iter().flatten().all(|scope| has_room(*scope)) {
            return None;
        }
        for scope in scopes.into_iter().flatten() {
            let under_way = self.0.entry(scope).or_default();
            under_way.all += 1;
            if let Some(count) = under_way.count(subject) {
                *count += 1;
            }
        }
        Some(Place { scopes, subject })
    }

    /// Gives a place back.
    pub fn leave(&mut self, place: &Place) {
        for scope in place.scopes.into_iter().flatten() {
            let Some(under_way) = self.0.get_mut(&scope) else {
                continue;
            };
            under_way.all -= 1;
            if let Some(count) = under_way.count(place.subject) {
                *count -= 1;
            }
            if under_way.all == 0 {
                self.0.remove(&scope);
            }
        }
    }
}

/// Credentials that had a yes lately, by their digests. A later one may take the place of an earlier one.
#[derive(Debug, Default)]
pub struct Accepted(Vec<u32>);

/// Places for them: 32 KiB, once there is any.
const ACCEPTED: usize = 8192;

impl Accepted {
    fn place(digest: &Digest) -> (usize, u32) {
        let number = u128::from_le_bytes(*digest);
        // 0 stands for none.
        (number as usize % ACCEPTED, (number >> 96) as u32 | 1)
    }

    /// Notes that a credential had a yes.
    pub fn note(&mut self, digest: &Digest) {
        self.0.resize(ACCEPTED, 0);
        let (place, tag) = Self::place(digest);
        self.0[place] = tag;
    }

    /// True for a credential that had one.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        let (place, tag) = Self::place(digest);
        self.0.get(place) == Some(&tag)
    }
}

#[cfg(test)]
mod tests {
    use super::Subject::*;
    use super::*;

    /// Takes places until there is none.
    fn fill(
        questions: &mut Questions,
        project: u64,
        tenant: Option<[u8; 32]>,
        subject: Subject,
        connections: usize,
    ) -> Vec<Place> {
        let enter = || questions.enter(project, tenant, subject, connections);
        std::iter::from_fn(enter).collect()
    }

    #[test]
    fn a_project_has_an_eighth_and_all_together_a_quarter() {
        for (connections, of_project, of_all) in [
            (4096, 512, 1024),
            (512, 64, 128),
            (256, 32, 64),
            (128, 32, 32),
            (1, 32, 32),
        ] {
            let mut questions = Questions::default();
            let first = fill(&mut questions, 1, None, Known, connections);
            assert_eq!(first.len(), of_project, "{connections}");
            let others: usize = (2..10)
                .map(|project| fill(&mut questions, project, None, Known, connections).len())
                .sum();
            assert_eq!(first.len() + others, of_all, "{connections}");
        }
    }

    #[test]
    fn half_of_each_bound_is_kept_for_credentials_that_had_a_yes() {
        let mut questions = Questions::default();
        assert_eq!(fill(&mut questions, 1, None, Stranger, 512).len(), 32);
        assert_eq!(fill(&mut questions, 1, None, Known, 512).len(), 32);
        assert!(questions.enter(1, None, Known, 512).is_none());
        // 64 of all 128 are strangers' now, and no project has more.
        assert_eq!(fill(&mut questions, 2, None, Stranger, 512).len(), 32);
        assert_eq!(fill(&mut questions, 3, None, Stranger, 512).len(), 0);
        assert_eq!(fill(&mut questions, 3, None, Known, 512).len(), 32);
    }

    #[test]
    fn a_tenant_has_a_quarter_of_its_projects() {
        let mut questions = Questions::default();
        let mut fill = |tenant, subject| fill(&mut questions, 1, Some([tenant; 32]), subject, 512);
        assert_eq!(fill(1, Stranger).len(), 8);
        assert_eq!(fill(1, Known).len(), 8);
        let others = (2..10).map(|tenant| fill(tenant, Known).len());
        assert_eq!(others.sum::<usize>(), 48, "the project's own bound");
    }

    #[test]
    fn probes_leave_room_for_others() {
        for (connections, of_project, of_all) in [(4096, 128, 256), (512, 16, 32), (256, 10, 16)] {
            let mut questions = Questions::default();
            let mut probes = |project| {
                let all = (0..=u8::MAX).flat_map(|tenant| {
                    fill(
                        &mut questions,
                        project,
                        Some([tenant; 32]),
                        Probe,
                        connections,
                    )
                });
                all.count()
            };
            assert_eq!(probes(1), of_project, "{connections}");
            assert_eq!((2..10).map(&mut probes).sum::<usize>() + of_project, of_all);
        }
        // Probes and strangers together have half.
        let mut questions = Questions::default();
        for tenant in 1..=64 {
            assert!(questions
                .enter(1, Some([tenant; 32]), Probe, 4096)
                .is_some());
        }
        assert_eq!(
            fill(&mut questions, 1, None, Stranger, 4096).len(),
            256 - 64
        );
        assert_eq!(fill(&mut questions, 1, None, Known, 4096).len(), 256);
    }

    #[test]
    fn strangers_stop_no_probe() {
        let mut questions = Questions::default();
        assert_eq!(fill(&mut questions, 1, None, Stranger, 512).len(), 32);
        assert_eq!(fill(&mut questions, 1, None, Probe, 512).len(), 16);
    }

    #[test]
    fn a_place_that_is_given_back_is_free() {
        let mut questions = Questions::default();
        for (subject, most) in [(Stranger, 8), (Known, 16), (Probe, 10)] {
            for _ in 0..3 {
                let places = fill(&mut questions, 1, Some([1; 32]), subject, 512);
                assert_eq!(places.len(), most);
                places.iter().for_each(|place| questions.leave(place));
                assert!(questions.0.is_empty());
            }
        }
    }

    #[test]
    fn a_place_is_free_again_while_others_are_held() {
        for (subject, most) in [(Stranger, 8), (Known, 15), (Probe, 10)] {
            let mut questions = Questions::default();
            let _held = questions.enter(1, Some([1; 32]), Known, 512);
            for _ in 0..3 {
                let places = fill(&mut questions, 1, Some([1; 32]), subject, 512);
                assert_eq!(places.len(), most, "{subject:?}");
                places.iter().for_each(|place| questions.leave(place));
            }
        }
    }

    #[test]
    fn a_credential_is_known_by_its_digest() {
        let mut accepted = Accepted::default();
        let digest = |number: u128| number.to_le_bytes();
        assert!(!accepted.has(&digest(0)));
        accepted.note(&digest(5 << 96 | 7));
        assert!(accepted.has(&digest(5 << 96 | 7)));
        assert!(!accepted.has(&digest(9 << 96 | 7)));
        assert!(!accepted.has(&digest(5 << 96 | 8)));
    }
}
