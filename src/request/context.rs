//! The module's state of a client request and of its subrequests.
//!
//! A client request has one [`ClientRequest`], in a cleanup of its pool: the facts that were found
//! out for it, which its internal redirects and subrequests use again. Each request has a
//! [`Context`] in it: the stage of its own judgement, and the outcome.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_core::reason::Reason;
use authgear_core::status::{Mode, Source};
use authgear_tables::early::Slip;
use nginx_sys::{ngx_http_request_t, ngx_str_t, ngx_table_elt_t};
use ngx::http::HttpModule;
use smallvec::SmallVec;

use crate::conf::{AuthgearModule, LocationConf};
use crate::nginx::{bytes, guard, Failed, Request};
use crate::request::headers;
use crate::request::outcome::{LoginStep, Outcome, Provenance, Unmet, Verified};
use crate::request::question::{Asked, Verdict};
use crate::request::waiting::{self, WaiterId};
use crate::shm::Id;

/// The stage of a request's judgement.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// Not begun in this pass through the phases, or to be continued.
    New,
    /// Suspended until keys, or another request's answer of the resolver, can be had.
    Waiting(WaiterId),
    /// Suspended until the resolver answers this question.
    Asking(NonNull<Asked>),
    /// Complete for this pass.
    Decided,
}

/// The name by which a claim was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum ClaimName {
    /// All of them.
    All,
    /// A top-level name, as a variable holds it.
    Named(Box<[u8]>),
    /// A path of the configuration.
    At(*const [Box<str>]),
}

/// The subject of a judgement: two with the same one have the same facts.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The tenant, which is one of one project.
    pub tenant: Id,
    /// The bearer token, whose text lives as long as the client request.
    pub token: Option<ngx_str_t>,
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        // SAFETY: the texts live as long as the client request, as whoever compares them.
        let [token, other_token] = [self, other]
            .map(|subject| subject.token.as_ref().map(|token| unsafe { bytes(token) }));
        self.tenant == other.tenant && token == other_token
    }
}

/// A verdict as it is counted: the project's number, and the labels.
pub type Counted = (usize, Mode, Source, Reason);

/// The state of one request: the client's own, or a subrequest.
#[derive(Debug)]
pub struct Context {
    request: *mut ngx_http_request_t,
    /// The stage of the judgement.
    pub stage: Cell<Stage>,
    /// The outcome, for variables and the headers of the request to the backend.
    pub outcome: RefCell<Outcome>,
    /// The requirement that a known caller does not meet.
    pub unmet: Cell<Option<Unmet>>,
    /// The time at which the request began to wait for another's answer.
    pub waiting_since: Cell<Option<u64>>,
    /// The time until which the request waits for its turn to have keys fetched.
    pub queued_until: Cell<Option<u64>>,
    /// The location whose rules gave the outcome.
    pub settled_for: Cell<Option<NonNull<LocationConf>>>,
    /// True when the outcome was found before the access phase.
    pub is_early: Cell<bool>,
    /// The subject of the last judgement in the access phase.
    pub subject: Cell<Option<Subject>>,
    /// True while the request is suspended before the limits (`authgear_early`).
    pub is_identifying: Cell<bool>,
    /// The question that counts for the client's address.
    pub slip: Cell<Option<Slip>>,
    /// Set while an early outcome is being found, so that a variable cannot ask for itself.
    is_asking: Cell<bool>,
    /// Texts of claims, in the request's pool.
    pub claim_texts: RefCell<Vec<(ClaimName, ngx_str_t)>>,
    /// The verdict that was counted last.
    pub counted: Cell<Option<Counted>>,
    /// This module's own `WWW-Authenticate` in the response.
    pub challenge: Cell<Option<NonNull<ngx_table_elt_t>>>,
    /// The challenge of another module that nginx no longer finds behind this module's.
    #[cfg(not(nginx_1_23))]
    pub hidden_challenge: Cell<Option<NonNull<ngx_table_elt_t>>>,
    /// The way to the login.
    pub login: Cell<Option<LoginStep>>,
    /// This module's own `Retry-After` in the response.
    pub retry_after: Cell<Option<NonNull<ngx_table_elt_t>>>,
}

/// A JWT whose signature was checked for this client request.
#[derive(Debug)]
struct JudgedToken {
    tenant: Id,
    token: ngx_str_t,
    verdict: Result<(Verified, Provenance), Reason>,
}

/// A question that the resolver answered for this client request.
#[derive(Debug)]
struct JudgedQuestion {
    tenant: Id,
    token: ngx_str_t,
    cookie: ngx_str_t,
    verdict: Verdict,
}

/// A question that one of the client request's own requests waits for, and the others that wait for the
/// same answer.
#[derive(Debug)]
struct Pending {
    asked: NonNull<Asked>,
    joined: Vec<NonNull<ngx_http_request_t>>,
}

