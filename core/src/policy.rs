//! The rules of one location, applied to a verified token on every request.

use crate::reason::Reason;
use crate::token::VerifiedToken;

/// Whose tokens are let in.
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

/// What a project asks of a token, beyond its signature, issuer and audience.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Any of them must be `client_id`; not checked when empty.
    pub client_ids: Vec<Box<str>>,
    /// Whose tokens are let in.
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
/// The issuer must be `iss` letter for letter, and any audience must be in `aud`; an empty list of
/// audiences refuses all. They stand apart from the rules because a location may replace the
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
    issuer: &str,
    audience: &[impl AsRef<str>],
    now: f64,
) -> Result<(), Reason> {
    let claims = token.claims();
    if let Some(allowed) = &rules.typ {
        let typ = token.typ().ok_or(Reason::BadType)?;
        if !allowed.iter().any(|allowed| is_same_type(allowed, typ)) {
            return Err(Reason::BadType);
        }
    }
    // Said so that a time that is no number lets nobody in.
    let is_alive = now < claims.exp + rules.leeway;
    if !is_alive {
        return Err(Reason::Expired);
    }
    let has_begun = claims.nbf.is_none_or(|nbf| now + rules.leeway >= nbf);
    if !has_begun {
        return Err(Reason::NotYetValid);
    }
    if claims.iss.as_deref() != Some(issuer) {
        return Err(Reason::BadIssuer);
    }
    if !audience
        .iter()
        .any(|wanted| claims.aud.iter().any(|aud| **aud == *wanted.as_ref()))
    {
        return Err(Reason::BadAudience);
    }
    if !rules.client_ids.is_empty() {
        let client_id = claims.client_id.as_ref().ok_or(Reason::BadClient)?;
        if !rules.client_ids.contains(client_id) {
            return Err(Reason::BadClient);
        }
    }
    match (rules.token_type, claims.is_client()) {
        (TokenKind::Any, _) | (TokenKind::User, false) | (TokenKind::Client, true) => Ok(()),
        (TokenKind::User, true) | (TokenKind::Client, false) => Err(Reason::BadType),
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
