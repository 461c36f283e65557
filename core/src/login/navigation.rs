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
            // A page that nobody may ever see begins no login. Old Firefox says so by X-Moz alone, Safari's
            // previews by Purpose or X-Purpose.
            b"sec-purpose" | b"purpose" | b"x-purpose" | b"x-moz"
                if value.starts_with(b"prefetch") || value == b"preview" =>
            {
                return false
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_opens_a_page_is_told_by_fetch_metadata_or_by_what_it_accepts() {
        const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
        let navigate = "sec-fetch-mode: navigate";
        let document = "sec-fetch-dest: document";
        for (is_get, headers, expected) in [
            (true, vec![navigate, document], true),
            (
                true,
                vec![navigate, document, BROWSER, "authorization: Basic x"],
                true,
            ),
            (false, vec![navigate, document, BROWSER], false),
            (
                true,
                vec![navigate, "sec-fetch-dest: iframe", BROWSER],
                false,
            ),
            (
                true,
                vec!["sec-fetch-mode: cors", "sec-fetch-dest: empty", BROWSER],
                false,
            ),
            (
                true,
                vec!["sec-fetch-mode: websocket", "sec-fetch-dest: websocket"],
                false,
            ),
            (
                true,
                vec![navigate, document, "sec-purpose: prefetch"],
                false,
            ),
            (
                true,
                vec![navigate, document, "sec-purpose: prefetch;prerender"],
                false,
            ),
            (true, vec![BROWSER, "purpose: prefetch"], false),
            (true, vec![BROWSER, "purpose: x-prefetch"], true),
            (true, vec![BROWSER, "x-moz: prefetch"], false),
            (true, vec![BROWSER, "purpose: preview"], false),
            (true, vec![BROWSER, "x-purpose: preview"], false),
            (true, vec![navigate, BROWSER], false),
            (true, vec![document, BROWSER], false),
            (true, vec![navigate, navigate, document], false),
            (true, vec!["sec-fetch-mode: Navigate", document], false),
            (true, vec![BROWSER], true),
            (false, vec![BROWSER], false),
            (
                true,
                vec!["accept: application/json", "accept: TEXT/html ;q=0.1"],
                true,
            ),
            (true, vec!["accept: text/html;q=0"], false),
            (true, vec!["accept: */*"], false),
            (true, vec!["accept: text/*"], false),
            (true, vec!["accept: application/json, x/text/html"], false),
            (true, vec![], false),
            (true, vec![BROWSER, "authorization: Bearer x"], false),
            (true, vec![BROWSER, "authorization: Basic x"], true),
        ] {
            let pairs = headers.iter().map(|line| line.split_once(": ").unwrap());
            let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(
                is_navigation(is_get, pairs),
                expected,
                "{is_get} {headers:?}"
            );
        }
    }
}
