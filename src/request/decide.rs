//! The decision of an attempt: the credentials in Authgear's order, then the rules for each.

use std::iter;

use authgear_core::policy::{judge, judge_session, TokenKind};
use authgear_core::Reason;
use nginx_sys::NGX_LOG_ERR;

use crate::conf::NoTenant;
use crate::log::log_limited;
use crate::request::attempt::{Attempt, Judge, Reach};
use crate::request::jwt::{self, Checked, LookedUp};
use crate::request::outcome::Outcome;
use crate::request::presented::{Bearer, Presented, Unreadable};
use crate::request::question::Question;
use crate::request::recheck;
use crate::request::resolver;
use crate::request::revoked;
use crate::request::step::Step;
use crate::worker;

impl<'r> Attempt<'r> {
    /// Decides about the request, by the credentials it presents and this location's rules for
    /// them. Requirements come after it.
    pub fn decide(&self) -> Step<'r> {
        let presented = match &self.presented {
            Ok(presented) => presented,
            Err(Unreadable::Ambiguous) => return Step::Done(Outcome::BadRequest),
            Err(Unreadable::Evaluation) => return Step::Done(Outcome::Unknown),
        };
        let tenant = match &self.tenant {
            Ok(tenant) => tenant,
            Err(error) => return self.without_tenant(presented, error),
        };
        Judge {
            attempt: self,
            presented,
            tenant,
        }
        .decide()
    }

    /// Decides about a request whose endpoint's variables make no endpoint: nothing that it
    /// presents can be judged.
    fn without_tenant(&self, presented: &Presented<'_>, error: &NoTenant) -> Step<'r> {
        let cookies = &presented.cookies;
        let has_cookie =
            self.project.resolve_request.is_some() && cookies.has_any_for_resolver(true);
        if presented.token.is_none() && cookies.app_access_token().is_none() && !has_cookie {
            return Step::Done(Outcome::Anonymous);
        }
        if self.reach == Reach::Full {
            let project = &self.project.name;
            log_limited(
                self.r,
                NGX_LOG_ERR,
                (self.project.index, "endpoint"),
                format_args!("project \"{project}\": {error}"),
            );
        }
        Step::keys_unavailable(1)
    }
}

