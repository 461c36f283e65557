//! What the module knows of one request.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_core::reason::Reason;
use authgear_core::session::{Fields, Session};
use authgear_core::token::VerifiedToken;
use nginx_sys::ngx_str_t;
use ngx::http::HttpModule;

use crate::conf::LocationConf;
use crate::nginx::{bytes, guard, Failed, Pool, Request};
use crate::policy::Unmet;
use crate::resolver::Asked;
use crate::verdicts::Key;
use crate::worker::WaiterId;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been asked in this pass through the phases.
    New,
    /// The request is suspended until its keys, or another's answer of the resolver, can be had.
    Waiting(WaiterId),
    /// The resolver has been asked.
    WaitingForResolver,
    /// The outcome is final for this pass.
    Decided,
}

/// What is known of the caller.
#[derive(Debug, Default)]
pub enum Outcome {
    /// Nothing yet.
    #[default]
    Unknown,
    /// A token that stands, by the project's and the location's rules.
    Verified(Rc<VerifiedToken>, From),
    /// A session that the resolver vouches for.
    Resolved(Resolved, From),
    /// The request carries no credential.
    Anonymous,
    /// The credential is bad: 401.
    Refused(Reason),
    /// The request itself is bad: 400.
    BadRequest,
    /// No verdict can be had: 503, and the seconds until it is worth another try.
    Unavailable(Reason, u64),
}

/// A session that the resolver vouches for, in the pool of the request that it was kept for.
#[derive(Debug)]
pub struct Resolved {
    text: ngx_str_t,
    ends: [u32; 8],
}

impl Resolved {
    /// Copies what the resolver said into a pool, which must be the one of a live request.
    pub fn keep(pool: Pool, fields: &Fields<'_>) -> Result<Self, Failed> {
        let text = pool.copy(fields.text())?;
        let ends = *fields.ends();
        Ok(Self { text, ends })
    }

    /// What the pool holds, and where each field ends in it.
    pub fn in_pool(&self) -> (ngx_str_t, &[u32; 8]) {
        (self.text, &self.ends)
    }

    /// As anybody reads it.
    pub fn session(&self) -> Session<'_> {
        // SAFETY: the pool outlives the context and every callback, where alone these are kept.
        let text = unsafe { bytes(&self.text) };
        Session::resolved(Fields::new(text, self.ends))
    }
}

/// For which request a token was verified, or the resolver asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// For this one.
    Request,
    /// For another with the same credentials.
    Cache,
}

impl Outcome {
    /// The caller who is known.
    pub fn session(&self) -> Option<Session<'_>> {
        match self {
            Self::Verified(token, _) => Some(token.session()),
            Self::Resolved(session, _) => Some(session.session()),
            _ => None,
        }
    }

    /// Why, requirements left aside; `None` while nothing is known.
    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unknown => None,
            Self::Verified(..) | Self::Resolved(..) => Some(Reason::Ok),
            Self::Anonymous => Some(Reason::NoCredential),
            Self::Refused(reason) | Self::Unavailable(reason, _) => Some(*reason),
            Self::BadRequest => Some(Reason::Malformed),
        }
    }

    /// The word for `$authgear_source`: who said what is known.
    pub fn source(&self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Unavailable(..) => None,
            Self::Verified(_, From::Request) => Some("jwt"),
            Self::Verified(_, From::Cache) => Some("jwt_cache"),
            Self::Resolved(_, From::Request) => Some("resolver"),
            Self::Resolved(_, From::Cache) => Some("resolver_cache"),
            Self::Anonymous | Self::Refused(_) | Self::BadRequest => Some("none"),
        }
    }
}

/// How a claim was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// By its name, as a variable holds it.
    Named(Box<[u8]>),
    /// By a path of the configuration.
    At(*const [Box<str>]),
}

