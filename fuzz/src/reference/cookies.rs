//! Cookies as Go reads them (`readCookies` of `net/http/cookie.go`, Go 1.23), which is how Authgear's server does.

/// A cookie's name and value.
pub type Cookie = (Vec<u8>, Vec<u8>);

/// The cookies of one `Cookie` header, in their order.
pub fn go_cookies(line: &[u8]) -> Vec<Cookie> {
    let mut cookies = Vec::new();
    let mut rest = trim_string(line);
    while !rest.is_empty() {
        let (part, more) = cut(rest, b';');
        rest = more;
        let part = trim_string(part);
        if part.is_empty() {
            continue;
        }
        let (name, value) = cut(part, b'=');
        let name = trim_string(name);
        if !is_token(name) {
            continue;
        }
        if let Some(value) = parse_cookie_value(value) {
            cookies.push((name.to_vec(), value.to_vec()));
        }
    }
    cookies
}

/// `strings.Cut`
fn cut(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    for at in 0..text.len() {
        if text[at] == separator {
            return (&text[..at], &text[at + 1..]);
        }
    }
    (text, &[])
}

/// `textproto.TrimString`
fn trim_string(text: &[u8]) -> &[u8] {
    let (mut start, mut end) = (0, text.len());
    let is_space = |byte: u8| byte == b' ' || byte == b'\t' || byte == b'\n' || byte == b'\r';
    while start < end && is_space(text[start]) {
        start += 1;
    }
    while start < end && is_space(text[end - 1]) {
        end -= 1;
    }
    &text[start..end]
}

/// `isToken`
fn is_token(text: &[u8]) -> bool {
    const NO_TOKEN: &[u8] = b"()<>@,;:\\\"/[]?={} \t";
    let is_bad = |byte: &u8| *byte <= 0x20 || *byte >= 0x7f || NO_TOKEN.contains(byte);
    !text.is_empty() && !text.iter().any(is_bad)
}

/// `parseCookieValue` with `allowDoubleQuote`
fn parse_cookie_value(mut raw: &[u8]) -> Option<&[u8]> {
    if raw.len() > 1 && raw[0] == b'"' && raw[raw.len() - 1] == b'"' {
        raw = &raw[1..raw.len() - 1];
    }
    for byte in raw {
        let is_valid =
            0x20 <= *byte && *byte < 0x7f && *byte != b'"' && *byte != b';' && *byte != b'\\';
        if !is_valid {
            return None;
        }
    }
    Some(raw)
}
