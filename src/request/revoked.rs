//! Tokens and answers that a webhook revoked.

use authgear_core::session::{Field, Session};
use authgear_core::token::VerifiedToken;
use authgear_tables::revocations::Entry;
use nginx_sys::NGX_LOG_WARN;
use ngx::ngx_log_error;

use crate::nginx::{now, Request};
use crate::request::attempt::Judge;
use crate::request::outcome::Provenance;
use crate::request::question::Verdict;
use crate::shm::Id;
use crate::worker;

/// Tells whether a token's user was revoked after the token was issued, or after the user logged in for
/// it. A client's token has no user.
pub fn is_revoked(judge: &Judge<'_, '_>, token: &VerifiedToken) -> bool {
    if token.is_client() {
        return false;
    }
    let now = judge.r.now();
    worker::revocation(&judge.tenant.names, token.sub(), now as u64)
        .is_some_and(|revocation| is_token_revoked(&revocation, token, now))
}

/// Tells whether a revocation is one of the token, at `now` in Unix seconds.
pub fn is_token_revoked(revocation: &Entry, token: &VerifiedToken, now: f64) -> bool {
    let state = revocation.state;
    state.is_revoked(token.iat(), token.auth_time(), now)
}

/// The login behind a session of the resolver.
#[derive(Debug)]
pub struct Login {
    /// The user's id.
    pub user: Box<str>,
    /// When it was, in Unix seconds, if that is known.
    pub at: Option<u64>,
}

impl Login {
    /// Tells whether a revocation ended it, at `unix_now`. Where its time is not known, it has to have come
    /// after `since`, in milliseconds of the workers' clock, when the resolver was last known to say yes.
    pub fn is_revoked(&self, revocation: &Entry, since: u64, unix_now: f64) -> bool {
        let instant = revocation.state.instant(unix_now);
        match (self.at, instant) {
            (_, None) => false,
            (Some(at), Some(instant)) => at <= instant,
            (None, Some(_)) => is_void(revocation, since, unix_now),
        }
    }
}

/// Tells whether an answer that was asked for at `asked_at` of the workers' clock is void.
fn is_void(revocation: &Entry, asked_at: u64, unix_now: f64) -> bool {
    let clock = now();
    let unix = |at: u64| unix_now - clock.saturating_sub(at) as f64 / 1000.0;
    let came_at = unix(revocation.came_at);
    let state = revocation.state;
    state.is_answer_void(unix(asked_at), came_at, unix_now)
}

/// The verdict in place of a resolver's yes that was asked for, at `asked_at` of the workers' clock, before
/// its user's revocation came; `None` if the yes stands. A login from before has ended; of any other the
/// resolver has to be asked again.
pub fn instead_of_yes(
    r: &Request,
    names: &[Id],
    session: &Session<'_>,
    asked_at: u64,
) -> Option<Verdict> {
    let unix_now = r.now();
    let user = session.get(Field::UserId)?;
    let revocation = worker::revocation(names, user, unix_now as u64)?;
    if !is_void(&revocation, asked_at, unix_now) {
        return None;
    }
    let login = session.get(Field::SessionAuthenticatedAt);
    let login = login.and_then(|login| login.parse::<u64>().ok());
    let instant = revocation.state.instant(unix_now);
    Some(match login.zip(instant) {
        Some((login, instant)) if login <= instant => Verdict::No,
        _ => Verdict::Failed,
    })
}

/// Warns, once for each project, of tokens that live longer than revocations are kept.
pub fn note_lifetime(judge: &Judge<'_, '_>, token: &VerifiedToken, provenance: Provenance) {
    let project = judge.project;
    if provenance != Provenance::Request || project.webhook_secrets.is_none() || token.is_client() {
        return;
    }
    let lifetime = token.exp() - token.iat().unwrap_or(0.0);
    if lifetime > project.revocation_keep as f64 && worker::note_long_lived(project.index) {
        ngx_log_error!(
            NGX_LOG_WARN,
            judge.r.log(),
            "authgear: project \"{}\": a token lives longer than \"revocation_keep\", so that it would \
             stand again after its revocation is forgotten; set \"revocation_keep\" to the lifetime of \
             access tokens",
            project.name
        );
    }
}
