//! `$authgear_*`.

use core::ptr::{self, NonNull};

use authgear_core::session::{Field, Session};
use authgear_core::token::VerifiedToken;
use nginx_sys::{
    ngx_http_request_t, ngx_int_t, ngx_str_t, ngx_variable_value_t, NGX_ERROR, NGX_HTTP_VAR_PREFIX,
    NGX_OK,
};

use crate::nginx::{borrowed_str, bytes, fields, guard, Conf, Failed, Request};
use crate::request::access;
use crate::request::context::{Claim, Context};
use crate::request::outcome::Outcome;
use crate::request::resolver;

/// The content of a variable.
#[derive(Debug, Clone, Copy)]
enum Value {
    ResolverAuthorization,
    ResolverCookie,
    Header(Field),
    ClientId,
    Scope,
    TokenId,
    TokenExp,
    TokenType,
    Claims,
    Source,
    Reason,
}

const VARIABLES: [(&str, Value); 18] = [
    ("authgear_session_valid", Value::Header(Field::SessionValid)),
    ("authgear_user_id", Value::Header(Field::UserId)),
    (
        "authgear_user_anonymous",
        Value::Header(Field::UserAnonymous),
    ),
    ("authgear_user_verified", Value::Header(Field::UserVerified)),
    (
        "authgear_user_can_reauthenticate",
        Value::Header(Field::UserCanReauthenticate),
    ),
    ("authgear_user_roles", Value::Header(Field::UserRoles)),
    ("authgear_session_amr", Value::Header(Field::SessionAmr)),
    (
        "authgear_session_authenticated_at",
        Value::Header(Field::SessionAuthenticatedAt),
    ),
    ("authgear_client_id", Value::ClientId),
    ("authgear_scope", Value::Scope),
    ("authgear_token_id", Value::TokenId),
    ("authgear_token_exp", Value::TokenExp),
    ("authgear_token_type", Value::TokenType),
    ("authgear_claims", Value::Claims),
    ("authgear_source", Value::Source),
    ("authgear_reason", Value::Reason),
    (
        "authgear_resolver_authorization",
        Value::ResolverAuthorization,
    ),
    ("authgear_resolver_cookie", Value::ResolverCookie),
];

/// The prefix of variables for one top-level claim, whose name follows.
const CLAIM_PREFIX: &str = "authgear_claim_";

/// Registers every variable with nginx.
pub fn register(cf: &Conf) -> Result<(), Failed> {
    for (index, (name, _)) in VARIABLES.iter().enumerate() {
        cf.add_variable(name, 0, get_value, index)?;
    }
    cf.add_variable(CLAIM_PREFIX, NGX_HTTP_VAR_PREFIX, get_claim, 0)
}

unsafe extern "C" fn get_value(
    r: *mut ngx_http_request_t,
    v: *mut ngx_variable_value_t,
    index: usize,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a live request and the slot of one of its variables.
        let (r, v) = unsafe { (Request::from_raw(r), &mut *v) };
        show(v, value(&r, VARIABLES[index].1))
    })
}

unsafe extern "C" fn get_claim(
    r: *mut ngx_http_request_t,
    v: *mut ngx_variable_value_t,
    name: usize,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a live request, the slot of one of its variables, and the
        // variable's whole name, which begins with the prefix.
        let (r, v, name) = unsafe {
            (
                Request::from_raw(r),
                &mut *v,
                bytes(&*(name as *const ngx_str_t)),
            )
        };
        let name = &name[CLAIM_PREFIX.len()..];
        let text = claim(&r, Claim::Named(name.into()), |token| {
            token.claim_text_of_lowercase(core::str::from_utf8(name).ok()?)
        });
        show(v, text)
    })
}

/// The getter of the variables of `authgear_claim_set`; `variable` tells them apart.
///
/// # Safety
///
/// The request must be live and the slot one of its variables.
pub unsafe extern "C" fn get_claim_at(
    r: *mut ngx_http_request_t,
    v: *mut ngx_variable_value_t,
    variable: usize,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx hands over a live request and the slot of one of its variables.
        let (r, v) = unsafe { (Request::from_raw(r), &mut *v) };
        let main = r.main();
        let path = r.location().claim_path(variable);
        let text = path
            .or_else(|| main.location().claim_path(variable))
            .and_then(|path| claim(&r, Claim::At(path), |token| token.claim_path_text(path)));
        show(v, text)
    })
}

