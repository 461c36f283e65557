//! Reads the values of the directives inside `authgear_project`.

use std::path::PathBuf;

use authgear_core::credential::CookieNames;
use authgear_core::keys::fetch::{check_ca, Certificates, Proxy, ProxyError};
use authgear_core::keys::{saved, KeySet, Origin, Url};
use authgear_core::login::{Client, LoginError};
use authgear_core::policy::TokenKind;
use authgear_core::recheck::Recheck;
use authgear_core::revocation::Secrets;
use authgear_core::{Algorithm, AlgorithmSet};

use crate::conf::file;
use crate::conf::mistake::Mistake;
use crate::conf::value::{any_time, bad_value, or_off, plain, positive_time, texts, OrOff};
use crate::nginx::{ComplexValue, Conf};

/// The argument of `endpoint`.
pub enum GivenEndpoint {
    Fixed(Origin),
    Variable(ComplexValue),
}

pub fn token_type(word: &str) -> Result<TokenKind, Mistake> {
    match word {
        "user" => Ok(TokenKind::User),
        "client" => Ok(TokenKind::Client),
        "any" => Ok(TokenKind::Any),
        _ => Err(format!("must be \"user\", \"client\" or \"any\", not \"{word}\"").into()),
    }
}

pub fn algorithms(words: &[&str]) -> Result<AlgorithmSet, Mistake> {
    words.iter().try_fold(AlgorithmSet::EMPTY, |set, word| {
        let algorithm = Algorithm::from_name(word).ok_or_else(|| {
            let known: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
            format!("cannot be \"{word}\"; it may be {}", known.join(", "))
        })?;
        Ok(set.with(algorithm))
    })
}

/// Texts that `iss` or `aud` may be, which are ASCII where they are URLs (RFC 7519, section 2, and RFC 3986).
pub fn uris(words: &[&str]) -> Result<Vec<Box<str>>, Mistake> {
    let is_international = |word: &&&str| word.contains("://") && !word.is_ascii();
    if let Some(word) = words.iter().find(is_international) {
        return Err(format!(
            "has an invalid value \"{word}\": tokens hold an international name in its xn-- form, write that"
        )
        .into());
    }
    texts(words)
}

pub fn typ(words: &[&str]) -> Result<OrOff<Vec<Box<str>>>, Mistake> {
    if words.contains(&"off") {
        if words.len() > 1 {
            return Err("is \"off\" and something else; write \"typ off;\" or a list".into());
        }
        return Ok(OrOff::Off);
    }
    texts(words).map(OrOff::On)
}

pub fn endpoint(cf: &Conf, word: &str) -> Result<GivenEndpoint, Mistake> {
    if word.contains('$') {
        Origin::check_template(word).map_err(|error| bad_value(word, error))?;
        return Ok(GivenEndpoint::Variable(cf.complex_value(word)?));
    }
    let origin = Origin::parse(word).map_err(|error| bad_value(word, error))?;
    Ok(GivenEndpoint::Fixed(origin))
}

pub fn internal_endpoint(word: &str) -> Result<Origin, Mistake> {
    Origin::parse_internal(plain(word)?).map_err(|error| bad_value(word, error))
}

pub fn resolve_request(word: &str) -> Result<OrOff<Box<[u8]>>, Mistake> {
    or_off(word, |uri| {
        if !uri.starts_with('/') || uri.contains(['$', '?', '#', ' ']) {
            return Err(format!(
                "must be the URI of an internal location such as \"/_authgear/resolve\", or \"off\", \
                 not \"{uri}\""
            )
            .into());
        }
        Ok(uri.as_bytes().into())
    })
}

pub fn recheck(words: &[&str]) -> Result<OrOff<Recheck>, Mistake> {
    let (time, strict) = match words {
        ["off"] => return Ok(OrOff::Off),
        [time] => (time, false),
        [time, "strict"] if *time != "off" => (time, true),
        _ => {
            return Err("must be a time, a time and \"strict\", or \"off\"; \
                        write it as \"recheck 30s;\" or \"recheck 30s strict;\""
                .into())
        }
    };
    let interval = positive_time(time)?;
    Ok(OrOff::On(Recheck { interval, strict }))
}

pub fn jwks_uri(cf: &Conf, word: &str) -> Result<Url, Mistake> {
    let url = Url::parse(plain(word)?).map_err(|error| bad_value(word, error))?;
    if url.origin().is_exposed() {
        cf.warn(format_args!(
            "\"jwks_uri\" \"{word}\" is plain http: an attacker on the network can replace the keys; \
             use https"
        ));
    }
    Ok(url)
}

pub fn jwks_file(cf: &Conf, path: &str) -> Result<KeySet, Mistake> {
    let (path, content) = file::read(cf, path)?;
    let (keys, skipped) =
        KeySet::parse(&content).map_err(|error| format!("\"{path}\": {error}"))?;
    for key in skipped {
        cf.warn(format_args!("\"jwks_file\" \"{path}\": {key}"));
    }
    Ok(keys)
}

