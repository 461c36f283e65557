//! The pages that explain why a login went wrong.

use askama::Template;

/// A page, complete in itself: it loads nothing, and runs no script.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct Page<'a> {
    title: &'static str,
    paragraphs: &'static [&'static str],
    link: &'a str,
    link_text: &'static str,
}

impl<'a> Page<'a> {
    /// The login is none that this browser has begun.
    pub(super) fn unknown() -> Page<'static> {
        Page {
            title: "This login cannot be completed",
            paragraphs: &[
                "Your browser did not send back the cookie with which this login began.",
                "That happens if your browser blocks cookies, if the login took longer than an hour, if it \
                 began in another browser, or if you opened this page a second time.",
            ],
            link: "/",
            link_text: "Go to the start page",
        }
    }

    /// The browser logged in, twice, and this site got no session that it accepts.
    pub(super) fn not_seen(target: &'a str) -> Page<'a> {
        Page {
            title: "Your login does not reach this site",
            paragraphs: &[
                "You were sent to the login twice, and this site still got no session with which it can \
                 show you the page.",
                "If your browser blocks cookies, allow them for this site. If you have several accounts, \
                 choose another one.",
                "If that does not help, tell the people who run this site: the cookie of the login server \
                 must be set for this host too.",
            ],
            link: target,
            link_text: "Try again",
        }
    }

    /// Authgear, or the user, refused.
    pub(super) fn refused(target: &'a str) -> Page<'a> {
        Page {
            title: "You are not logged in",
            paragraphs: &["The login was cancelled or refused."],
            link: target,
            link_text: "Try again",
        }
    }

    /// Authgear could not do it.
    pub(super) fn failed(target: &'a str) -> Page<'a> {
        Page {
            title: "The login does not work at the moment",
            paragraphs: &["The login server reports a fault. Please try again later."],
            link: target,
            link_text: "Try again",
        }
    }

    /// The page as HTML.
    pub(super) fn text(&self) -> String {
        // Writing to a string cannot fail.
        self.render().unwrap_or_default()
    }
}
