//! The rules for a token's three parts and its header (RFC 7515).

use super::base64::decode_url;
use super::json::{parse, Fault, Json};
use authgear_core::Reason;

/// The parameters of a header that are used.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderOf {
    /// `alg`
    pub alg: String,
    /// `kid`
    pub kid: Option<String>,
}

const ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

/// The verdict on a header in decoded form; `None` where this reference does not decide.
pub fn expect_header(text: &[u8]) -> Option<Result<HeaderOf, Reason>> {
    if text.len() > 8192 {
        return Some(Err(Reason::Malformed));
    }
    let header = match parse(text) {
        Ok(header @ Json::Object(_)) => header,
        Ok(_) | Err(Fault::Invalid) => return Some(Err(Reason::Malformed)),
        Err(Fault::Deep) => return None,
    };
    Some(read(&header))
}

fn read(header: &Json) -> Result<HeaderOf, Reason> {
    if header.depth() > 64 || header.has_repeated_name() {
        return Err(Reason::Malformed);
    }
    let text = |name| match header.get(name) {
        None => Ok(None),
        Some(value) => value
            .text()
            .map(|text| Some(text.to_string()))
            .ok_or(Reason::Malformed),
    };
    let (alg, kid, _typ) = (
        text("alg")?.ok_or(Reason::Malformed)?,
        text("kid")?,
        text("typ")?,
    );
    if ["crit", "b64", "enc", "zip"]
        .into_iter()
        .any(|name| header.get(name).is_some())
    {
        return Err(Reason::Unsupported);
    }
    if !ALGORITHMS.contains(&&*alg) {
        return Err(Reason::UnsupportedAlgorithm);
    }
    if kid
        .iter()
        .flat_map(|kid| kid.bytes())
        .any(|byte| byte < 0x20 || byte == 0x7f)
    {
        return Err(Reason::BadClaim);
    }
    Ok(HeaderOf { alg, kid })
}

/// The verdict on a token in compact form.
pub fn expect_token(token: &[u8]) -> Option<Result<HeaderOf, Reason>> {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    let decoded: Vec<Vec<u8>> = parts.iter().filter_map(|part| decode_url(part)).collect();
    if token.len() > 16384
        || parts.len() != 3
        || decoded.len() != 3
        || decoded.iter().any(Vec::is_empty)
    {
        return Some(Err(Reason::Malformed));
    }
    expect_header(&decoded[0])
}
