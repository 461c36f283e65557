//! Questions to the resolver as data, from the credentials that are left to judge to the subrequest under
//! way, and the right to ask.

use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::rc::Rc;
use std::time::Instant;

use authgear_core::credential::Line;
use authgear_core::token::VerifiedToken;
use authgear_tables::judgements::{Key, TryLease, Writer};
use nginx_sys::{ngx_http_request_t, ngx_str_t};

use crate::conf::Project;
use crate::keys::Tenant;
use crate::nginx::{bytes, now, OwnRequest, Request};
use crate::request::outcome::{Provenance, Resolved};
use crate::request::waiting;
use crate::shm::Id;
use crate::worker::{self, Place};

/// The lifetime of the right to ask, in milliseconds, should its holder be killed.
const LEASE: u64 = 10_000;

/// The time from which a token is refused for its age, by the clock of the table: a second more than it is
/// accepted, since the clocks are read at different times. `exp` and `leeway` are in seconds.
pub fn expiry(r: &Request, exp: f64, leeway: f64) -> u64 {
    let left = (exp + leeway - r.now()).max(0.0);
    now().saturating_add((left * 1000.0) as u64 + 1000)
}

/// The longest time for which a no is used, in milliseconds.
pub const NO_LIFETIME: u64 = 1_000;

/// The credentials that are left for the resolver to judge.
#[derive(Debug)]
pub struct Question<'a> {
    /// The bearer token; empty for none.
    pub token: &'a [u8],
    /// The `Cookie` header; empty for none.
    pub cookie: Line,
    /// `exp` of a token that says so, in Unix seconds: no answer is used after it.
    expiry: Option<f64>,
}

/// The resolver's answer to a question of this client request.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// The session; `None` when a JWT was confirmed.
    Yes(Option<Resolved>, Provenance),
    /// There is no valid session.
    No,
    /// There is no verdict.
    Failed,
}

/// The resolver's reply as it came: a session, a no, or the reason why it is neither.
pub type Reply = Result<Option<Resolved>, Failure>;

/// A reply that is no verdict.
#[derive(Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// The reason, for the log.
    pub why: String,
}

/// The kind of a reply that is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No response: refused, closed, time-out.
    Silence,
    /// The resolver says that it cannot answer: 5xx or 429.
    Outage,
    /// Another response, which the client may have caused.
    Unclear,
    /// The resolver was not asked, or the client left.
    NotAsked,
}

impl Failure {
    /// True where the resolver cannot answer.
    pub fn is_outage(&self) -> bool {
        matches!(self.kind, FailureKind::Silence | FailureKind::Outage)
    }
}

/// A question that is to be asked, with the right to do so.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The tenant whose resolver is asked.
    pub tenant: Rc<Tenant>,
    /// The project's number.
    pub project: usize,
    /// The credentials to judge.
    pub question: Question<'a>,
    /// The use of the answer.
    pub purpose: Purpose,
    /// Its place among the questions under way.
    pub place: Option<Place>,
}

/// The use of an answer.
#[derive(Debug)]
pub enum Purpose {
    /// It is the judgement, and is stored under this key if answers are stored.
    Judgement(Option<(Key, Option<Lease>)>),
    /// It confirms a token.
    Confirmation(Confirmation),
    /// It ends the resolver's suspension. It is asked in a request of this module's own.
    Probe(OwnRequest),
}

/// The right to ask a question that others wait for. It is given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    key: Key,
    number: u64,
}

/// The turn to ask.
#[derive(Debug)]
pub enum Turn {
    /// This request's; without a lease where the table has no room for one.
    Mine(Option<Lease>),
    /// Another request's.
    Busy,
}

impl Lease {
    /// Takes the right to ask, unless another request has it.
    pub fn take(writer: &mut Writer<'_>, key: Key, now: u64) -> Turn {
        match writer.try_lease(&key, now + LEASE, now) {
            TryLease::Taken(number) => Turn::Mine(Some(Lease { key, number })),
            TryLease::Unshared => Turn::Mine(None),
            TryLease::Busy => Turn::Busy,
        }
    }

    /// The lease's number, for the answer that ends it.
    pub fn into_number(self) -> u64 {
        let number = self.number;
        core::mem::forget(self);
        number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        worker::change_judgements(|writer, _| writer.release(&self.key, self.number));
        waiting::wake_waiters();
    }
}

impl Verdict {
    /// A yes that says no more than the token itself.
    pub fn yes() -> Self {
        Self::Yes(None, Provenance::Request)
    }
}

impl<'a> Question<'a> {
    /// The question about an opaque token and cookies.
    pub fn about_session(token: Option<&'a [u8]>, cookie: Line) -> Self {
        Self {
            token: token.unwrap_or_default(),
            cookie,
            expiry: None,
        }
    }

