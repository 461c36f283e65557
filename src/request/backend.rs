//! `$authgear_backend_authorization` and `$authgear_backend_cookie`: what of the client's credentials is none
//! of Authgear's.
//!
//! They depend on the request's headers and its location alone, not on the judgement. Where no project is
//! known, what any of them would take for its own is left out.

use authgear_core::credential::{add_others_cookies, others_authorization, trim, Line, OwnCookies};
use nginx_sys::ngx_str_t;
use smallvec::SmallVec;

use crate::conf::Project;
use crate::nginx::{borrowed_str, Failed, Request};
use crate::request::attempt::project;
use crate::request::context::Context;
use crate::request::presented::token_in;

/// The `Authorization` header if it is none of Authgear's. `None` too where there is more than one, of which
/// `proxy_set_header` could send none but the first.
pub fn authorization(r: &Request) -> Option<ngx_str_t> {
    let mut all = r.values_of(b"authorization");
    let (value, None) = (all.next()?, all.next()) else {
        return None;
    };
    let tokens = tokens(r).ok()?;
    others_authorization(value, &tokens).map(borrowed_str)
}

/// The `Cookie` headers without Authgear's cookies, joined as nginx joins them.
pub fn cookie(r: &Request) -> Option<ngx_str_t> {
    let tokens = tokens(r).ok()?;
    let own = own_cookies(r);
    let mut line = Line::new();
    for header in r.values_of(b"cookie") {
        add_others_cookies(&mut line, header, &own, &tokens);
    }
    if line.is_empty() {
        return None;
    }
    r.pool().copy(&line).ok()
}

/// The cookies of the location's project, or else those of all projects.
fn own_cookies(r: &Request) -> SmallVec<[OwnCookies<'_>; 2]> {
    fn of(project: &Project) -> OwnCookies<'_> {
        OwnCookies {
            names: &project.cookies,
            with_sessions: project.resolve_request.is_some(),
        }
    }
    let gate = r.location().gate();
    let known = gate.and_then(|(gate, _)| project(r, gate).ok().flatten());
    match known {
        Some(project) => SmallVec::from_iter([of(project)]),
        None => r.main_conf().projects.iter().map(of).collect(),
    }
}

/// The values of `authgear_token` that hold a token, and the tokens in them. Fails where one of them asks for
/// these variables.
fn tokens(r: &Request) -> Result<SmallVec<[&[u8]; 2]>, Failed> {
    let mut tokens = SmallVec::new();
    let values = r.location().tokens();
    if values.is_empty() {
        return Ok(tokens);
    }
    let _asking = Context::find_or_create(r)?.1.ask().ok_or(Failed)?;
    for value in values {
        let value = value.evaluate(r)?;
        if let Some(token) = token_in(value) {
            tokens.extend([trim(value), token]);
        }
    }
    Ok(tokens)
}
