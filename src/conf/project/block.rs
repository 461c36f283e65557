//! The directives inside `authgear_project`, and what they must say together.

use core::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use authgear_core::credential::CookieNames;
use authgear_core::keys::fetch::{check_ca, Certificates};
use authgear_core::keys::freshness::Timing;
use authgear_core::keys::{saved, KeySet, Origin, Url};
use authgear_core::policy::{Rules, TokenKind};
use authgear_core::recheck::Recheck;
use authgear_core::{Algorithm, AlgorithmSet};
use nginx_sys::{ngx_command_t, ngx_conf_parse, ngx_conf_t};
use ngx::core::NGX_CONF_OK;

use super::{Endpoint, Project, Template};
use crate::conf::value::{any_time, bad_value, plain, positive_time, set, texts};
use crate::conf::{directive, MainConf, Mistake};
use crate::nginx::{guard, ComplexValue, Conf, CONF_ERROR};

/// The argument of `endpoint`.
enum GivenEndpoint {
    Fixed(Origin),
    Variable(ComplexValue),
}

/// A block while it is read.
#[derive(Default)]
struct Block {
    endpoint: Option<GivenEndpoint>,
    internal_endpoint: Option<Origin>,
    issuer: Option<Box<str>>,
    audience: Option<Vec<Box<str>>>,
    client_id: Option<Vec<Box<str>>>,
    token_type: Option<TokenKind>,
    algorithms: Option<AlgorithmSet>,
    typ: Option<Option<Vec<Box<str>>>>,
    jwks_uri: Option<Url>,
    jwks_file: Option<KeySet>,
    jwks_refresh: Option<u64>,
    jwks_stale: Option<u64>,
    jwks_min_interval: Option<u64>,
    fetch_timeout: Option<u64>,
    leeway: Option<u64>,
    cookie_prefix: Option<CookieNames>,
    resolve_request: Option<Option<Box<[u8]>>>,
    resolve_cache: Option<Option<u64>>,
    recheck: Option<Option<Recheck>>,
    ssl_trusted_certificate: Option<Vec<u8>>,
    state_path: Option<Option<PathBuf>>,
}

type Set = fn(&mut Block, &Conf, &[&str]) -> Result<(), Mistake>;

/// Directives of the block, in the order of the reference: the name, how many parameters it
/// takes at the most, and what it does.
const DIRECTIVES: [(&str, usize, Set); 21] = [
    ("endpoint", 1, |b, cf, w| {
        set(&mut b.endpoint, endpoint(cf, w[0])?)
    }),
    ("internal_endpoint", 1, |b, _, w| {
        let origin =
            Origin::parse_internal(plain(w[0])?).map_err(|error| bad_value(w[0], error))?;
        set(&mut b.internal_endpoint, origin)
    }),
    ("issuer", 1, |b, _, w| {
        set(&mut b.issuer, texts(w)?.remove(0))
    }),
    ("audience", MANY, |b, _, w| set(&mut b.audience, texts(w)?)),
    ("client_id", MANY, |b, _, w| {
        set(&mut b.client_id, texts(w)?)
    }),
    ("token_type", 1, |b, _, w| {
        set(&mut b.token_type, token_type(w[0])?)
    }),
    ("algorithms", MANY, |b, _, w| {
        set(&mut b.algorithms, algorithms(w)?)
    }),
    ("typ", MANY, |b, _, w| set(&mut b.typ, typ(w)?)),
    ("jwks_uri", 1, |b, cf, w| {
        set(&mut b.jwks_uri, jwks_uri(cf, w[0])?)
    }),
    ("jwks_file", 1, |b, cf, w| {
        set(&mut b.jwks_file, jwks_file(cf, w[0])?)
    }),
    ("jwks_refresh", 1, |b, _, w| {
        set(&mut b.jwks_refresh, positive_time(w[0])?)
    }),
    ("jwks_stale", 1, |b, _, w| {
        set(&mut b.jwks_stale, any_time(w[0])?)
    }),
    ("jwks_min_interval", 1, |b, _, w| {
        let interval = any_time(w[0])?;
        if interval < 1000 {
            return Err(format!("must be at least 1s, not \"{}\"", w[0]).into());
        }
        set(&mut b.jwks_min_interval, interval)
    }),
    ("fetch_timeout", 1, |b, _, w| {
        set(&mut b.fetch_timeout, positive_time(w[0])?)
    }),
    ("leeway", 1, |b, _, w| set(&mut b.leeway, any_time(w[0])?)),
    ("cookie_prefix", 1, |b, _, w| {
        let names = CookieNames::new(plain(w[0])?).map_err(|error| bad_value(w[0], error))?;
        set(&mut b.cookie_prefix, names)
    }),
    ("resolve_request", 1, |b, _, w| {
        set(&mut b.resolve_request, resolve_request(w[0])?)
    }),
    ("resolve_cache", 1, |b, _, w| {
        let time = match w[0] {
            "off" => None,
            time => Some(positive_time(time)?),
        };
        set(&mut b.resolve_cache, time)
    }),
    ("recheck", MANY, |b, _, w| set(&mut b.recheck, recheck(w)?)),
    ("ssl_trusted_certificate", 1, |b, cf, w| {
        set(&mut b.ssl_trusted_certificate, certificates(cf, w[0])?)
    }),
    ("state_path", 1, |b, cf, w| {
        let path = match w[0] {
            "off" => None,
            "" => {
                return Err(
                    "has an empty parameter; name a folder, or write \"state_path off;\"".into(),
                )
            }
            path => Some(private_folder(cf, plain(path)?)?),
        };
        set(&mut b.state_path, path)
    }),
];