/// Fills nginx's slot.
///
/// The slot is never marked as valid, so nginx asks again every time. It is one slot for a request and
/// all its subrequests, and each of those has values of its own. The values do not change between two
/// reads of one phase, since the context keeps the outcome, an early or empty one included. The bit
/// `escape` is left alone: the log module keeps it there between its two passes.
fn show(v: &mut ngx_variable_value_t, text: Option<ngx_str_t>) -> ngx_int_t {
    let text = text.unwrap_or(ngx_str_t::empty());
    fields::value::set_len(v, text.len);
    fields::value::set_valid(v, false);
    fields::value::set_no_cacheable(v, true);
    fields::value::set_not_found(v, false);
    v.data = text.data;
    NGX_OK as ngx_int_t
}

/// A variable's text. It lives as long as the client request.
fn value(r: &Request, value: Value) -> Option<ngx_str_t> {
    let question =
        |header: fn(&resolver::Asked) -> ngx_str_t| resolver::own_question(r).map(header);
    match value {
        Value::ResolverAuthorization => return question(resolver::Asked::authorization),
        Value::ResolverCookie => return question(resolver::Asked::cookie),
        _ => {}
    }
    let context = settled(r)?;
    let outcome = context.outcome.borrow();
    let text = match (&*outcome, value) {
        (_, Value::Reason) => context.reason().map(|reason| reason.as_str()),
        (outcome, Value::Source) => outcome.source(),
        (Outcome::Verified(token, _), Value::Claims) => Some(token.claims_json()),
        (Outcome::Refused(_) | Outcome::BadRequest, Value::Header(Field::SessionValid)) => {
            Some("false")
        }
        (outcome, value) => outcome.session().and_then(|session| shown(&session, value)),
    };
    text.map(|text| borrowed_str(text.as_bytes()))
}

fn shown<'a>(session: &Session<'a>, value: Value) -> Option<&'a str> {
    match value {
        Value::Header(field) => session.get(field),
        Value::ClientId => session.client_id(),
        Value::Scope => session.scope(),
        Value::TokenId => session.token_id(),
        Value::TokenExp => session.token_exp(),
        Value::TokenType => session.token_type(),
        Value::Claims
        | Value::Source
        | Value::Reason
        | Value::ResolverAuthorization
        | Value::ResolverCookie => None,
    }
}

/// The text of a claim, found once for each request and kept.
fn claim(
    r: &Request,
    claim: Claim,
    find: impl FnOnce(&VerifiedToken) -> Option<String>,
) -> Option<ngx_str_t> {
    let context = settled(r)?;
    let outcome = context.outcome.borrow();
    let Outcome::Verified(token, _) = &*outcome else {
        return None;
    };
    let mut texts = context.texts.borrow_mut();
    if let Some((_, text)) = texts.iter().find(|(known, _)| *known == claim) {
        return Some(*text);
    }
    let text = find(token).unwrap_or_default();
    let text = r.pool().copy(text.as_bytes()).ok()?;
    texts.push((claim, text));
    Some(text)
}

/// The context whose outcome the variables of `r` show. A subrequest that is not judged itself shows
/// what its parent does.
fn settled(r: &Request) -> Option<&Context> {
    let is_judged = r.location().gate().is_some() && resolver::own_question(r).is_none();
    if is_judged {
        return settled_early(r);
    }
    match (Context::find(r), r.parent()) {
        (Some(context), _) if has_outcome(context) => {
            // An early outcome is that of the location that it was found for.
            forget_elsewhere(r, context);
            Some(context)
        }
        // SAFETY: a parent lives as long as the client request, as `r` does.
        (_, Some(parent)) => settled(&parent).map(|found| unsafe { &*ptr::from_ref(found) }),
        (context, None) => context,
    }
}

fn has_outcome(context: &Context) -> bool {
    !matches!(*context.outcome.borrow(), Outcome::Unknown)
}

/// Forgets an early outcome that was found for another location.
fn forget_elsewhere(r: &Request, context: &Context) {
    let is_elsewhere = context.settled_for.get() != Some(NonNull::from(r.location()));
    if context.is_early.get() && is_elsewhere {
        context.settle(Outcome::Unknown);
    }
}

/// The context of a request in a location that verifies. Where nothing is known for it yet, an early
/// outcome is found first, once for each location; that nothing could be found is one as well.
fn settled_early(r: &Request) -> Option<&Context> {
    let (_, context) = Context::find_or_create(r).ok()?;
    let here = Some(NonNull::from(r.location()));
    if context.settled_for.get() != here && !context.is_asking.replace(true) {
        let _asking = Asking(context);
        // After an internal redirect, the outcome of the location before counts here if it is the
        // same judgement.
        let is_known = has_outcome(context) && !context.is_early.get();
        if !is_known || !access::is_same_judgement(r, context) {
            context.settle(access::preview(r));
            context.is_early.set(true);
        }
        context.settled_for.set(here);
    }
    Some(context)
}

/// Ends [`Context::is_asking`], however the search ends.
struct Asking<'a>(&'a Context);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.is_asking.set(false);
    }
}
