//! The directives inside `authgear_project`: their table, and what reads the block.

use core::ffi::{c_char, c_void};
use core::hint::black_box;
use std::path::PathBuf;

use authgear_core::credential::CookieNames;
use authgear_core::keys::fetch::Proxy;
use authgear_core::keys::{KeySet, Origin, Url};
use authgear_core::login::Client;
use authgear_core::policy::TokenKind;
use authgear_core::recheck::Recheck;
use authgear_core::revocation::Secrets;
use authgear_core::AlgorithmSet;
use nginx_sys::{ngx_command_t, ngx_conf_parse, ngx_conf_t};
use ngx::core::NGX_CONF_OK;

use super::Project;
use crate::conf::directive::{directives, run, Directive, MANY, ONE};
use crate::conf::mistake::Mistake;
use crate::conf::value::{any_time, or_off, positive_seconds, positive_time, texts, OrOff};
use crate::nginx::{guard, Conf, CONF_ERROR};
use readers::{GivenEndpoint, PemFile};

mod finish;
mod readers;

directives! {
    /// A block while it is read.
    #[derive(Default)]
    struct Block {
        // name, parameters, field, setter
        c"endpoint",                ONE,  endpoint: Option<GivenEndpoint>,         read |cf, w| readers::endpoint(cf, w[0]);
        c"internal_endpoint",       ONE,  internal_endpoint: Option<Origin>,       read |_, w| readers::internal_endpoint(w[0]);
        c"issuer",                  MANY, issuer: Option<Vec<Box<str>>>,           read |_, w| readers::uris(w);
        c"audience",                MANY, audience: Option<Vec<Box<str>>>,         read |_, w| readers::uris(w);
        c"client_id",               MANY, client_id: Option<Vec<Box<str>>>,        read |_, w| texts(w);
        c"token_type",              ONE,  token_type: Option<TokenKind>,           read |_, w| readers::token_type(w[0]);
        c"algorithms",              MANY, algorithms: Option<AlgorithmSet>,        read |_, w| readers::algorithms(w);
        c"typ",                     MANY, typ: Option<OrOff<Vec<Box<str>>>>,       read |_, w| readers::typ(w);
        c"jwks_uri",                ONE,  jwks_uri: Option<Url>,                   read |cf, w| readers::jwks_uri(cf, w[0]);
        c"jwks_file",               ONE,  jwks_file: Option<KeySet>,               read |cf, w| readers::jwks_file(cf, w[0]);
        c"jwks_refresh",            ONE,  jwks_refresh: Option<u64>,               read |_, w| positive_time(w[0]);
        c"jwks_stale",              ONE,  jwks_stale: Option<u64>,                 read |_, w| any_time(w[0]);
        c"jwks_min_interval",       ONE,  jwks_min_interval: Option<u64>,          read |_, w| readers::jwks_min_interval(w[0]);
        c"fetch_timeout",           ONE,  fetch_timeout: Option<u64>,              read |_, w| positive_time(w[0]);
        c"leeway",                  ONE,  leeway: Option<u64>,                     read |_, w| any_time(w[0]);
        c"cookie_prefix",           ONE,  cookie_prefix: Option<CookieNames>,      read |_, w| readers::cookie_prefix(w[0]);
        c"resolve_request",         ONE,  resolve_request: Option<OrOff<Box<[u8]>>>, read |_, w| readers::resolve_request(w[0]);
        c"resolve_cache",           ONE,  resolve_cache: Option<OrOff<u64>>,       read |_, w| or_off(w[0], positive_time);
        c"resolve_stale",           ONE,  resolve_stale: Option<OrOff<u64>>,       read |_, w| or_off(w[0], positive_time);
        c"recheck",                 MANY, recheck: Option<OrOff<Recheck>>,         read |_, w| readers::recheck(w);
        c"ssl_trusted_certificate", ONE,  ssl_trusted_certificate: Option<Vec<u8>>, read |cf, w| readers::certificates(cf, w[0]);
        c"ssl_name",                ONE,  ssl_name: Option<Box<str>>,              read |_, w| readers::ssl_name(w[0]);
        c"ssl_certificate",         ONE,  ssl_certificate: Option<PemFile>,        read |cf, w| readers::pem_file(cf, w[0]);
        c"ssl_certificate_key",     ONE,  ssl_certificate_key: Option<PemFile>,    read |cf, w| readers::pem_file(cf, w[0]);
        c"fetch_proxy",             MANY, fetch_proxy: Option<OrOff<Proxy>>,       read readers::fetch_proxy;
        c"webhook_secret_file",     ONE,  webhook_secret_file: Option<Secrets>,    read |cf, w| readers::webhook_secrets(cf, w[0]);
        c"revocation_keep",         ONE,  revocation_keep: Option<u64>,            read |_, w| positive_seconds(w[0]);
        c"login",                   MANY, login: Option<Client>,                   read |_, w| readers::login(w);
        c"state_path",              ONE,  state_path: Option<OrOff<PathBuf>>,      read |cf, w| readers::state_path(cf, w[0]);
    }
}

/// Reads the block of one project.
pub fn block(projects: &mut Vec<Project>, cf: &Conf, name: &str) -> Result<(), Mistake> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name == "off" || name.is_empty() || !name.chars().all(plain) {
        return Err(format!(
            "cannot be named \"{name}\"; use letters, digits, \"_\", \"-\" and \".\", not \"off\""
        )
        .into());
    }
    if projects.iter().any(|project| project.name == name) {
        return Err(format!("\"{name}\" is duplicate").into());
    }

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
    let project = block
        .finish(name, projects.len())
        .map_err(|mistake| mistake.after(&format!("\"{name}\"")))?;
    warn_of_recheck(cf, &project);
    if project.login.is_some() && project.resolve_request.is_none() {
        cf.warn(format_args!(
            "project \"{name}\" has \"login\", but without \"resolve_request\" the cookie of a login does \
             not count; add \"resolve_request /_authgear/resolve;\" and that location"
        ));
    }
    super::add(projects, project);
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
        // SAFETY: nginx hands over a valid context, and the block that `block` gave to
        // ngx_conf_parse, still alive.
        let (cf, block) = unsafe { (Conf::from_raw(cf), &mut *block.cast::<Block>()) };
        run(&cf, |words| block.directive(&cf, words))
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
        // Hidden from LLVM, which else inlines every reader here and compiles for hours.
        let table = black_box(Self::DIRECTIVES);
        let is_named = |row: &&Directive<Self>| row.name.to_bytes() == words[0].as_bytes();
        let Some(directive) = table.iter().find(is_named) else {
            let names = table.iter().map(|row| row.name.to_string_lossy());
            let known: Vec<_> = names.collect();
            return Err(format!(
                "is unknown in \"authgear_project\", which takes {}",
                known.join(", ")
            )
            .into());
        };
        match words.len() - 1 {
            0 => Err("has no value".into()),
            n if n > 1 && directive.takes == ONE => Err(format!("takes one value, not {n}").into()),
            _ => (directive.set)(self, cf, &words[1..]),
        }
    }
}
