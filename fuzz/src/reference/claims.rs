//! The rules for claims: types, ranges, and the resolver's values that they make.

use super::json::{parse, Fault, Json};
use authgear_core::Reason;

/// The resolver's eight values, in its order.
pub type Expected = [Option<String>; 8];

/// A time: a JSON number from 0 to 2^53. `None` where rounding decides.
pub fn is_time(value: &Json) -> Option<bool> {
    const MOST: f64 = 9_007_199_254_740_992.0;
    let Json::Number(text) = value else {
        return Some(false);
    };
    if let Ok(whole) = text.parse::<u128>() {
        return Some(whole <= MOST as u128);
    }
    let number: f64 = text.parse().ok()?;
    if (number - MOST).abs() < 64.0 || (number != 0.0 && number.abs() < 1e-300) {
        return None;
    }
    // Serde refuses numbers that no double holds.
    Some((0.0..=MOST).contains(&number))
}

/// The verdict on a payload whose signature stands, and the resolver's values that a good one makes; `None`
/// where this reference does not decide.
pub fn expect_claims(payload: &[u8]) -> Option<Result<Expected, Reason>> {
    let payload = match parse(payload) {
        Ok(payload @ Json::Object(_)) => payload,
        Ok(_) | Err(Fault::Invalid) => return Some(Err(Reason::Malformed)),
        Err(Fault::Deep) => return None,
    };
    if payload.depth() > 64 || payload.has_repeated_name() {
        return Some(Err(Reason::Malformed));
    }
    if payload.get("cnf").is_some() {
        return Some(Err(Reason::Unsupported));
    }
    Some(typed(&payload)?.ok_or(Reason::BadClaim))
}

fn typed(payload: &Json) -> Option<Option<Expected>> {
    const USER: &str = "https://authgear.com/claims/user/";
    let of_user = |name: &str| payload.get(&format!("{USER}{name}"));
    let mut is_good = true;
    for name in ["exp", "nbf", "iat", "auth_time"] {
        is_good &= match payload.get(name) {
            None => name != "exp",
            Some(value) => is_time(value)?,
        };
    }
    let is_text = |name: &str| payload.get(name).is_none_or(|value| value.text().is_some());
    is_good &= ["iss", "sub", "client_id", "scope", "jti"]
        .into_iter()
        .all(is_text);
    let is_list = |value: Option<&Json>| value.is_none_or(|value| value.texts().is_some());
    is_good &= is_list(payload.get("amr")) && is_list(of_user("roles"));
    let aud = payload.get("aud");
    is_good &= is_list(aud) || aud.is_some_and(|aud| aud.text().is_some());
    let flags = ["is_anonymous", "is_verified", "can_reauthenticate"];
    let is_flag = |name| of_user(name).is_none_or(|value| matches!(value, Json::Bool(_)));
    is_good &= flags.into_iter().all(is_flag);
    if !is_good {
        return Some(None);
    }
    let text = |name: &str| payload.get(name).and_then(Json::text).unwrap_or_default();
    let list = |value: Option<&Json>| -> Vec<String> {
        let texts = value.and_then(Json::texts).unwrap_or_default();
        texts.into_iter().map(String::from).collect()
    };
    let (roles, amr) = (list(of_user("roles")), list(payload.get("amr")));
    let mut shown = ["sub", "client_id", "scope", "jti"].map(text).join("");
    shown.extend(roles.iter().chain(&amr).map(String::as_str));
    let is_control = |c: char| c < ' ' || c == '\u{7f}';
    if text("sub").is_empty() || shown.contains(is_control) {
        return Some(None);
    }
    if text("sub").starts_with("client_id_") {
        let mut expected = Expected::default();
        expected[0] = Some("true".into());
        return Some(Some(expected));
    }
    let flag = |name| match of_user(name) {
        Some(Json::Bool(flag)) => Some(flag.to_string()),
        _ => None,
    };
    let login = match payload.get("auth_time") {
        Some(Json::Number(text)) if text.parse::<u64>().is_ok() => Some(text.clone()),
        // Serde's fast reading of fractions may differ in the last bit.
        Some(_) => return None,
        None => None,
    };
    Some(Some([
        Some("true".into()),
        Some(text("sub").into()),
        flag("is_anonymous"),
        flag("is_verified"),
        flag("can_reauthenticate"),
        Some(roles.join(",")),
        Some(amr.join(" ")),
        login,
    ]))
}