    /// The question about a JWT alone, whose `exp` is `expiry`.
    pub fn about_token(token: &'a [u8], expiry: f64) -> Self {
        Self {
            token,
            cookie: Line::new(),
            expiry: Some(expiry),
        }
    }

    /// The key under which the answer is stored: endpoint, project, and exactly what is asked.
    pub fn key(&self, tenant: &Id) -> Option<Key> {
        worker::question_key(tenant, &[self.token, &self.cookie])
    }

    /// The longest time for which an answer may be used, in milliseconds.
    pub fn lifetime(&self, r: &Request) -> u64 {
        let left = self.expiry.map(|expiry| (expiry - r.now()).max(0.0));
        left.map_or(u64::MAX, |left| (left * 1000.0) as u64)
    }
}

/// A question that confirms a token.
#[derive(Debug)]
pub struct Confirmation {
    /// The token that stands if the resolver confirms it.
    pub token: Rc<VerifiedToken>,
    /// The key under which the answer is stored, and the right to ask, if the table had room for it.
    pub entry: Option<(Key, Option<Lease>)>,
    /// The project's number.
    pub project: usize,
    /// The time for which an answer counts, in milliseconds.
    pub interval: u64,
    /// The seconds after `exp` for which the token is accepted.
    pub leeway: f64,
}

/// A question that is under way, in the pool of the client request.
#[derive(Debug)]
pub struct Asked {
    /// The request that asks.
    pub parent: NonNull<ngx_http_request_t>,
    /// The subrequest; null until nginx has made it.
    pub subrequest: Cell<*mut ngx_http_request_t>,
    /// The URI of `resolve_request`.
    pub uri: ngx_str_t,
    /// The tenant whose resolver is asked.
    pub tenant: Rc<Tenant>,
    /// When it is asked, in milliseconds of the workers' clock.
    pub asked_at: u64,
    /// The project's number.
    pub project: usize,
    /// The bearer token; empty for none.
    pub token: ngx_str_t,
    /// The `Authorization` header of the subrequest; empty for none.
    pub authorization: ngx_str_t,
    /// The `Cookie` header of the subrequest; empty for none.
    pub cookie: ngx_str_t,
    /// The longest time for which the answer may be used, in milliseconds.
    pub lifetime: u64,
    /// Its place among the questions under way, until it has ended.
    pub place: RefCell<Option<Place>>,
    /// The use of the answer, until it has come.
    pub purpose: RefCell<Option<Purpose>>,
    /// The delivery of the answer.
    pub delivery: Delivery,
    /// When it was asked.
    pub began: Instant,
    /// Set when the subrequest has ended.
    pub is_done: Cell<bool>,
    /// True until the subrequest is set up, and after it left its location.
    pub is_misplaced: Cell<bool>,
}

/// The delivery of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// nginx runs the waiting parent again.
    ByNginx,
    /// The parent waits, and is a subrequest. nginx would never end a background one that has a
    /// subrequest of the waited kind, so this module runs it again.
    ByModule,
    /// Nobody waits; the answer is stored when it comes.
    InBackground,
}

impl Asked {
    /// True for the same question of the same tenant.
    pub fn is_same(&self, tenant: &Id, token: &[u8], cookie: &[u8]) -> bool {
        // SAFETY: both texts lie in the pool of the client request, as the question does.
        let (own_token, own_cookie) = unsafe { (bytes(&self.token), bytes(&self.cookie)) };
        self.tenant.id == *tenant && own_token == token && own_cookie == cookie
    }

    /// The scheme of the endpoint that is asked about.
    pub fn endpoint_scheme(&self) -> Option<&str> {
        Some(self.endpoint()?.0)
    }

    /// The endpoint's host, with its port unless that is the scheme's own.
    pub fn endpoint_host(&self) -> Option<&str> {
        Some(self.endpoint()?.1)
    }

    /// Scheme and host; none where the project has no endpoint and its issuer is no URL.
    fn endpoint(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.tenant.origin.split_once("://")?;
        Some((scheme, rest.split('/').next()?))
    }

    /// The key under which its answer is stored.
    pub fn key(&self) -> Option<Key> {
        // SAFETY: both texts lie in the pool of the client request, as the question does.
        let (token, cookie) = unsafe { (bytes(&self.token), bytes(&self.cookie)) };
        worker::question_key(&self.tenant.id, &[token, cookie])
    }

    /// The project that asks.
    pub fn project<'r>(&self, r: &'r Request) -> &'r Project {
        &r.main_conf().projects[self.project]
    }
}
