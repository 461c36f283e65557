//! Requests by which a browser opens a page.

use crate::credential::bearer;
use crate::status::accepts_html;
use crate::text::trim_blanks;

/// Tells whether a browser opens a page by this request, so that it can follow a redirect to a login: it says
/// so itself by fetch metadata, or, where it sends none (an old browser, plain http), it accepts HTML and has no
/// bearer token. `headers` are lower-case names and values.
pub fn is_navigation<'a>(
    is_get: bool,
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> bool {
    if !is_get {
        return false;
    }
    let (mut modes, mut destinations) = (Vec::new(), Vec::new());
    let (mut accept, mut has_bearer) = (Vec::new(), false);
    for (name, value) in headers {
        let value = trim_blanks(value);
        match name {
            b"sec-fetch-mode" => modes.push(value),
            b"sec-fetch-dest" => destinations.push(value),
            b"accept" => accept.push(value),
            b"authorization" => has_bearer |= bearer(value).is_some(),
            _ => {}
        }
    }
    match (&*modes, &*destinations) {
        ([], []) => !has_bearer && accepts_html(accept.into_iter()),
        (modes, destinations) => modes == [b"navigate"] && destinations == [b"document"],
    }
}