pub fn webhook_secrets(cf: &Conf, path: &str) -> Result<Secrets, Mistake> {
    let (path, content) = file::read(cf, plain(path)?)?;
    Secrets::parse(&content).map_err(|error| format!("\"{path}\": {error}").into())
}

/// Reads `client_id=id callback=url`, in any order.
pub fn login(words: &[&str]) -> Result<Client, Mistake> {
    let (mut client_id, mut callback) = (None, None);
    for word in words {
        let taken = match word.split_once('=') {
            Some(("client_id", id)) => client_id.replace(id).is_some(),
            Some(("callback", url)) => callback.replace(url).is_some(),
            _ => true,
        };
        if taken {
            return Err(bad_login());
        }
    }
    let (Some(client_id), Some(callback)) = (client_id, callback) else {
        return Err(bad_login());
    };
    Client::new(plain(client_id)?, plain(callback)?).map_err(|error| match error {
        LoginError::NoClient | LoginError::Parameter | LoginError::Dot => error.to_string().into(),
        LoginError::Callback(error) => bad_value(callback, error),
    })
}

fn bad_login() -> Mistake {
    "must have a client id and its redirect URI, each once; write it as \"login client_id=... \
     callback=https://www.example.com/_authgear/callback;\""
        .into()
}

pub fn jwks_min_interval(word: &str) -> Result<u64, Mistake> {
    let interval = any_time(word)?;
    if interval < 1000 {
        return Err(format!("must be at least 1s, not \"{word}\"").into());
    }
    Ok(interval)
}

pub fn cookie_prefix(word: &str) -> Result<CookieNames, Mistake> {
    CookieNames::new(plain(word)?).map_err(|error| bad_value(word, error))
}

/// Reads the file of `ssl_trusted_certificate`.
pub fn certificates(cf: &Conf, path: &str) -> Result<Vec<u8>, Mistake> {
    let (path, content) = file::read(cf, path)?;
    check_ca(&content).map_err(|error| format!("\"{path}\": {error}"))?;
    Ok(content)
}

/// A file in PEM form and its path, for messages.
pub struct PemFile {
    pub path: String,
    pub content: Vec<u8>,
}

/// Reads the file of `ssl_certificate` or `ssl_certificate_key`.
pub fn pem_file(cf: &Conf, path: &str) -> Result<PemFile, Mistake> {
    let (path, content) = file::read(cf, plain(path)?)?;
    Ok(PemFile { path, content })
}

pub fn ssl_name(word: &str) -> Result<Box<str>, Mistake> {
    Certificates::system()
        .named(plain(word)?)
        .map_err(|error| bad_value(word, error))?;
    Ok(word.into())
}

/// Reads `http://host:port [credentials=path]`, or `off`.
pub fn fetch_proxy(cf: &Conf, words: &[&str]) -> Result<OrOff<Proxy>, Mistake> {
    let (url, credentials) = match words {
        ["off"] => return Ok(OrOff::Off),
        [url] if !url.contains('=') => (url, None),
        [url, option] => match option.strip_prefix("credentials=") {
            Some(path) if !path.is_empty() && *url != "off" => (url, Some(path)),
            _ => return Err(bad_proxy()),
        },
        _ => return Err(bad_proxy()),
    };
    let credentials = match credentials {
        Some(path) => Some(file::read(cf, plain(path)?)?.1),
        None => None,
    };
    let proxy = Proxy::parse(plain(url)?, credentials.as_deref());
    proxy.map(OrOff::On).map_err(|error| match error {
        ProxyError::Credentials | ProxyError::UserInfo => error.to_string().into(),
        error => bad_value(url, error),
    })
}

fn bad_proxy() -> Mistake {
    "must be the URL of a proxy and perhaps a file that holds user:password, or \"off\"; write it as \
     \"fetch_proxy http://proxy:3128 credentials=proxy.secret;\""
        .into()
}

pub fn state_path(cf: &Conf, word: &str) -> Result<OrOff<PathBuf>, Mistake> {
    or_off(word, |path| {
        if path.is_empty() {
            return Err(
                "has an empty parameter; name a folder, or write \"state_path off;\"".into(),
            );
        }
        private_folder(cf, plain(path)?)
    })
}

/// Has nginx make a folder at start. An existing one is refused if others can put keys into it.
fn private_folder(cf: &Conf, path: &str) -> Result<PathBuf, Mistake> {
    let folder = cf.add_private_folder(path)?;
    saved::check_folder(&folder).map_err(|error| {
        format!(
            "\"{}\" cannot be used: {error}; name a folder in which nobody else may write \
             (\"chmod go-w\")",
            folder.display()
        )
    })?;
    Ok(folder)
}