impl<'r> Judge<'_, 'r> {
    /// Judges the credentials in Authgear's order: the bearer token, then the cookies
    /// `app_session`, `app_access_token` and `session` (`pkg/lib/session/middleware.go`). A JWT is
    /// verified here, also one in `app_access_token`, before the resolver is asked about a
    /// credential that goes first. An invalid credential falls through to the next.
    pub fn decide(&self) -> Step<'r> {
        let mut known = None;
        let bearer = Bearer::of(self.presented.token, |token| {
            known.insert(jwt::look_up(self, token)).is_verified()
        });
        let mut refusal = None;
        match bearer {
            Bearer::Jwt(token) => match self.judge_jwt(token, known) {
                Step::Done(Outcome::Refused(reason)) => refusal = Some(reason),
                step => return step,
            },
            Bearer::Bad(reason) => refusal = Some(reason),
            Bearer::Opaque(_) | Bearer::None => {}
        }
        match self.project.resolve_request {
            Some(_) => self.decide_with_resolver(bearer, refusal),
            None => self.decide_without_resolver(bearer, refusal),
        }
    }

    /// Decides where there is no resolver: the bearer token alone, or else a JWT in
    /// `app_access_token`. Other cookies may belong to another application.
    fn decide_without_resolver(&self, bearer: Bearer<'r>, refusal: Option<Reason>) -> Step<'r> {
        match (bearer, refusal) {
            (_, Some(reason)) => Step::refused(reason),
            (Bearer::Opaque(_), None) => Step::refused(Reason::Unsupported),
            _ => match self.cookie_token() {
                Bearer::Jwt(token) => self.judge_jwt(token, None),
                _ => Step::Done(Outcome::Anonymous),
            },
        }
    }

    /// Decides what the bearer token did not: by a JWT in `app_access_token`, and by the
    /// resolver's answer about what is left.
    fn decide_with_resolver(&self, bearer: Bearer<'r>, refusal: Option<Reason>) -> Step<'r> {
        let mut refusal = refusal;
        let mut standing = None;
        match self.cookie_token() {
            Bearer::Jwt(token) => match self.judge_jwt(token, None) {
                Step::Done(Outcome::Refused(reason)) => refusal = refusal.or(Some(reason)),
                Step::Done(outcome @ (Outcome::Verified(..) | Outcome::Resolved(..))) => {
                    standing = Some(outcome)
                }
                step => return step,
            },
            Bearer::Bad(reason) => refusal = refusal.or(Some(reason)),
            Bearer::Opaque(_) | Bearer::None => {}
        }
        let opaque = match bearer {
            Bearer::Opaque(token) => Some(token),
            _ => None,
        };
        // `session` comes after a JWT that stands.
        let with_session = standing.is_none();
        let cookies = &self.presented.cookies;
        if opaque.is_none() && !cookies.has_any_for_resolver(with_session) {
            return Step::Done(match (standing, refusal) {
                (Some(outcome), _) => outcome,
                (None, Some(reason)) => Outcome::Refused(reason),
                (None, None) => Outcome::Anonymous,
            });
        }
        if let Err(reason) = self.admits_sessions() {
            let refused = Outcome::Refused(refusal.unwrap_or(reason));
            return Step::Done(standing.unwrap_or(refused));
        }
        let question = Question::about_session(opaque, cookies.for_resolver(with_session));
        match (resolver::answer(self, question), standing) {
            (Step::Done(Outcome::Refused(_)), Some(standing)) => Step::Done(standing),
            (step, _) => step,
        }
    }

    /// The form of `app_access_token`.
    fn cookie_token(&self) -> Bearer<'r> {
        let token = self.presented.cookies.app_access_token();
        match Bearer::of(token, |_| false) {
            // Not even the resolver's server takes it for a JWT: it is another bad cookie.
            Bearer::Bad(_) if !token.is_some_and(|token| token.starts_with(b"eyJ")) => Bearer::None,
            form => form,
        }
    }

    /// Judges a JWT: its signature, the rules for tokens, and what the resolver said of it.
    fn judge_jwt(&self, token: &'r [u8], known: Option<LookedUp>) -> Step<'r> {
        let known = known.unwrap_or_else(|| jwt::look_up(self, token));
        let (verified, provenance) = match jwt::check(self, token, known) {
            Checked::Token(verified, provenance) => (verified, provenance),
            Checked::Refused(reason) => return Step::refused(reason),
            Checked::WaitForKeys(source) => return Step::WaitForKeys(source),
            Checked::Unavailable(seconds) => return self.without_keys(token, seconds),
        };
        let (rules, issuers) = (&self.project.rules, &self.tenant.issuers);
        if let Err(reason) = judge(
            &verified.token,
            rules,
            issuers,
            self.audience(),
            self.r.now(),
        ) {
            return Step::refused(reason);
        }
        if worker::is_learning() {
            return Step::keys_unavailable(1);
        }
        revoked::note_lifetime(self, &verified.token, provenance);
        if revoked::is_revoked(self, &verified.token) {
            return Step::refused(Reason::Revoked);
        }
        match self.project.recheck {
            Some(interval) if recheck::applies(self, &verified.token) => {
                recheck::confirm(self, interval, token, verified, provenance)
            }
            _ => Step::Done(Outcome::Verified(verified, provenance)),
        }
    }

    /// Decides about a JWT whose keys are missing. The resolver is asked about it alone, after all
    /// that needs no key was checked here.
    fn without_keys(&self, token: &'r [u8], seconds: u64) -> Step<'r> {
        let can_ask = self.project.resolve_request.is_some()
            && self.project.rules.token_type == TokenKind::User;
        if !can_ask {
            return Step::keys_unavailable(seconds);
        }
        let unproven = match jwt::unproven(token) {
            Ok(unproven) => unproven,
            Err(reason) => return Step::refused(reason),
        };
        let (rules, issuers) = (&self.project.rules, &self.tenant.issuers);
        let judged = unproven.judge(rules, issuers, self.audience(), self.r.now());
        match judged {
            Err(reason) => Step::refused(reason),
            // The resolver calls a token for an API resource alone no session.
            Ok(()) if !unproven.is_meant_for(&self.tenant.origin) => {
                Step::keys_unavailable(seconds)
            }
            Ok(()) => {
                let expiry = unproven.expiry();
                match resolver::answer(self, Question::about_token(token, expiry)) {
                    Step::Done(Outcome::Resolved(mut session, provenance)) => {
                        session.expiry = Some(expiry);
                        Step::Done(Outcome::Resolved(session, provenance))
                    }
                    step => step,
                }
            }
        }
    }

    /// Refuses sessions of the resolver where the project's or the location's rules let none in.
    fn admits_sessions(&self) -> Result<(), Reason> {
        let tenant = self.tenant;
        let own = iter::once(&tenant.origin).chain(&tenant.issuers);
        let own = own.map(|name| &**name);
        let judge = |audience| judge_session(&self.project.rules, own.clone(), audience);
        match self.r.location().audience() {
            Some(audience) => judge(audience),
            None => *tenant.sessions.get_or_init(|| judge(&tenant.audience)),
        }
    }
}
