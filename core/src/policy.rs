//! The rules of one location, applied to a verified token on every request.

use crate::reason::Reason;
use crate::session::{Field, Session, TokenSession};
use crate::token::VerifiedToken;

/// The kind of token that a project accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TokenKind {
    /// Users' tokens only.
    #[default]
    User,
    /// Clients' (machine-to-machine) tokens only.
    Client,
    /// Both.
    Any,
}

/// A project's rules for tokens, beyond signature, issuer and audience.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Any of them must be `client_id`; not checked when empty.
    pub client_ids: Vec<Box<str>>,
    /// The kind of token that is accepted.
    pub token_type: TokenKind,
    /// Any of them must be the header's `typ`; `None` switches the check off, an empty list refuses
    /// all.
    pub typ: Option<Vec<Box<str>>>,
    /// For `exp` and `nbf`, in seconds, at least 0.
    pub leeway: f64,
}

impl Default for Rules {
    /// Authgear's own rules: users' tokens with `typ` `at+jwt` (RFC 9068), any client, no leeway.
    fn default() -> Rules {
        Rules {
            client_ids: Vec::new(),
            token_type: TokenKind::User,
            typ: Some(vec!["at+jwt".into()]),
            leeway: 0.0,
        }
    }
}

/// Judges a verified token for one location at the time `now`, in Unix seconds.
///
/// Any issuer must be `iss` letter for letter, and any audience must be in `aud`; an empty list of
/// either refuses all. They stand apart from the rules because a location may replace the
/// audience, and an endpoint may hold variables.
///
/// # Errors
///
/// The first rule that is broken, in this order: [`Reason::BadType`] for `typ` (RFC 9068, section
/// 4), [`Reason::Expired`], [`Reason::NotYetValid`] (RFC 7519, sections 4.1.4 and 4.1.5),
/// [`Reason::BadIssuer`], [`Reason::BadAudience`], [`Reason::BadClient`], and [`Reason::BadType`]
/// for a user's token where a client's is wanted or the other way round.
pub fn judge(
    token: &VerifiedToken,
    rules: &Rules,
    issuers: &[impl AsRef<str>],
    audience: &[impl AsRef<str>],
    now: f64,
) -> Result<(), Reason> {
    judge_claims(token.claims(), rules, issuers, audience, now)
}

/// [`judge`] on the parts of a token, verified or not.
pub(crate) fn judge_claims(
    claims: &TokenSession,
    rules: &Rules,
    issuers: &[impl AsRef<str>],
    audience: &[impl AsRef<str>],
    now: f64,
) -> Result<(), Reason> {
    if let Some(allowed) = &rules.typ {
        let typ = claims.typ().ok_or(Reason::BadType)?;
        let is_it = |allowed: &str| allowed == typ || is_same_type(allowed, typ);
        if !allowed.iter().any(|allowed| is_it(allowed)) {
            return Err(Reason::BadType);
        }
    }
    // Written so that NaN refuses.
    let is_alive = now < claims.exp() + rules.leeway;
    if !is_alive {
        return Err(Reason::Expired);
    }
    let has_begun = claims.nbf().is_none_or(|nbf| now + rules.leeway >= nbf);
    if !has_begun {
        return Err(Reason::NotYetValid);
    }
    let mut issuers = issuers.iter().map(AsRef::as_ref);
    if !issuers.any(|issuer| claims.is_issued_by(issuer)) {
        return Err(Reason::BadIssuer);
    }
    let mut audience = audience.iter().map(AsRef::as_ref);
    if !audience.any(|wanted| claims.is_meant_for(wanted)) {
        return Err(Reason::BadAudience);
    }
    if !rules.client_ids.is_empty() {
        let client_id = claims.client_id().ok_or(Reason::BadClient)?;
        if !rules.client_ids.iter().any(|wanted| **wanted == *client_id) {
            return Err(Reason::BadClient);
        }
    }
    match (rules.token_type, claims.is_client()) {
        (TokenKind::Any, _) | (TokenKind::User, false) | (TokenKind::Client, true) => Ok(()),
        (TokenKind::User, true) | (TokenKind::Client, false) => Err(Reason::BadType),
    }
}

/// Judges a session that the resolver vouches for by the rules that are made for tokens.
///
/// The resolver names neither client nor audience. A session is meant for its project, which goes
/// by the names `own`: its endpoint and its issuers, one of which is the `aud` of every user's token
/// (`pkg/lib/oauth/token_encoding.go`).
///
/// # Errors
///
/// [`Reason::BadAudience`] when only other audiences are wanted; [`Reason::BadClient`] when a client
/// is, since nobody says which one it is.
pub fn judge_session<'a>(
    rules: &Rules,
    own: impl IntoIterator<Item = &'a str> + Clone,
    audience: &[impl AsRef<str>],
) -> Result<(), Reason> {
    let is_own = |wanted: &str| own.clone().into_iter().any(|name| name == wanted);
    if !audience.iter().any(|wanted| is_own(wanted.as_ref())) {
        return Err(Reason::BadAudience);
    }
    if !rules.client_ids.is_empty() {
        return Err(Reason::BadClient);
    }
    Ok(())
}

/// The requirements of one location for a known caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements<'a> {
    /// Any of them must be among the caller's roles (see [`Session::has_role`]); empty asks for
    /// none.
    pub roles: &'a [Box<str>],
    /// All of them must be in the scope (RFC 6749, section 3.3); empty asks for none.
    pub scopes: &'a [Box<str>],
    /// The user logged in at most so many seconds ago (RFC 9470).
    pub auth_age: Option<u64>,
}

/// A requirement, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// One of the roles.
    Role,
    /// All of the scopes.
    Scope,
    /// A recent log-in.
    AuthAge,
}

impl Requirements<'_> {
    /// Tells whether there is no requirement.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.scopes.is_empty() && self.auth_age.is_none()
    }

    /// Checks the session at the time `now`, in Unix seconds. The log-in comes last, since the caller can
    /// log in again.
    ///
    /// # Errors
    ///
    /// The first that is not met. An unknown value does not meet one: a client has neither roles nor a
    /// log-in, and the resolver tells no scope.
    pub fn check(&self, session: &Session, now: f64) -> Result<(), Requirement> {
        if !self.roles.is_empty() && !self.roles.iter().any(|role| session.has_role(role)) {
            return Err(Requirement::Role);
        }
        let scope = session.scope();
        let is_granted =
            |wanted: &str| scope.is_some_and(|scope| scope.split(' ').any(|own| own == wanted));
        if !self.scopes.iter().all(|wanted| is_granted(wanted)) {
            return Err(Requirement::Scope);
        }
        if let Some(age) = self.auth_age {
            let login = session.get(Field::SessionAuthenticatedAt);
            let login = login.and_then(|seconds| seconds.parse::<u64>().ok());
            let is_recent = login.is_some_and(|login| now <= login.saturating_add(age) as f64);
            if !is_recent {
                return Err(Requirement::AuthAge);
            }
        }
        Ok(())
    }
}

/// Compares media types as RFC 7515 (section 4.1.9) has it: without case, `application/` may be
/// left out.
fn is_same_type(one: &str, other: &str) -> bool {
    fn short(typ: &str) -> &str {
        const PREFIX: &str = "application/";
        match typ.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &typ[PREFIX.len()..],
            _ => typ,
        }
    }
    short(one).eq_ignore_ascii_case(short(other))
}
