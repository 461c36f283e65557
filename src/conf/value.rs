//! Reads parameters that several directives take.

use nginx_sys::ngx_str_t;

use super::mistake::Mistake;

/// nginx's spelling of on and off.
pub fn flag(words: &[&str]) -> Result<bool, Mistake> {
    match words {
        ["on"] => Ok(true),
        ["off"] => Ok(false),
        [other] => Err(format!("must be \"on\" or \"off\", not \"{other}\"").into()),
        _ => Err("takes one parameter, \"on\" or \"off\"".into()),
    }
}

/// A time in nginx's notation, in milliseconds.
pub fn any_time(word: &str) -> Result<u64, Mistake> {
    parse_time(word, false).ok_or_else(|| {
        format!("has an invalid time \"{word}\"; write it as \"500ms\", \"5s\" or \"10m\"").into()
    })
}

/// A time that is not zero, in milliseconds.
pub fn positive_time(word: &str) -> Result<u64, Mistake> {
    positive(any_time(word)?)
}

/// A time in whole seconds that is not zero.
pub fn positive_seconds(word: &str) -> Result<u64, Mistake> {
    let seconds = parse_time(word, true).ok_or_else(|| {
        format!("has an invalid time \"{word}\"; write it as \"30s\", \"5m\" or \"1h\"")
    })?;
    positive(seconds)
}

fn positive(time: u64) -> Result<u64, Mistake> {
    match time {
        0 => Err("must be more than 0".into()),
        time => Ok(time),
    }
}

fn parse_time(text: &str, in_seconds: bool) -> Option<u64> {
    let mut line = ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    };
    // SAFETY: ngx_parse_time only reads the text.
    let time = unsafe { nginx_sys::ngx_parse_time(&mut line, in_seconds.into()) };
    u64::try_from(time).ok()
}

/// Refuses variables where nginx would take them for text.
pub fn plain(word: &str) -> Result<&str, Mistake> {
    if word.contains('$') {
        return Err(format!("cannot hold variables, as \"{word}\" does").into());
    }
    Ok(word)
}

/// Parameters that are compared with what a caller brings: neither empty nor a variable.
pub fn texts(words: &[&str]) -> Result<Vec<Box<str>>, Mistake> {
    for word in words {
        if word.is_empty() {
            return Err("has an empty parameter, which no token can match".into());
        }
        plain(word)?;
    }
    Ok(words.iter().map(|&word| word.into()).collect())
}

/// A value that `off` takes back.
#[derive(Debug, Clone, Copy)]
pub enum OrOff<T> {
    /// `off`.
    Off,
    /// Any other parameter.
    On(T),
}

impl<T> OrOff<T> {
    /// The value, unless it is off.
    pub fn on(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }

    /// The same as [`OrOff::on`], borrowed.
    pub fn as_on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(value) => Some(value),
        }
    }
}

/// `off`, or what `read` makes of the word.
pub fn or_off<'a, T>(
    word: &'a str,
    read: impl FnOnce(&'a str) -> Result<T, Mistake>,
) -> Result<OrOff<T>, Mistake> {
    match word {
        "off" => Ok(OrOff::Off),
        word => read(word).map(OrOff::On),
    }
}

/// Fills a slot that a directive may fill once.
pub fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Mistake> {
    if slot.replace(value).is_some() {
        return Err("is duplicate".into());
    }
    Ok(())
}

/// The mistake of a value that cannot be read.
pub fn bad_value(value: &str, error: impl core::fmt::Display) -> Mistake {
    format!("has an invalid value \"{value}\": {error}").into()
}
