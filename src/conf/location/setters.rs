//! Readers of the directives for requirements on callers, for the place of the token, and for
//! challenges.

use authgear_core::keys::Url;

use crate::conf::mistake::Mistake;
use crate::conf::value::{bad_value, or_off, plain, positive_seconds, set, texts, OrOff};
use crate::nginx::{ComplexValue, Conf};

/// One `authgear_require`.
#[derive(Debug, Clone)]
pub struct Require {
    /// None of them may be empty or `0`.
    pub values: Vec<ComplexValue>,
    /// 401 or 403.
    pub status: u16,
}

/// One `authgear_claim_set`.
#[derive(Debug, Clone)]
pub struct ClaimSet {
    /// The variable, as nginx hands it to its getter.
    pub variable: usize,
    /// The claim's name at each level.
    pub path: Vec<Box<str>>,
}

/// Reads `authgear_audience`'s parameters.
pub fn audience(
    field: &mut Option<Vec<Box<str>>>,
    _: &Conf,
    words: &[&str],
) -> Result<(), Mistake> {
    let list = list_or_off(words)?;
    set(field, list)
}

/// Reads one `authgear_require`; several at one level add up.
pub fn add_require(
    field: &mut Option<Vec<Require>>,
    cf: &Conf,
    words: &[&str],
) -> Result<(), Mistake> {
    if words == ["off"] {
        return match field {
            Some(list) if !list.is_empty() => Err(OFF_AND_ELSE.into()),
            _ => set(field, Vec::new()),
        };
    }
    let is_off = field.as_ref().is_some_and(Vec::is_empty);
    if is_off || words.contains(&"off") {
        return Err(OFF_AND_ELSE.into());
    }
    let (words, status) = match words {
        [values @ .., error] if error.starts_with("error=") => match *error {
            "error=401" => (values, 401),
            "error=403" => (values, 403),
            _ => {
                return Err(
                    format!("must have \"error=401\" or \"error=403\", not \"{error}\"").into(),
                )
            }
        },
        values => (values, 403),
    };
    if words.is_empty() {
        return Err("has no value; write \"authgear_require $value error=401;\"".into());
    }
    if words.iter().any(|word| word.starts_with("error=")) {
        return Err("takes \"error=401\" or \"error=403\" once, after its values".into());
    }
    let values = values(cf, words, "$authgear_claim_department")?;
    let list = field.get_or_insert_default();
    list.push(Require { values, status });
    Ok(())
}

/// Reads `authgear_require_role`'s roles.
pub fn roles(field: &mut Option<Vec<Box<str>>>, _: &Conf, words: &[&str]) -> Result<(), Mistake> {
    let roles = list_or_off(words)?;
    if let Some(role) = roles.iter().find(|role| role.contains(',')) {
        return Err(format!(
            "has a role with a comma, \"{role}\"; separate roles by spaces, and any of \
             them is enough"
        )
        .into());
    }
    if let Some(role) = roles.iter().find(|role| role.contains(is_control)) {
        return Err(format!(
            "has a role with a control character, {role:?}, which no token can hold"
        )
        .into());
    }
    set(field, roles)
}

/// Reads `authgear_require_scope`'s scopes.
pub fn scopes(field: &mut Option<Vec<Box<str>>>, _: &Conf, words: &[&str]) -> Result<(), Mistake> {
    let scopes = list_or_off(words)?;
    // RFC 6749, section 3.3: scope-token.
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if let Some(scope) = scopes.iter().find(|scope| !scope.bytes().all(fits)) {
        return Err(format!(
            "has a scope that no token can hold, \"{scope}\"; separate scopes by spaces, \
             and all of them are needed"
        )
        .into());
    }
    set(field, scopes)
}

/// Reads `authgear_require_auth_age`'s time.
pub fn auth_age(field: &mut Option<OrOff<u64>>, _: &Conf, words: &[&str]) -> Result<(), Mistake> {
    let age = or_off(only(words, "one time")?, positive_seconds)?;
    set(field, age)
}

