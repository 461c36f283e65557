//! The use of the resolver's reply: stored for other requests, and a verdict for the one that asked.

use authgear_core::recheck::FAILED_PAUSE;
use authgear_core::session::Field;
use authgear_core::status::{self, Count};
use authgear_tables::judgements::{self, Answer, Key, Text, Writer};
use nginx_sys::{NGX_LOG_ERR, NGX_LOG_NOTICE};
use ngx::ngx_log_error;

use crate::log::log_limited;
use crate::nginx::Request;
use crate::request::outcome::Provenance;
use crate::request::question::{
    expiry, Asked, Confirmation, Failure, Lease, Purpose, Reply, Verdict, NO_LIFETIME,
};
use crate::request::resolver::kept_yes;
use crate::request::revoked::instead_of_yes;
use crate::request::waiting;
use crate::worker;

impl Purpose {
    /// Stores a reply for other requests, and returns the verdict for the one that asked.
    pub fn settle(self, r: &Request, asked: &Asked, reply: &Reply) -> Verdict {
        let (project, lifetime) = (asked.project(r), asked.lifetime);
        let entry = match self {
            Self::Confirmation(mut confirmation) => return confirmation.settle(r, reply),
            Self::Probe(own) => {
                // SAFETY: this is its subrequest, which has ended just now.
                unsafe { own.end() };
                return Verdict::Failed;
            }
            Self::Judgement(entry) => entry,
        };
        let verdict = match reply {
            Ok(Some(session)) => {
                let void =
                    instead_of_yes(r, &asked.tenant.names, &session.session(), asked.asked_at);
                void.unwrap_or(Verdict::Yes(Some(*session), Provenance::Request))
            }
            Ok(None) => Verdict::No,
            Err(failure) => {
                let why = &failure.why;
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (project.index, "resolver"),
                    format_args!("{why}"),
                );
                Verdict::Failed
            }
        };
        if let (Verdict::Yes(..), Some(key)) = (&verdict, asked.key()) {
            worker::note_yes(&key);
        }
        if let Some((key, lease)) = entry {
            let (stored, record) = match (&verdict, reply) {
                (Verdict::Yes(..), Ok(Some(session))) => {
                    match session.session().fields().record() {
                        Some(record) => (judgements::Verdict::Yes, record),
                        None => (judgements::Verdict::TooLarge, Vec::new()),
                    }
                }
                (Verdict::No, _) => (judgements::Verdict::No, Vec::new()),
                _ => (judgements::Verdict::Failed, Vec::new()),
            };
            let number = lease.map(Lease::into_number);
            let fresh = project.resolve_cache.unwrap_or(0);
            let live = match stored {
                judgements::Verdict::No => fresh.min(NO_LIFETIME),
                judgements::Verdict::Yes => fresh.saturating_add(project.resolve_stale),
                _ => fresh,
            };
            let live = live.min(lifetime);
            let stale = worker::change_judgements(|writer, now| {
                if let (Err(failure), 1..) = (reply, project.resolve_stale) {
                    let is_outage = failure.is_outage();
                    let failure = judgements::Failure { at: now, is_outage };
                    if let Some(yes) = keep_yes(r, asked, writer, (&key, number), failure) {
                        return yes;
                    }
                }
                let answer = Answer {
                    verdict: stored,
                    session: &record,
                    not_after: now.saturating_add(lifetime),
                    live_until: now.saturating_add(live),
                };
                writer.store(&key, number, &answer, now);
                None
            });
            waiting::wake_waiters();
            if let Some(stale) = stale.flatten() {
                return stale;
            }
        }
        verdict
    }
}

/// Keeps an earlier yes, if there is one, after a question that got no verdict; returns it where it may be
/// used in place of a verdict.
fn keep_yes(
    r: &Request,
    asked: &Asked,
    writer: &mut Writer<'_>,
    (key, lease): (&Key, Option<u64>),
    failure: judgements::Failure,
) -> Option<Option<Verdict>> {
    let (project, now) = (asked.project(r), failure.at);
    let mut text = Text::new();
    let (_, at) = writer.read(key, now, Some(&mut text)).verdict?;
    if !writer.keep_yes(key, lease, failure, now) {
        return None;
    }
    let limit = project
        .resolve_cache
        .unwrap_or(0)
        .saturating_add(project.resolve_stale);
    if !failure.is_outage || now.saturating_sub(at) >= limit {
        return Some(None);
    }
    Some(kept_yes(r, &asked.tenant, (&text, at), Provenance::Stale))
}