const MANY: usize = usize::MAX;

fn token_type(word: &str) -> Result<TokenKind, Mistake> {
    match word {
        "user" => Ok(TokenKind::User),
        "client" => Ok(TokenKind::Client),
        "any" => Ok(TokenKind::Any),
        _ => Err(format!("must be \"user\", \"client\" or \"any\", not \"{word}\"").into()),
    }
}

fn algorithms(words: &[&str]) -> Result<AlgorithmSet, Mistake> {
    words.iter().try_fold(
        AlgorithmSet::EMPTY,
        |set, word| match Algorithm::from_name(word) {
            Some(algorithm) => Ok(set.with(algorithm)),
            None => {
                let known: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
                Err(format!("cannot be \"{word}\"; it may be {}", known.join(", ")).into())
            }
        },
    )
}

fn typ(words: &[&str]) -> Result<Option<Vec<Box<str>>>, Mistake> {
    if words.contains(&"off") {
        if words.len() > 1 {
            return Err("is \"off\" and something else; write \"typ off;\" or a list".into());
        }
        return Ok(None);
    }
    texts(words).map(Some)
}

fn endpoint(cf: &Conf, word: &str) -> Result<GivenEndpoint, Mistake> {
    if word.contains('$') {
        Origin::check_template(word).map_err(|error| bad_value(word, error))?;
        return Ok(GivenEndpoint::Variable(cf.complex_value(word)?));
    }
    let origin = Origin::parse(word).map_err(|error| bad_value(word, error))?;
    Ok(GivenEndpoint::Fixed(origin))
}

fn resolve_request(word: &str) -> Result<Option<Box<[u8]>>, Mistake> {
    match word {
        "off" => Ok(None),
        uri if uri.starts_with('/') && !uri.contains(['$', '?', '#', ' ']) => {
            Ok(Some(uri.as_bytes().into()))
        }
        _ => Err(format!(
            "must be the URI of an internal location such as \"/_authgear/resolve\", or \"off\", \
             not \"{word}\""
        )
        .into()),
    }
}

fn recheck(words: &[&str]) -> Result<Option<Recheck>, Mistake> {
    match words {
        ["off"] => Ok(None),
        [time] => Ok(Some(Recheck {
            interval: positive_time(time)?,
            strict: false,
        })),
        [time, "strict"] if *time != "off" => Ok(Some(Recheck {
            interval: positive_time(time)?,
            strict: true,
        })),
        _ => Err("must be a time, a time and \"strict\", or \"off\"; \
                  write it as \"recheck 30s;\" or \"recheck 30s strict;\""
            .into()),
    }
}

fn jwks_uri(cf: &Conf, word: &str) -> Result<Url, Mistake> {
    let url = Url::parse(plain(word)?).map_err(|error| bad_value(word, error))?;
    if url.origin().is_exposed() {
        cf.warn(format_args!(
            "\"jwks_uri\" \"{word}\" is plain http: whoever is on the way can replace the keys; \
             use https"
        ));
    }
    Ok(url)
}

