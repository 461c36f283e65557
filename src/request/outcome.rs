//! The result of a judgement, as plain data.

use std::rc::Rc;

use authgear_core::login::Prompt;
use authgear_core::policy::Requirement;
use authgear_core::reason::Reason;
use authgear_core::session::{Fields, Session};
use authgear_core::status::Source;
use authgear_core::token::VerifiedToken;
use authgear_tables::judgements::Key;
use nginx_sys::ngx_str_t;

use crate::nginx::{borrowed_str, bytes, Failed, Pool, Request};

/// The request for which a token was verified, or the resolver asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// For this one.
    Request,
    /// For another with the same credentials.
    Cache,
    /// For another, longer ago than `resolve_cache` says: the resolver cannot answer.
    Stale,
}

/// The result of one judgement.
#[derive(Debug, Clone, Default)]
pub enum Outcome {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// A token that stands, by the project's and the location's rules.
    Verified(Verified, Provenance),
    /// A session that the resolver vouches for.
    Resolved(Resolved, Provenance),
    /// The request carries no credential.
    Anonymous,
    /// The credential is bad: 401.
    Refused(Reason),
    /// The request itself is bad: 400.
    BadRequest,
    /// No verdict can be had: 503, and the seconds until it is worth another try.
    Unavailable(Reason, u64),
}

/// A verified token with its text, which holds the claims that are seldom asked for.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The token.
    pub token: Rc<VerifiedToken>,
    /// Its key in the table of judgements.
    pub key: Option<Key>,
    text: ngx_str_t,
}

impl Verified {
    /// A token of `r` and the text it was verified from, which must live as long as the client request.
    pub fn new(r: &Request, token: Rc<VerifiedToken>, key: Option<Key>, text: &[u8]) -> Self {
        let text = if r.may_be_upgraded() {
            // The client's next bytes may overwrite the head. Without memory no claim is known.
            r.pool().copy(text).unwrap_or(ngx_str_t::empty())
        } else {
            borrowed_str(text)
        };
        Self { token, key, text }
    }

    /// The token's text.
    pub fn text(&self) -> &[u8] {
        // SAFETY: the text is that of a header or a variable, or in the pool: all live as long as the client
        // request.
        unsafe { bytes(&self.text) }
    }
}

/// A session that the resolver vouches for. Its text lies in a request's pool.
#[derive(Debug, Clone, Copy)]
pub struct Resolved {
    text: ngx_str_t,
    ends: [u32; 8],
    /// `exp` of the JWT that the resolver was asked about, in Unix seconds.
    pub expiry: Option<f64>,
}

impl Resolved {
    /// Copies the resolver's values into a pool, which must be the one of a live request.
    pub fn copy_to(pool: Pool<'_>, fields: &Fields<'_>) -> Result<Self, Failed> {
        let text = pool.copy(fields.text())?;
        let ends = *fields.ends();
        Ok(Self {
            text,
            ends,
            expiry: None,
        })
    }

    /// The session's values.
    pub fn session(&self) -> Session<'_> {
        // SAFETY: the pool is that of the client request, which outlives every callback and every
        // place where these are kept.
        let text = unsafe { bytes(&self.text) };
        Session::resolved(Fields::new(text, self.ends))
    }
}

impl Outcome {
    /// The caller, if one is known.
    pub fn session(&self) -> Option<Session<'_>> {
        match self {
            Self::Verified(verified, _) => Some(verified.token.session()),
            Self::Resolved(session, _) => Some(session.session()),
            _ => None,
        }
    }

    /// The reason, requirements left aside; `None` while nothing is known.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unknown => None,
            Self::Verified(..) | Self::Resolved(..) => Some(Reason::Ok),
            Self::Anonymous => Some(Reason::NoCredential),
            Self::Refused(reason) | Self::Unavailable(reason, _) => Some(*reason),
            Self::BadRequest => Some(Reason::Malformed),
        }
    }

    /// The source of the judgement; `None` while there is none.
    pub fn source(&self) -> Option<Source> {
        match self {
            Self::Unknown | Self::Unavailable(..) => None,
            Self::Verified(_, Provenance::Request) => Some(Source::Jwt),
            Self::Verified(_, Provenance::Cache | Provenance::Stale) => Some(Source::JwtCache),
            Self::Resolved(_, Provenance::Request) => Some(Source::Resolver),
            Self::Resolved(_, Provenance::Cache) => Some(Source::ResolverCache),
            Self::Resolved(_, Provenance::Stale) => Some(Source::ResolverStale),
            Self::Anonymous | Self::Refused(_) | Self::BadRequest => Some(Source::None),
        }
    }
}

/// A client request's way to the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginStep {
    /// The browser goes to the login of the project of that index, if the response is a 401.
    Wanted(usize, Prompt),
    /// The response sends it there, or explains why not.
    Answered,
    /// The caller is known, by the project of that index, and no other login is needed.
    Known(usize),
}

/// The requirement that a caller does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// A value of `authgear_require` is empty or `0`; the status it asks for.
    Value(u16),
    /// Roles, scope or log-in.
    Session(Requirement),
}