/// The state of a client request, shared by its internal redirects and its subrequests.
///
/// Verified tokens stay here until the request's pool goes, since variables, captures and headers
/// may point into them.
#[derive(Debug)]
pub struct ClientRequest {
    main: Context,
    subrequests: RefCell<Vec<Rc<Context>>>,
    tokens: RefCell<SmallVec<[JudgedToken; 1]>>,
    questions: RefCell<SmallVec<[JudgedQuestion; 1]>>,
    pending: RefCell<Vec<Pending>>,
}

impl ClientRequest {
    /// The verdict on a token that was found for this client request.
    pub fn token(
        &self,
        tenant: &Id,
        token: &[u8],
    ) -> Option<Result<(Verified, Provenance), Reason>> {
        let tokens = self.tokens.borrow();
        let found = tokens.iter().find(|known| {
            // SAFETY: the text is that of a header or a variable, which live as long as the
            // client request.
            known.tenant == *tenant && unsafe { bytes(&known.token) } == token
        })?;
        Some(found.verdict.clone())
    }

    /// Adds the verdict on a token. Its text must live as long as the client request.
    pub fn add_token(
        &self,
        tenant: Id,
        token: &[u8],
        verdict: Result<(Verified, Provenance), Reason>,
    ) {
        self.tokens.borrow_mut().push(JudgedToken {
            tenant,
            token: crate::nginx::borrowed_str(token),
            verdict,
        });
    }

    /// The resolver's answer to this question for this client request.
    pub fn answer(&self, tenant: &Id, token: &[u8], cookie: &[u8]) -> Option<Verdict> {
        let questions = self.questions.borrow();
        let found = questions.iter().find(|known| {
            // SAFETY: both texts lie in the pool of the client request.
            let (known_token, known_cookie) =
                unsafe { (bytes(&known.token), bytes(&known.cookie)) };
            known.tenant == *tenant && known_token == token && known_cookie == cookie
        })?;
        Some(found.verdict)
    }

    /// Adds the resolver's answer. Both texts must lie in the client request's pool.
    pub fn add_answer(&self, tenant: Id, token: ngx_str_t, cookie: ngx_str_t, verdict: Verdict) {
        self.questions.borrow_mut().push(JudgedQuestion {
            tenant,
            token,
            cookie,
            verdict,
        });
    }

    /// Adds a question that a request waits for.
    pub fn add_pending(&self, asked: NonNull<Asked>) {
        let joined = Vec::new();
        self.pending.borrow_mut().push(Pending { asked, joined });
    }

    /// The same question, if a request of this client request waits for its answer.
    pub fn pending(&self, tenant: &Id, token: &[u8], cookie: &[u8]) -> Option<NonNull<Asked>> {
        let pending = self.pending.borrow();
        let mut asked = pending.iter().map(|pending| pending.asked);
        // SAFETY: a question lives in the pool of the client request.
        asked.find(|asked| unsafe { asked.as_ref() }.is_same(tenant, token, cookie))
    }

    /// Has a request run again when another of this client request has its answer.
    pub fn join(&self, asked: NonNull<Asked>, r: &Request) {
        for pending in self.pending.borrow_mut().iter_mut() {
            if pending.asked == asked && !pending.joined.contains(&r.as_non_null()) {
                pending.joined.push(r.as_non_null());
            }
        }
    }

    /// Ends the wait of all that joined a question.
    pub fn end_pending(&self, asked: NonNull<Asked>) {
        let mut pending = self.pending.borrow_mut();
        while let Some(index) = pending.iter().position(|pending| pending.asked == asked) {
            for joined in pending.swap_remove(index).joined {
                // SAFETY: a subrequest lives as long as the client request.
                unsafe { Request::from_raw(joined.as_ptr()) }.post();
            }
        }
    }

    /// The state of `r`'s client request, if the module has met it.
    fn find(r: &Request) -> Option<&ClientRequest> {
        let main = r.main();
        let slot = slot(&main);
        // SAFETY: the slot holds null or a pointer that `find_or_create` put there; the state lives
        // as long as the request's pool.
        unsafe {
            if (*slot).is_null() {
                // An internal redirect clears the slots, but not the pool.
                if !main.is_internal() && !main.is_filter_finalized() {
                    return None;
                }
                let state = main.pool().find_cleanup::<ClientRequest>(drop_state)?;
                slot.write(state.as_ptr().cast());
            }
            Some(&*(*slot).cast::<ClientRequest>())
        }
    }

