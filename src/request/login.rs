//! `authgear_login`: a browser that would get a 401 is sent to Authgear's login, and comes back.

use authgear_core::login::{is_navigation, Answer, Content, Prompt};
use nginx_sys::{
    ngx_int_t, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_UNAUTHORIZED,
    NGX_LOG_WARN,
};
use ngx::ngx_log_error;

use crate::conf::Project;
use crate::log::log_limited;
use crate::nginx::{Failed, Method, Request};
use crate::request::challenge::CHALLENGE;
use crate::request::context::Context;
use crate::request::outcome::LoginStep;

const HTML: &str = "text/html; charset=utf-8";

/// Notes that a client request that gets a 401 is one of a browser that can go to the login. The redirect
/// waits for the response, as other modules (`satisfy any`) or an error page may still make another.
pub fn note(r: &Request, context: &Context, project: &Project, prompt: Prompt) {
    let Some(login) = project.login.as_ref().filter(|_| r.location().login()) else {
        return;
    };
    // An error page of a POST is a GET for nginx.
    let is_get = r.request_line().starts_with(b"GET ");
    if !r.is_main() || !is_navigation(is_get, r.headers()) {
        return;
    }
    if r.host().eq_ignore_ascii_case(login.host().as_bytes()) {
        let wanted = LoginStep::Wanted(project.index, prompt);
        context.login.set(Some(wanted));
    } else if !project.login_elsewhere.replace(true) {
        ngx_log_error!(
            NGX_LOG_WARN,
            r.log(),
            "authgear: project \"{}\": a browser is not sent to the login, since it asked another host than \
             \"{}\", that of \"callback\"; redirect it there, or write \"authgear_login off;\"",
            project.name,
            login.host()
        );
    }
}

/// Notes that a browser's login reached this site, which ends its count of logins, unless a location to which the
/// request goes yet asks for another: the request is admitted, or a 403 that no login changes.
pub fn known(r: &Request, context: &Context, project: &Project) {
    if r.is_main() && r.location().login() && project.login.is_some() {
        context.login.set(Some(LoginStep::Known(project.index)));
    }
}

/// Forgets what an earlier pass noted.
pub fn forget(r: &Request, context: &Context) {
    if r.is_main() {
        context.login.set(None);
    }
}

/// Before the header of a response: turns a 401 of this module's into the redirect to the login, or into a page
/// that explains why another login is of no use. Returns the body then.
pub fn before_header(r: &Request) -> Result<Option<String>, Failed> {
    let Some(context) = Context::find(r).filter(|_| r.is_main()) else {
        return Ok(None);
    };
    let (index, prompt) = match context.login.get() {
        Some(LoginStep::Wanted(index, prompt)) if r.is_refused_with(NGX_HTTP_UNAUTHORIZED) => {
            (index, prompt)
        }
        Some(LoginStep::Known(index)) => {
            forget_rounds(r, index)?;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    // nginx takes the challenge back when another module grants access: the 401 is the backend's then.
    let is_ours = context.challenge.get();
    let Some(login) = &r.main_conf().projects[index].login else {
        return Ok(None);
    };
    if !is_ours.is_some_and(|challenge| r.shows_response_header(CHALLENGE, challenge)) {
        return Ok(None);
    }
    let now = r.now() as u64;
    let answer = login.begin(r.unparsed_uri(), prompt, r.values_of(b"cookie"), now);
    let Ok(answer) = answer else {
        // Without random bytes the 401 stands.
        return Ok(None);
    };
    context.login.set(Some(LoginStep::Answered));
    set_cookies(r, &answer)?;
    let body = match answer.content {
        Content::Redirect(url) => {
            r.replace_response(answer.status, None, 0);
            r.remove_response_headers(|name| name.eq_ignore_ascii_case(b"www-authenticate"));
            r.add_response_header("Location", url.as_bytes())?;
            String::new()
        }
        Content::Page(page) => {
            r.replace_response(answer.status, Some(HTML), page.len());
            protect_page(r)?;
            page
        }
    };
    Ok(Some(body))
}

/// Ends a browser's count of logins.
fn forget_rounds(r: &Request, project: usize) -> Result<(), Failed> {
    let login = r.main_conf().projects[project].login.as_ref();
    if let Some(forget) = login.and_then(|login| login.known(r.values_of(b"cookie"))) {
        r.add_response_header("Set-Cookie", forget.as_bytes())?;
    }
    Ok(())
}

/// After all that changes headers: no cache may keep a response of this file, whatever `expires` and
/// `add_header` say.
pub fn forbid_caching(r: &Request) -> Result<(), Failed> {
    let answers = |context: &Context| context.login.get() == Some(LoginStep::Answered);
    let is_callback = r.location().login_callback().is_some();
    if r.is_main() && (is_callback || Context::find(r).is_some_and(answers)) {
        r.remove_response_headers(|name| {
            name.eq_ignore_ascii_case(b"cache-control") || name.eq_ignore_ascii_case(b"expires")
        });
        r.add_response_header("Cache-Control", b"no-store")?;
    }
    Ok(())
}

/// Answers in the location of `authgear_login_callback`. Error pages of the configuration could hide what went
/// wrong, or be kept by a cache.
pub fn end(r: &Request) -> ngx_int_t {
    r.forbid_error_pages();
    let project = r.location().login_callback();
    let project = project.map(|index| &r.main_conf().projects[index]);
    let sent = match (project, r.method()) {
        (None, _) => Err(Failed),
        (Some(_), Method::Other) => r
            .add_response_header("Allow", b"GET, HEAD")
            .map(|_| NGX_HTTP_NOT_ALLOWED as ngx_int_t),
        (Some(project), Method::Read) => end_login(r, project),
    };
    sent.unwrap_or(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t)
}

fn end_login(r: &Request, project: &Project) -> Result<ngx_int_t, Failed> {
    let login = project.login.as_ref().ok_or(Failed)?;
    let answer = login.end(r.args(), r.values_of(b"cookie"));
    if let Some(failure) = answer.failure {
        log_limited(
            r,
            NGX_LOG_WARN,
            (project.index, failure),
            format_args!(
                "a login of project \"{}\" failed, Authgear says {failure}",
                project.name
            ),
        );
    }
    set_cookies(r, &answer)?;
    match answer.content {
        Content::Redirect(url) => r.respond(answer.status, HTML, url.as_bytes()),
        Content::Page(page) => {
            protect_page(r)?;
            r.respond(answer.status, HTML, page.as_bytes())
        }
    }
}

fn set_cookies(r: &Request, answer: &Answer) -> Result<(), Failed> {
    for cookie in &answer.cookies {
        r.add_response_header("Set-Cookie", cookie.as_bytes())?;
    }
    Ok(())
}

/// Headers of a page that has one style sheet inside and needs nothing else.
fn protect_page(r: &Request) -> Result<(), Failed> {
    let policy =
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
        frame-ancestors 'none'";
    r.add_response_header("Content-Security-Policy", policy)?;
    r.add_response_header("X-Content-Type-Options", b"nosniff")?;
    Ok(())
}
