//! The page to which a login returns: a path on this host, with its query.

use percent_encoding::{percent_encode, AsciiSet, CONTROLS};

/// The longest path and query to which a login returns, in bytes.
const LONGEST: usize = 1024;

/// Characters that browsers encode in a path or query (URL standard), and the backslash, which they read as
/// a slash. Bytes beyond ASCII are encoded as well.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The page to return to, for a request of this path and query; `/` if it is too long, or no path on this
/// host.
pub(super) fn to_keep(asked: &[u8]) -> String {
    let encoded = percent_encode(asked, ENCODED).to_string();
    if is_on_this_host(&encoded) {
        encoded
    } else {
        "/".into()
    }
}

/// Tells whether a text is a path on this host and perhaps a query, encoded: one slash in front, and neither a
/// second nor a backslash, which would make a host of what follows.
pub(super) fn is_on_this_host(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= LONGEST
        && text.bytes().all(is_plain)
}

/// A page to return to as a cookie's value.
pub(super) fn to_cookie(target: &str) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(target)
}

/// The page to return to, of a cookie's value; `None` if it is none that [`to_keep`] returns.
pub(super) fn of_cookie(value: &[u8]) -> Option<String> {
    let text = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(value).ok()?;
    let text = String::from_utf8(text).ok()?;
    is_on_this_host(&text).then_some(text)
}
