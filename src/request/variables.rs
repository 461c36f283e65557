//! `$authgear_*`.

use authgear_core::session::{Field, Session};
use authgear_core::status::Source;
use nginx_sys::{
    ngx_http_request_t, ngx_int_t, ngx_str_t, ngx_variable_value_t, NGX_ERROR, NGX_HTTP_VAR_PREFIX,
    NGX_OK,
};

use crate::nginx::{borrowed_str, bytes, fields, guard, Conf, Failed, Request};
use crate::request::backend;
use crate::request::context::ClaimName;
use crate::request::early::settled;
use crate::request::outcome::{Outcome, Verified};
use crate::request::resolver::own_question;

/// The text of a variable. It lives as long as the client request.
type Text = fn(&Request) -> Option<ngx_str_t>;

/// Each variable with the function that gives its text.
const VARIABLES: &[(&str, Text)] = &[
    ("authgear_session_valid", |r| of_outcome(r, is_valid)),
    ("authgear_user_id", |r| field(r, Field::UserId)),
    ("authgear_user_anonymous", |r| {
        field(r, Field::UserAnonymous)
    }),
    ("authgear_user_verified", |r| field(r, Field::UserVerified)),
    ("authgear_user_can_reauthenticate", |r| {
        field(r, Field::UserCanReauthenticate)
    }),
    ("authgear_user_roles", |r| field(r, Field::UserRoles)),
    ("authgear_session_amr", |r| field(r, Field::SessionAmr)),
    ("authgear_session_authenticated_at", |r| {
        field(r, Field::SessionAuthenticatedAt)
    }),
    ("authgear_client_id", |r| of_session(r, |s| s.client_id())),
    ("authgear_scope", |r| of_session(r, |s| s.scope())),
    ("authgear_token_id", |r| of_session(r, |s| s.token_id())),
    ("authgear_token_exp", |r| of_session(r, |s| s.token_exp())),
    ("authgear_token_type", |r| of_session(r, |s| s.token_type())),
    ("authgear_kid", |r| of_session(r, |s| s.kid())),
    ("authgear_claims", |r| {
        claim(r, ClaimName::All, |verified| {
            verified.token.claims_json(verified.text())
        })
    }),
    ("authgear_source", |r| {
        of_outcome(r, |o| o.source().map(Source::as_str))
    }),
    ("authgear_reason", reason),
    ("authgear_resolver_authorization", |r| {
        Some(own_question(r)?.authorization)
    }),
    ("authgear_resolver_cookie", |r| {
        Some(own_question(r)?.cookie)
    }),
    ("authgear_backend_authorization", backend::authorization),
    ("authgear_backend_cookie", backend::cookie),
    ("authgear_endpoint_host", |r| {
        let host = own_question(r)?.endpoint_host()?;
        Some(borrowed_str(host.as_bytes()))
    }),
    ("authgear_endpoint_scheme", |r| {
        let scheme = own_question(r)?.endpoint_scheme()?;
        Some(borrowed_str(scheme.as_bytes()))
    }),
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
        let (_, text) = VARIABLES[index];
        show(v, text(&r))
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
        let text = claim(&r, ClaimName::Named(name.into()), |verified| {
            let name = core::str::from_utf8(name).ok()?;
            let token = &verified.token;
            token.claim_text_of_lowercase(verified.text(), name)
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
            .and_then(|path| {
                claim(&r, ClaimName::At(path), |verified| {
                    verified.token.claim_path_text(verified.text(), path)
                })
            });
        show(v, text)
    })
}

/// Puts a text into nginx's slot of a variable.
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

/// A text that the outcome of a request's judgement holds.
fn of_outcome(r: &Request, find: impl Fn(&Outcome) -> Option<&str>) -> Option<ngx_str_t> {
    let outcome = settled(r)?.outcome.borrow();
    find(&outcome).map(|text| borrowed_str(text.as_bytes()))
}

/// A text that the caller's session holds.
fn of_session(
    r: &Request,
    find: impl for<'a> Fn(&Session<'a>) -> Option<&'a str>,
) -> Option<ngx_str_t> {
    of_outcome(r, |outcome| find(&outcome.session()?))
}

/// A value that the resolver has too.
fn field(r: &Request, field: Field) -> Option<ngx_str_t> {
    of_session(r, |session| session.get(field))
}

fn is_valid(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Refused(_) | Outcome::BadRequest => Some("false"),
        outcome => outcome.session()?.get(Field::SessionValid),
    }
}

fn reason(r: &Request) -> Option<ngx_str_t> {
    let reason = settled(r)?.reason()?;
    Some(borrowed_str(reason.as_str().as_bytes()))
}

/// The text of a claim or of all, found once for each request.
fn claim(
    r: &Request,
    name: ClaimName,
    find: impl FnOnce(&Verified) -> Option<String>,
) -> Option<ngx_str_t> {
    let context = settled(r)?;
    let outcome = context.outcome.borrow();
    let Outcome::Verified(verified, _) = &*outcome else {
        return None;
    };
    let mut texts = context.claim_texts.borrow_mut();
    if let Some((_, text)) = texts.iter().find(|(known, _)| *known == name) {
        return Some(*text);
    }
    let text = find(verified).unwrap_or_default();
    let text = r.pool().copy(text.as_bytes()).ok()?;
    texts.push((name, text));
    Some(text)
}