    fn find_or_create(r: &Request) -> Result<&ClientRequest, Failed> {
        if let Some(client) = Self::find(r) {
            return Ok(client);
        }
        let main = r.main();
        headers::strip(&main)?;
        let state = ClientRequest {
            main: Context::new(main.raw()),
            subrequests: RefCell::default(),
            tokens: RefCell::default(),
            questions: RefCell::default(),
            pending: RefCell::default(),
        };
        // SAFETY: `drop_state` takes a state, and nothing refers to one after the request's pool.
        // The slot is this module's, as in `find`.
        unsafe {
            let client = main.pool().alloc_with_cleanup(state, drop_state)?;
            slot(&main).write(client.as_ptr().cast());
            Ok(&*client.as_ptr())
        }
    }

    /// The state of `r` itself.
    fn context(&self, r: &Request) -> Option<&Context> {
        if r.is_main() {
            return Some(&self.main);
        }
        let subrequests = self.subrequests.borrow();
        let found = subrequests.iter().find(|own| own.request == r.raw())?;
        // SAFETY: the context has memory of its own, and stays until the client request is over, as
        // `self` does.
        Some(unsafe { &*Rc::as_ptr(found) })
    }
}

/// The end of what [`Context::ask`] began, when it is dropped.
pub struct Asking<'a>(&'a Context);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.is_asking.set(false);
    }
}

/// nginx's place for this module's pointer of a request.
fn slot(r: &Request) -> *mut *mut c_void {
    let index = AuthgearModule::module().ctx_index;
    // SAFETY: the request is live, and `ctx` has a slot for every module.
    unsafe { (*r.raw()).ctx.add(index) }
}

impl Context {
    fn new(request: *mut ngx_http_request_t) -> Self {
        Self {
            request,
            stage: Cell::new(Stage::New),
            outcome: RefCell::default(),
            unmet: Cell::new(None),
            waiting_since: Cell::new(None),
            queued_until: Cell::new(None),
            settled_for: Cell::new(None),
            is_early: Cell::new(false),
            subject: Cell::new(None),
            is_identifying: Cell::new(false),
            slip: Cell::new(None),
            is_asking: Cell::new(false),
            claim_texts: RefCell::default(),
            counted: Cell::new(None),
            challenge: Cell::new(None),
            #[cfg(not(nginx_1_23))]
            hidden_challenge: Cell::new(None),
            login: Cell::new(None),
            retry_after: Cell::new(None),
        }
    }

    /// Starts a new pass: nginx runs the phases again after an internal redirect. The outcome of
    /// an earlier pass stays visible until this one has its own; an early outcome does not.
    pub fn restart(&self) {
        if let Stage::Waiting(waiter) = self.stage.replace(Stage::New) {
            waiting::forget(waiter);
        }
        self.is_identifying.set(false);
        self.slip.set(None);
        self.waiting_since.set(None);
        self.queued_until.set(None);
        if self.is_early.get() {
            self.settle(Outcome::Unknown);
        }
    }

    /// Settles what is known of the caller.
    pub fn settle(&self, outcome: Outcome) {
        self.settled_for.set(None);
        self.is_early.set(false);
        self.unmet.set(None);
        self.claim_texts.borrow_mut().clear();
        *self.outcome.borrow_mut() = outcome;
    }

    /// Begins to evaluate variables for the value of one of ours; `None` where that was asked for by one of
    /// them.
    pub fn ask(&self) -> Option<Asking<'_>> {
        (!self.is_asking.replace(true)).then(|| Asking(self))
    }

    /// The word for `$authgear_reason`; `None` while nothing is known.
    pub fn reason(&self) -> Option<Reason> {
        match (self.outcome.borrow().reason(), self.unmet.get()) {
            (Some(Reason::Ok), Some(_)) => Some(Reason::Policy),
            (reason, _) => reason,
        }
    }

    /// The state of a request, if the module has met it.
    pub fn find(r: &Request) -> Option<&Context> {
        ClientRequest::find(r)?.context(r)
    }

    /// The state of a request and of its client request, made if need be.
    pub fn find_or_create(r: &Request) -> Result<(&ClientRequest, &Context), Failed> {
        let client = ClientRequest::find_or_create(r)?;
        if client.context(r).is_none() {
            let context = Rc::new(Context::new(r.raw()));
            client.subrequests.borrow_mut().push(context);
        }
        let context = client.context(r).ok_or(Failed)?;
        Ok((client, context))
    }
}

/// Runs when the client request is over, answered or given up by its client.
unsafe extern "C" fn drop_state(data: *mut c_void) {
    guard((), || {
        let client = data.cast::<ClientRequest>();
        // SAFETY: nginx calls this once, with the state that `find_or_create` allocated.
        unsafe {
            (*client).main.restart();
            for context in (*client).subrequests.borrow().iter() {
                context.restart();
            }
            client.drop_in_place();
        }
    });
}
