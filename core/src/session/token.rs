//! The claims of a token that are needed after it was verified, and the resolver's values made of them.

use smallvec::SmallVec;

use super::fields::{Field, Fields};
use crate::texts::{Span, Texts};
use crate::token::{Claims, Header};

/// A token's claims, with the resolver's eight values rendered from them.
#[derive(Debug, PartialEq)]
pub(crate) struct TokenSession {
    texts: Texts,
    /// The beginning of the rendered values.
    start: u32,
    /// The end of each value, counted from there, as in [`Fields`].
    ends: [u32; 8],
    pub(crate) exp: f64,
    pub(crate) nbf: Option<f64>,
    pub(crate) iat: Option<f64>,
    pub(crate) auth_time: Option<f64>,
    pub(crate) is_client: bool,
    exp_text: Span,
    sub: Span,
    typ: Option<Span>,
    kid: Option<Span>,
    iss: Option<Span>,
    aud: SmallVec<[Span; 2]>,
    client_id: Option<Span>,
    scope: Option<Span>,
    token_id: Option<Span>,
    /// Empty for a client.
    roles: SmallVec<[Span; 4]>,
}

impl TokenSession {
    /// Renders a token's claims as the resolver would. A client has no user and no login, so its
    /// token fills none of those fields, whatever else it claims.
    pub(crate) fn new(claims: &Claims<'_>, header: &Header) -> Self {
        let is_client = claims.is_client();
        let flag = |flag: Option<bool>| match flag {
            Some(true) => "true",
            Some(false) => "false",
            None => "",
        };
        let mut texts = Texts::default();
        let mut push = |text: Option<&str>| text.map(|text| texts.push(text));
        let typ = push(header.typ.as_deref());
        let kid = push(header.kid.as_deref());
        let iss = push(claims.iss.as_deref());
        let client_id = push(claims.client_id.as_deref());
        let scope = push(claims.scope.as_deref());
        let token_id = push(claims.jti.as_deref());
        let aud = texts.join(&claims.aud, "");
        let sub = texts.push(&claims.sub);
        let exp_text = texts.push(&whole_seconds(claims.exp));
        let mut roles = SmallVec::new();
        let start = texts.len();
        let ends = Field::ALL.map(|field| {
            match field {
                Field::SessionValid => drop(texts.push("true")),
                _ if is_client => {}
                Field::UserId => drop(texts.push(&claims.sub)),
                Field::UserAnonymous => drop(texts.push(flag(claims.is_anonymous))),
                Field::UserVerified => drop(texts.push(flag(claims.is_verified))),
                Field::UserCanReauthenticate => drop(texts.push(flag(claims.can_reauthenticate))),
                Field::UserRoles => roles = texts.join(&claims.roles, ","),
                Field::SessionAmr => drop(texts.join::<Vec<_>>(&claims.amr, " ")),
                Field::SessionAuthenticatedAt => {
                    let text = claims.auth_time.map(whole_seconds);
                    texts.push(text.as_deref().unwrap_or_default());
                }
            }
            texts.len() - start
        });
        TokenSession {
            texts,
            start,
            ends,
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            auth_time: claims.auth_time,
            is_client,
            exp_text,
            sub,
            typ,
            kid,
            iss,
            aud,
            client_id,
            scope,
            token_id,
            roles,
        }
    }

    /// The resolver's eight values.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::new(self.texts.from(self.start), self.ends)
    }

    /// The header's `typ`.
    pub(crate) fn typ(&self) -> Option<&str> {
        self.text(self.typ)
    }

    /// The header's `kid`.
    pub(super) fn kid(&self) -> Option<&str> {
        self.text(self.kid)
    }

    /// Tells whether `iss` is that text.
    pub(crate) fn is_issued_by(&self, issuer: &str) -> bool {
        self.iss.is_some_and(|own| self.texts.is(own, issuer))
    }

    /// Tells whether `aud` holds that text.
    pub(crate) fn is_meant_for(&self, audience: &str) -> bool {
        self.aud.iter().any(|&own| self.texts.is(own, audience))
    }

    /// `sub`
    pub(crate) fn sub(&self) -> &str {
        self.texts.get(self.sub)
    }

    /// `client_id`
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.text(self.client_id)
    }

    /// `scope`
    pub(super) fn scope(&self) -> Option<&str> {
        self.text(self.scope)
    }

    /// `jti`
    pub(super) fn token_id(&self) -> Option<&str> {
        self.text(self.token_id)
    }

    /// `exp` in whole seconds.
    pub(super) fn token_exp(&self) -> &str {
        self.texts.get(self.exp_text)
    }

    /// Tells whether the user has that role.
    pub(super) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|&own| self.texts.is(own, role))
    }

    fn text(&self, span: Option<Span>) -> Option<&str> {
        span.map(|span| self.texts.get(span))
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        let of = |spilled, capacity| {
            if spilled {
                capacity * size_of::<Span>()
            } else {
                0
            }
        };
        self.texts.heap_size()
            + of(self.aud.spilled(), self.aud.capacity())
            + of(self.roles.spilled(), self.roles.capacity())
    }
}

/// The text of a time as Go's `time.Time.Unix` has it: the fraction cut off. Claims hold times from 0 to
/// 2^53, so the conversion is exact.
fn whole_seconds(time: f64) -> String {
    (time as u64).to_string()
}