/// Reads a file that a directive names.
fn file(cf: &Conf, path: &str) -> Result<(String, Vec<u8>), Mistake> {
    let path = cf.full_name(path)?;
    match std::fs::read(&path) {
        Ok(content) => Ok((path, content)),
        Err(error) => Err(format!("cannot read \"{path}\": {error}").into()),
    }
}

fn jwks_file(cf: &Conf, path: &str) -> Result<KeySet, Mistake> {
    let (path, content) = file(cf, path)?;
    match KeySet::parse(&content) {
        Ok((keys, skipped)) => {
            for key in skipped {
                cf.warn(format_args!("\"jwks_file\" \"{path}\": {key}"));
            }
            Ok(keys)
        }
        Err(error) => Err(format!("\"{path}\": {error}").into()),
    }
}

fn certificates(cf: &Conf, path: &str) -> Result<Vec<u8>, Mistake> {
    let (path, content) = file(cf, path)?;
    match check_ca(&content) {
        Ok(_) => Ok(content),
        Err(error) => Err(format!("\"{path}\": {error}").into()),
    }
}

/// The folder of `state_path`, which nginx makes at start. One that is there already must not be
/// one in which others can put keys.
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

/// Reads the block of the project `name`.
pub fn block(cf: &Conf, main: &mut MainConf, name: &str) -> Result<(), Mistake> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name == "off" || name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "cannot be named \"{name}\"; use letters, digits, \"_\", \"-\" and \".\", not \"off\""
        )
        .into());
    }
    if main.project(name).is_some() {
        return Err(format!("\"{name}\" is duplicate").into());
    }
    let name = name.to_string();

    let mut block = Block::default();
    // SAFETY: the copy of the context lives until ngx_conf_parse returns, and so does the block
    // that the handler fills.
    let status = unsafe {
        let mut inner: ngx_conf_t = core::ptr::read(cf.raw());
        inner.handler = Some(inner_directive);
        inner.handler_conf = core::ptr::from_mut(&mut block).cast();
        ngx_conf_parse(&mut inner, core::ptr::null_mut())
    };
    if status != NGX_CONF_OK {
        return Err(Mistake::Logged);
    }
    let project =
        block
            .finish(name.clone(), main.projects.len())
            .map_err(|mistake| match mistake {
                Mistake::Here(text) => Mistake::Here(format!("\"{name}\" {text}")),
                Mistake::Logged => Mistake::Logged,
            })?;
    warn_of_recheck(cf, &project);
    main.projects.push(project);
    Ok(())
}

/// Warns where no accepted token is ever rechecked: the resolver judges only those that are meant for
/// the endpoint.
fn warn_of_recheck(cf: &Conf, project: &Project) {
    let Some(tenant) = project.fixed_tenant() else {
        return;
    };
    if project.recheck.is_some() && !tenant.audience.contains(&tenant.origin) {
        cf.warn(format_args!(
            "project \"{}\" has \"recheck\", but no token is rechecked, since \"audience\" lacks the \
             endpoint; add \"{}\" to it, or remove \"recheck\"",
            project.name, tenant.origin
        ));
    }
}

extern "C" fn inner_directive(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    block: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: it is the block that `block` handed to ngx_conf_parse, still alive.
        let block = unsafe { &mut *block.cast::<Block>() };
        directive(cf, |cf, words| block.directive(cf, words))
    })
}

impl Block {
    fn directive(&mut self, cf: &Conf, words: &[&str]) -> Result<(), Mistake> {
        if words[0] == "include" {
            return match words.len() {
                2 => cf.include().map_err(Mistake::from),
                n => Err(format!("takes one file, not {}", n - 1).into()),
            };
        }
        let Some((_, most, set)) = DIRECTIVES.iter().find(|(name, ..)| *name == words[0]) else {
            let known: Vec<_> = DIRECTIVES.iter().map(|(name, ..)| *name).collect();
            return Err(format!(
                "is unknown in \"authgear_project\", which takes {}",
                known.join(", ")
            )
            .into());
        };
        match words.len() - 1 {
            0 => Err("has no value".into()),
            n if n > *most => Err(format!("takes one value, not {n}").into()),
            _ => set(self, cf, &words[1..]),
        }
    }

