//! Login with cookies: `/oauth2/authorize`, `/oauth2/end_session` and `/settings`.
//!
//! The pages are plain, but redirects, errors and cookies are those of the server.

use form_urlencoded::Serializer;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};

use super::reply::{headers, html, refuse};
use super::Body;
use crate::mint::default_amr;
use crate::project::{Grant, NewUser, SessionKind};
use crate::resolver::{self, clearing_cookie, cookie_attributes};
use crate::standin::{Met, Standin};
use crate::util::{now, random_token};

/// Tells whether this is a path that is answered here.
pub(super) fn is_path(path: &str) -> bool {
    matches!(
        path,
        "/oauth2/authorize" | "/oauth2/end_session" | "/settings"
    )
}

/// A parameter of a query or a form.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.find_map(|(found, value)| (found == name).then(|| value.into_owned()))
}

/// A request of a browser.
struct Visit<'a> {
    met: &'a Met,
    prefix: &'a str,
    secure: bool,
    query: String,
    /// The value of the session's cookie.
    session: Option<String>,
}

/// Answers a browser; `secure` says whether it came by TLS.
pub(super) async fn answer(
    standin: &Standin,
    met: &Met,
    request: Request<Incoming>,
    secure: bool,
) -> Response<Body> {
    if met.origin.secure != secure {
        let location = format!("{}{}", met.origin, request.uri());
        return headers(StatusCode::TEMPORARY_REDIRECT, [("location", location)]);
    }
    let prefix = &*standin.settings.cookie_prefix;
    let (parts, body) = request.into_parts();
    let visit = Visit {
        met,
        prefix,
        secure,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        session: resolver::cookie(&parts.headers, &format!("{prefix}session")),
    };
    let form = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => return refuse(StatusCode::BAD_REQUEST),
    };
    match (parts.uri.path(), &parts.method) {
        ("/oauth2/authorize", &Method::GET | &Method::HEAD) => visit.authorize(None),
        ("/oauth2/authorize", &Method::POST) => visit.authorize(Some(&form)),
        ("/oauth2/end_session", &Method::GET) => visit.end_session(),
        ("/settings", &Method::GET) => html(StatusCode::OK, "<h1>Settings</h1>"),
        _ => refuse(StatusCode::METHOD_NOT_ALLOWED),
    }
}

impl Visit<'_> {
    /// The user whose session the browser has.
    fn user(&self) -> Option<String> {
        let project = self.met.lock();
        let grant = project.session(SessionKind::Idp, self.session.as_deref()?)?;
        let user = project.user(&grant.user)?;
        (!user.is_disabled()).then(|| user.id.clone())
    }

    /// An authorization request; with a form, the choice that the user made on its page.
    fn authorize(&self, form: Option<&str>) -> Response<Body> {
        let parameter = |name| parameter(&self.query, name);
        let redirect_uri = parameter("redirect_uri").unwrap_or_default();
        let is_known = {
            let project = self.met.lock();
            project.client.as_ref().is_some_and(|client| {
                let is_client = parameter("client_id").as_ref() == Some(&client.client_id);
                is_client && client.redirect_uris.contains(&redirect_uri)
            })
        };
        if !is_known {
            return html(
                StatusCode::BAD_REQUEST,
                "<h1>Invalid client or redirect URI</h1>",
            );
        }
        let scope = parameter("scope").unwrap_or_default();
        if !scope.split(' ').any(|scope| scope == "openid") {
            return self.failed(&redirect_uri, "invalid_scope", "must contain openid");
        }
        if parameter("response_type").as_deref() != Some("none") {
            let description = "only response_type=none is stood in for";
            return self.failed(&redirect_uri, "unsupported_response_type", description);
        }
        let (prompt, user) = (parameter("prompt"), self.user());
        let choice = form.map(|form| (self::parameter(form, "user"), form));
        match (choice, prompt.as_deref(), user) {
            (Some((Some(name), _)), ..) => self.log_in(&redirect_uri, name),
            (Some((None, "cancel=1")), ..) => {
                self.failed(&redirect_uri, "access_denied", "the user said no")
            }
            (None, Some("none"), None) => {
                self.failed(&redirect_uri, "login_required", "authentication required")
            }
            (None, Some("none"), Some(_)) => self.back(&redirect_uri, &[], None),
            (Some(_), Some("login"), _) | (None, Some("login"), _) | (_, _, None) => login_page(),
            (Some(_), _, Some(_)) => self.back(&redirect_uri, &[], None),
            (None, _, Some(user)) => account_page(&user),
        }
    }

    /// Opens a session; the one that the browser had is dead.
    fn log_in(&self, redirect_uri: &str, name: String) -> Response<Body> {
        let value = format!("{}.{}", uuid::Uuid::new_v4(), random_token());
        let mut project = self.met.lock();
        if let Some(old) = &self.session {
            project.close_session(old);
        }
        let id = Some(name);
        let user = project
            .put_user(NewUser {
                id,
                ..NewUser::default()
            })
            .id;
        let grant = Grant {
            user,
            amr: default_amr(),
            auth_time: Some(now()),
            expires_at: None,
        };
        project.open_session(SessionKind::Idp, value.clone(), grant);
        let attributes = cookie_attributes(self.secure, project.cookie_domain());
        drop(project);
        let cookie = format!("{}session={value}; {attributes}", self.prefix);
        self.back(redirect_uri, &[], Some(cookie))
    }

    fn failed(&self, redirect_uri: &str, error: &str, description: &str) -> Response<Body> {
        let error = [("error", error), ("error_description", description)];
        self.back(redirect_uri, &error, None)
    }

    /// Sends the browser back, with its state and, as the server may, a parameter of its own.
    fn back(
        &self,
        redirect_uri: &str,
        more: &[(&str, &str)],
        cookie: Option<String>,
    ) -> Response<Body> {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(more);
        if let Some(state) = parameter(&self.query, "state") {
            query.append_pair("state", &state);
        }
        query.append_pair(
            "x_traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
        let mark = if redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{redirect_uri}{mark}{}", query.finish());
        let cookie = cookie.map(|cookie| ("set-cookie", cookie));
        headers(
            StatusCode::SEE_OTHER,
            [("location", location)].into_iter().chain(cookie),
        )
    }

    fn end_session(&self) -> Response<Body> {
        let mut project = self.met.lock();
        if let Some(session) = &self.session {
            project.close_session(session);
        }
        let wanted = parameter(&self.query, "post_logout_redirect_uri");
        let client = project.client.as_ref();
        let is_registered = |uri: &String| {
            client.is_some_and(|client| client.post_logout_redirect_uris.contains(uri))
        };
        let location = wanted
            .filter(is_registered)
            .unwrap_or("/settings".to_owned());
        let cookie = clearing_cookie(self.prefix, self.secure, project.cookie_domain());
        headers(
            StatusCode::SEE_OTHER,
            [("location", location), ("set-cookie", cookie)],
        )
    }
}

fn login_page() -> Response<Body> {
    html(
        StatusCode::OK,
        "<h1>Log in</h1><form method=post><input name=user autofocus><button id=go>Log in</button></form>\
         <form method=post><button id=cancel name=cancel value=1>Cancel</button></form>",
    )
}

fn account_page(user: &str) -> Response<Body> {
    let user = user.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<h1>Choose an account</h1><form method=post><button id=go name=continue value=1>Continue as {user}</button></form>"
    );
    html(StatusCode::OK, &page)
}