impl Confirmation {
    /// Stores the reply about the token, and returns the verdict on it.
    fn settle(&mut self, r: &Request, reply: &Reply) -> Verdict {
        let verdict = match reply {
            // A yes for somebody else is none for this token.
            Ok(Some(session)) if session.session().get(Field::UserId) == Some(self.token.sub()) => {
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(failure) => Err(failure),
        };
        let project = &r.main_conf().projects[self.project];
        worker::count(
            project,
            Count::Recheck(match verdict {
                Ok(true) => status::Answer::Yes,
                Ok(false) => status::Answer::No,
                Err(_) => status::Answer::Error,
            }),
        );
        let (key, lease) = match self.entry.take() {
            Some((key, lease)) => (Some(key), lease),
            None => (None, None),
        };
        let number = lease.map(Lease::into_number);
        let stored = key.and_then(|key| {
            worker::change_judgements(|writer, now| {
                self.store(r, writer, &key, number, verdict, now)
            })
        });
        let (verdict, is_news) = stored.unwrap_or((
            match verdict {
                Err(failure) if !failure.is_outage() => Verdict::Failed,
                Ok(true) | Err(_) => Verdict::yes(),
                Ok(false) => Verdict::No,
            },
            false,
        ));
        match reply {
            Err(failure) if failure.is_outage() && is_news => {
                let why = &failure.why;
                ngx_log_error!(
                    NGX_LOG_ERR,
                    r.log(),
                    "authgear: recheck fails, tokens are accepted until they expire: {why}"
                );
            }
            Err(failure) if !failure.is_outage() => {
                let why = &failure.why;
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (self.project, "recheck"),
                    format_args!(
                        "recheck got no verdict, the token is not accepted until there is one: {why}"
                    ),
                );
            }
            Ok(_) if is_news => {
                ngx_log_error!(
                    NGX_LOG_NOTICE,
                    r.log(),
                    "authgear: tokens are confirmed again"
                );
            }
            _ => {}
        }
        verdict
    }

    /// Stores the verdict that came, if one did; returns the one on the token, and whether the resolver
    /// has just begun or ceased to fail.
    fn store(
        &self,
        r: &Request,
        writer: &mut Writer<'_>,
        key: &Key,
        lease: Option<u64>,
        verdict: Result<bool, &Failure>,
        now: u64,
    ) -> (Verdict, bool) {
        let expiry = expiry(r, self.token.exp(), self.leeway);
        let store = |writer: &mut Writer<'_>, verdict| {
            let answer = Answer {
                verdict,
                session: b"",
                not_after: expiry,
                live_until: now
                    .saturating_add(self.interval.saturating_mul(2))
                    .min(expiry),
            };
            writer.store(key, lease, &answer, now);
        };
        match verdict {
            Ok(true) => {
                store(writer, judgements::Verdict::Confirmed);
                (Verdict::yes(), writer.set_failing(self.project, false))
            }
            Ok(false) => {
                store(writer, judgements::Verdict::Denied);
                (Verdict::No, writer.set_failing(self.project, false))
            }
            Err(failure) => {
                let is_outage = failure.is_outage();
                // A no stays a no, and after an unclear answer the token waits for a verdict. Any other
                // token stands while the resolver cannot answer.
                let known = writer.read(key, now, None).verdict;
                let verdict = match known.map(|(verdict, _)| verdict) {
                    Some(judgements::Verdict::Denied) => {
                        writer.postpone(key, lease, now + FAILED_PAUSE, now);
                        Verdict::No
                    }
                    Some(judgements::Verdict::Unclear) if is_outage => {
                        store(writer, judgements::Verdict::Unclear);
                        Verdict::yes()
                    }
                    _ if is_outage => {
                        store(writer, judgements::Verdict::Failed);
                        Verdict::yes()
                    }
                    _ => {
                        store(writer, judgements::Verdict::Unclear);
                        Verdict::Failed
                    }
                };
                (verdict, is_outage && writer.set_failing(self.project, true))
            }
        }
    }
}