    /// Checks what the directives say together, and makes the project.
    fn finish(self, name: String, index: usize) -> Result<Project, Mistake> {
        let has_keys = self.jwks_uri.is_some() || self.jwks_file.is_some();
        if self.endpoint.is_none() {
            let all = has_keys && self.issuer.is_some() && self.audience.is_some();
            if !all {
                return Err(
                    "has no \"endpoint\"; add \"endpoint https://myapp.authgear.cloud;\", \
                            or \"issuer\", \"audience\" and \"jwks_uri\" or \"jwks_file\""
                        .into(),
                );
            }
            if self.internal_endpoint.is_some() {
                return Err("has an \"internal_endpoint\" but no \"endpoint\"; \
                            add the public one, whose name requests must carry"
                    .into());
            }
        }
        if self.jwks_file.is_some() {
            let others = [
                ("jwks_uri", self.jwks_uri.is_some()),
                ("internal_endpoint", self.internal_endpoint.is_some()),
                ("jwks_refresh", self.jwks_refresh.is_some()),
                ("jwks_stale", self.jwks_stale.is_some()),
                ("jwks_min_interval", self.jwks_min_interval.is_some()),
                ("fetch_timeout", self.fetch_timeout.is_some()),
                (
                    "ssl_trusted_certificate",
                    self.ssl_trusted_certificate.is_some(),
                ),
                ("state_path", self.state_path.is_some()),
            ];
            if let Some((other, _)) = others.iter().find(|(_, present)| *present) {
                return Err(format!(
                    "has both \"jwks_file\" and \"{other}\", but keys from a file are never \
                     fetched; remove one"
                )
                .into());
            }
        }

        let resolve_request = self.resolve_request.flatten();
        let resolve_cache = self.resolve_cache.flatten();
        let recheck = self.recheck.flatten();
        if resolve_request.is_some() && self.token_type == Some(TokenKind::Client) {
            return Err(
                "has \"resolve_request\" and \"token_type client\", but the resolver \
                        knows users only; remove one"
                    .into(),
            );
        }
        if resolve_request.is_none() {
            let needs = [
                ("resolve_cache", resolve_cache.is_some()),
                ("recheck", recheck.is_some()),
            ];
            if let Some((directive, _)) = needs.iter().find(|(_, present)| *present) {
                return Err(format!(
                    "has \"{directive}\" but nobody to ask; \
                     add \"resolve_request /_authgear/resolve;\" and that location"
                )
                .into());
            }
        }

        let template = Template {
            project: name.clone(),
            issuer: self.issuer,
            audience: self.audience.unwrap_or_default(),
            internal: self.internal_endpoint,
            jwks_uri: self.jwks_uri,
            jwks_file: self.jwks_file.map(Rc::new),
            timeout: Duration::from_millis(self.fetch_timeout.unwrap_or(5_000)),
            certificates: Arc::new(match self.ssl_trusted_certificate {
                Some(pem) => Certificates::trusting(pem),
                None => Certificates::system(),
            }),
            state: self.state_path.flatten().map(Arc::from),
            timing: Timing {
                refresh: self.jwks_refresh.unwrap_or(10 * 60 * 1000),
                stale: self.jwks_stale.unwrap_or(24 * 60 * 60 * 1000),
                min_interval: self.jwks_min_interval.unwrap_or(30_000),
            },
        };
        let endpoint = match self.endpoint {
            Some(GivenEndpoint::Variable(value)) => Endpoint::variable(value, template),
            Some(GivenEndpoint::Fixed(origin)) => {
                Endpoint::Fixed(Rc::new(template.tenant(Some(origin))))
            }
            None => Endpoint::Fixed(Rc::new(template.tenant(None))),
        };
        Ok(Project {
            name,
            index,
            cookies: match self.cookie_prefix {
                Some(names) => names,
                None => CookieNames::new("").map_err(|error| error.to_string())?,
            },
            algorithms: self
                .algorithms
                .unwrap_or(AlgorithmSet::EMPTY.with(Algorithm::Rs256)),
            resolve_request,
            resolve_cache,
            recheck,
            rules: Rules {
                client_ids: self.client_id.unwrap_or_default(),
                token_type: self.token_type.unwrap_or_default(),
                typ: self.typ.unwrap_or(Rules::default().typ),
                leeway: self.leeway.unwrap_or(0) as f64 / 1000.0,
            },
            endpoint,
        })
    }
}