/// Reads one `authgear_claim_set`; several at one level add up.
pub fn add_claim(
    field: &mut Option<Vec<ClaimSet>>,
    cf: &Conf,
    words: &[&str],
) -> Result<(), Mistake> {
    const FORM: &str = "write \"authgear_claim_set $plan https://example.com/claims plan;\"";
    let [variable, path @ ..] = words else {
        return Err(format!("has no variable; {FORM}").into());
    };
    let name = variable.strip_prefix('$').filter(|name| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    let Some(name) = name else {
        return Err(format!("must begin with a variable, not \"{variable}\"; {FORM}").into());
    };
    if path.is_empty() {
        return Err(format!("has no claim for \"{variable}\"; {FORM}").into());
    }
    if name.to_ascii_lowercase().starts_with("authgear_") {
        return Err(format!(
            "cannot set \"${name}\": names that begin with \"authgear_\" are this module's \
             own; rename it"
        )
        .into());
    }
    let path = texts(path)?;
    let variable = cf.main_conf().claim_variable(cf, name)?;
    let claims = field.get_or_insert_default();
    if claims.iter().any(|claim| claim.variable == variable) {
        return Err(format!("sets \"${name}\" twice; remove one").into());
    }
    claims.push(ClaimSet { variable, path });
    Ok(())
}

/// Reads `authgear_token`'s variables.
pub fn token(cf: &Conf, words: &[&str]) -> Result<Vec<ComplexValue>, Mistake> {
    match words {
        ["off"] => Ok(Vec::new()),
        _ if words.contains(&"off") => Err(OFF_AND_ELSE.into()),
        _ => values(cf, words, "$arg_access_token"),
    }
}

/// Reads `authgear_realm`'s text.
pub fn realm(_: &Conf, words: &[&str]) -> Result<OrOff<Box<str>>, Mistake> {
    or_off(
        only(words, "one string, in quotes if it has blanks")?,
        |realm| {
            if realm.is_empty() {
                return Err("is empty; name the realm, or leave the directive out".into());
            }
            if plain(realm)?.contains(is_control) {
                return Err("holds a control character, which no header can".into());
            }
            Ok(realm.into())
        },
    )
}

/// Reads `authgear_resource_metadata`'s URL (RFC 9728, section 5.1).
pub fn resource_metadata(_: &Conf, words: &[&str]) -> Result<OrOff<Box<str>>, Mistake> {
    or_off(only(words, "one URL")?, |url| {
        let parsed = Url::parse(plain(url)?).map_err(|error| bad_value(url, error))?;
        if parsed.origin().is_exposed() {
            return Err(
                format!("is plain http, \"{url}\"; write https://, as RFC 9728 asks").into(),
            );
        }
        Ok(url.into())
    })
}

const OFF_AND_ELSE: &str = "is \"off\" and something else; remove one";

fn only<'a>(words: &[&'a str], what: &str) -> Result<&'a str, Mistake> {
    match words {
        [word] => Ok(word),
        _ => Err(format!("takes {what}, not {} parameters", words.len()).into()),
    }
}

/// A list, or `off` for an empty one.
fn list_or_off(words: &[&str]) -> Result<Vec<Box<str>>, Mistake> {
    match words {
        ["off"] => Ok(Vec::new()),
        _ if words.contains(&"off") => Err(OFF_AND_ELSE.into()),
        _ => texts(words),
    }
}

/// Values that depend on the request.
fn values(cf: &Conf, words: &[&str], example: &str) -> Result<Vec<ComplexValue>, Mistake> {
    words
        .iter()
        .map(|word| {
            if !word.contains('$') {
                return Err(format!(
                    "must hold variables, such as \"{example}\", and \"{word}\" is none"
                )
                .into());
            }
            cf.complex_value(word).map_err(Mistake::from)
        })
        .collect()
}

fn is_control(one: char) -> bool {
    one.is_ascii_control()
}