/// The state of one client request, shared by its subrequests and its internal redirects.
#[derive(Debug)]
pub struct Context {
    /// Where the request stands in this pass through the phases.
    pub stage: Cell<Stage>,
    /// What is known of the caller, for variables and upstream headers.
    pub outcome: RefCell<Outcome>,
    /// Whether the client's own `X-Authgear-*` are gone from the header list.
    pub stripped: Cell<bool>,
    /// The requirement that a known caller does not meet.
    pub unmet: Cell<Option<Unmet>>,
    /// The subrequest that the request waits for.
    pub asked: Cell<Option<Asked>>,
    /// The token that was verified for this request.
    pub own_token: RefCell<Option<Rc<VerifiedToken>>>,
    /// A token that stands if the resolver confirms it.
    pub unconfirmed: RefCell<Option<(Rc<VerifiedToken>, From)>>,
    /// What this request asks the resolver, and the lease under which it does.
    pub lease: Cell<Option<(Key, Option<u64>)>>,
    /// Until when the request waits for a slot in which its keys are fetched.
    pub queued_until: Cell<Option<u64>>,
    /// When the request began to wait for another's answer.
    pub waiting_since: Cell<Option<u64>>,
    /// The location whose rules gave an early verdict, if the outcome is one.
    pub early_for: Cell<Option<NonNull<LocationConf>>>,
    /// Set while a variable asks for an early verdict, so that it cannot ask itself.
    pub asking: Cell<bool>,
    /// Texts of claims, in the request's pool.
    pub texts: RefCell<Vec<(Claim, ngx_str_t)>>,
}

impl Context {
    fn new() -> Self {
        Self {
            stage: Cell::new(Stage::New),
            outcome: RefCell::default(),
            stripped: Cell::new(false),
            unmet: Cell::new(None),
            asked: Cell::new(None),
            own_token: RefCell::default(),
            unconfirmed: RefCell::default(),
            lease: Cell::new(None),
            queued_until: Cell::new(None),
            waiting_since: Cell::new(None),
            early_for: Cell::new(None),
            asking: Cell::new(false),
            texts: RefCell::default(),
        }
    }

    /// Starts a new pass: nginx runs the phases again after an internal redirect. What an
    /// earlier pass decided stays visible until this one decides; an early verdict does not.
    pub fn restart(&self) {
        if let Stage::Waiting(waiter) = self.stage.replace(Stage::New) {
            crate::worker::forget(waiter);
        }
        if let Some((key, Some(lease))) = self.lease.take() {
            crate::resolver::give_up(&key, lease);
        }
        self.queued_until.set(None);
        self.waiting_since.set(None);
        if self.early_for.get().is_some() {
            self.settle(Outcome::Unknown);
        }
    }

    /// Settles what is known of the caller.
    pub fn settle(&self, outcome: Outcome) {
        self.early_for.set(None);
        self.unmet.set(None);
        self.texts.borrow_mut().clear();
        *self.outcome.borrow_mut() = outcome;
    }

    /// The word for `$authgear_reason`; `None` while nothing is known.
    pub fn reason(&self) -> Option<Reason> {
        match (self.outcome.borrow().reason(), self.unmet.get()) {
            (Some(Reason::Ok), Some(_)) => Some(Reason::Policy),
            (reason, _) => reason,
        }
    }

    /// The context of `r`'s client request, if the module has met it.
    pub fn find(r: &Request) -> Option<&Context> {
        let main = r.main();
        let index = crate::AuthgearModule::module().ctx_index;
        // SAFETY: `ctx` has a slot for every module, and ours holds null or a pointer that
        // `create` put there; the context lives as long as the request's pool.
        unsafe {
            let slot = (*main.raw()).ctx.add(index);
            if (*slot).is_null() {
                // An internal redirect clears the slots, but not the pool.
                if !main.is_internal() && !main.is_filter_finalized() {
                    return None;
                }
                let kept = main.pool().kept::<Context>(drop_context)?;
                slot.write(kept.as_ptr().cast());
            }
            Some(&*(*slot).cast::<Context>())
        }
    }

    /// The context of `r`'s client request, made if need be.
    pub fn find_or_create(r: &Request) -> Result<&Context, Failed> {
        if let Some(context) = Self::find(r) {
            return Ok(context);
        }
        let main = r.main();
        let index = crate::AuthgearModule::module().ctx_index;
        let context: NonNull<Context> = main.pool().keep(Context::new(), drop_context)?;
        // SAFETY: as in `find`.
        unsafe {
            (*main.raw()).ctx.add(index).write(context.as_ptr().cast());
            Ok(&*context.as_ptr())
        }
    }
}

/// The request is over, finished or given up by its client: it waits for nothing any more.
unsafe extern "C" fn drop_context(data: *mut c_void) {
    guard((), || {
        let context = data.cast::<Context>();
        // SAFETY: nginx calls this once, with the context that `find_or_create` kept.
        unsafe {
            (*context).restart();
            context.drop_in_place();
        }
    });
}
