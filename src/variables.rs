//! `$authgear_*`.

use core::ptr::NonNull;

use authgear_core::session::{Field, Session};
use authgear_core::token::VerifiedToken;
use nginx_sys::{
    ngx_http_add_variable, ngx_http_request_t, ngx_int_t, ngx_str_t, ngx_variable_value_t,
    NGX_ERROR, NGX_HTTP_VAR_NOCACHEABLE, NGX_HTTP_VAR_PREFIX, NGX_OK,
};

use crate::access;
use crate::conf::Mistake;
use crate::context::{Claim, Context, Outcome};
use crate::nginx::fields;
use crate::nginx::{borrowed_str, bytes, guard, Conf, Failed, Request};
use crate::policy;

/// What a variable shows.
#[derive(Debug, Clone, Copy)]
enum Value {
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

const VARIABLES: [(&str, Value); 16] = [
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
];

/// One top-level claim: whatever follows is its name.
const CLAIM_PREFIX: &str = "authgear_claim_";

/// Tells nginx of every variable.
pub fn register(cf: &Conf) -> Result<(), Failed> {
    for (index, (name, _)) in VARIABLES.iter().enumerate() {
        add(cf, name, 0, get_value, index)?;
    }
    add(cf, CLAIM_PREFIX, NGX_HTTP_VAR_PREFIX, get_claim, 0)
}

type Getter =
    unsafe extern "C" fn(*mut ngx_http_request_t, *mut ngx_variable_value_t, usize) -> ngx_int_t;

fn add(cf: &Conf, name: &str, flags: u32, getter: Getter, data: usize) -> Result<(), Failed> {
    let mut name = borrowed_str(name.as_bytes());
    // SAFETY: the context is live; nginx copies the name.
    unsafe {
        let flags = (flags | NGX_HTTP_VAR_NOCACHEABLE) as usize;
        let variable = ngx_http_add_variable(cf.raw(), &mut name, flags)
            .as_mut()
            .ok_or(Failed)?;
        variable.get_handler = Some(getter);
        variable.data = data;
    }
    Ok(())
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

/// Makes a variable of `authgear_claim_set`, or finds it; returns what tells it from the others.
/// Any other directive that sets it is refused: the one behind it by nginx.
pub fn add_claim(cf: &Conf, name: &str) -> Result<usize, Mistake> {
    let name = name.to_ascii_lowercase();
    let mut claims = cf.main_conf().claims.borrow_mut();
    if let Some((_, variable)) = claims.iter().find(|(known, _)| *known == name) {
        return Ok(*variable);
    }
    let mut text = borrowed_str(name.as_bytes());
    let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
    // SAFETY: the context is live; nginx copies the name.
    let variable = unsafe {
        ngx_http_add_variable(cf.raw(), &mut text, flags)
            .as_mut()
            .ok_or(Failed)?
    };
    if variable.get_handler.is_some() {
        return Err(
            format!("cannot set \"${name}\", which another directive sets; rename it").into(),
        );
    }
    variable.get_handler = Some(get_claim_at);
    variable.data = core::ptr::from_mut(variable) as usize;
    claims.push((name, variable.data));
    Ok(variable.data)
}

unsafe extern "C" fn get_claim_at(
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

/// Fills nginx's slot. It is never marked as valid, so nginx asks again every time: the value
/// changes when the request passes the access phase, there or after an internal redirect.
fn show(v: &mut ngx_variable_value_t, text: Option<ngx_str_t>) -> ngx_int_t {
    let text = text.unwrap_or(ngx_str_t::empty());
    fields::value::set_len(v, text.len);
    fields::value::set_valid(v, false);
    fields::value::set_no_cacheable(v, true);
    fields::value::set_not_found(v, false);
    fields::value::set_escape(v, false);
    v.data = text.data;
    NGX_OK as ngx_int_t
}

/// A text that lives as long as the request's context keeps its token or session.
fn value(r: &Request, value: Value) -> Option<ngx_str_t> {
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
        Value::Claims | Value::Source | Value::Reason => None,
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
    let text = r.main().pool().copy(text.as_bytes()).ok()?;
    texts.push((claim, text));
    Some(text)
}

/// The request's context, once its outcome is known; asks for an early verdict if nobody has. One
/// that was given by the rules of another location does not count.
fn settled(r: &Request) -> Option<&Context> {
    let main = r.main();
    let location = main.location();
    let here = NonNull::from(location);
    let context = match location.gate() {
        Some(_) => Context::find_or_create(r).ok()?,
        None => Context::find(r)?,
    };
    if context.early_for.get().is_some_and(|there| there != here) {
        context.settle(Outcome::Unknown);
    }
    let is_unknown = matches!(*context.outcome.borrow(), Outcome::Unknown);
    if is_unknown && location.gate().is_some() && !context.asking.replace(true) {
        let early = access::preview(&main, context);
        context.settle(early);
        context.early_for.set(Some(here));
        let unmet = policy::unmet(&main, &context.outcome.borrow());
        match unmet {
            Ok(unmet) => context.unmet.set(unmet),
            Err(Failed) => context.settle(Outcome::Unknown),
        }
        context.asking.set(false);
    }
    Some(context)
}
