//! Directives: the tables, and what their handlers share.

use core::cell::{Cell, OnceCell, RefCell};
use core::ffi::{c_char, c_void, CStr};
use core::ptr;

use nginx_sys::{
    ngx_command_t, ngx_conf_t, ngx_str_t, ngx_uint_t, NGX_CONF_1MORE, NGX_CONF_BLOCK,
    NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
};
use ngx::core::NGX_CONF_OK;

use crate::nginx::{
    guard, variables_of_headers, Conf, Failed, Getter, LocationConfs, Request, CONF_ERROR,
};

mod location;
mod project;
mod token_cache;
mod value;
mod zone;

pub use location::{Gate, LocationConf, Mode};
pub use project::{Keys, NoTenant, Project, Remote, Tenant};
pub use token_cache::TokenCacheConf;
pub use zone::ZoneConf;

/// The `http` level: projects and the shared zone.
#[derive(Debug, Default)]
pub struct MainConf {
    /// In the order of the configuration; locations refer to them by index.
    pub projects: Vec<Project>,
    /// The shared memory zone.
    pub zone: ZoneConf,
    /// The arguments of `authgear_token_cache`.
    pub token_cache: TokenCacheConf,
    /// The variables of `authgear_claim_set` by their name in lower case, and what tells them apart.
    claims: RefCell<Vec<(String, usize)>>,
    claim_getter: Cell<Option<Getter>>,
    of_headers: OnceCell<Box<[usize]>>,
    /// The locations that projects name in `resolve_request`.
    resolvers: RefCell<Vec<ResolverLocation>>,
}

/// A location that a project names in `resolve_request`, to be looked at when all is merged.
#[derive(Debug)]
struct ResolverLocation {
    name: String,
    project: String,
    confs: LocationConfs,
}

/// The `server` level.
#[derive(Debug, Default)]
pub struct ServerConf {
    verifies: Cell<bool>,
}

impl ServerConf {
    /// True when a location of the server verifies.
    pub fn verifies(&self) -> bool {
        self.verifies.get()
    }

    /// Takes note that a location of the server verifies.
    pub fn set_verifies(&self) {
        self.verifies.set(true);
    }
}

impl MainConf {
    /// The indices of variables whose values are made from request headers, for a request of this
    /// configuration.
    pub fn request_variables(&self, r: &Request) -> &[usize] {
        self.of_headers.get_or_init(|| variables_of_headers(r))
    }

    /// Sets the function that gives the variables of `authgear_claim_set` their values.
    pub fn set_claim_getter(&self, getter: Getter) {
        self.claim_getter.set(Some(getter));
    }

    /// Makes a variable of `authgear_claim_set`, or finds it; returns what its getter is handed.
    /// Refuses a variable that another directive sets.
    fn claim_variable(&self, cf: &Conf, name: &str) -> Result<usize, Mistake> {
        let name = name.to_ascii_lowercase();
        let mut claims = self.claims.borrow_mut();
        if let Some((_, variable)) = claims.iter().find(|(known, _)| *known == name) {
            return Ok(*variable);
        }
        let getter = self.claim_getter.get().ok_or(Failed)?;
        let Some(variable) = cf.add_named_variable(&name, getter)? else {
            return Err(
                format!("cannot set \"${name}\", which another directive sets; rename it").into(),
            );
        };
        claims.push((name, variable));
        Ok(variable)
    }

    /// Takes note of a location that a project names in `resolve_request`.
    pub fn note_resolver(&self, name: &str, project: &str, confs: LocationConfs) {
        self.resolvers.borrow_mut().push(ResolverLocation {
            name: name.to_string(),
            project: project.to_string(),
            confs,
        });
    }

    /// Index of the project of that name.
    pub fn project(&self, name: &str) -> Option<usize> {
        self.projects
            .iter()
            .position(|project| project.name == name)
    }
}

const ANY_LEVEL: u32 = NGX_HTTP_MAIN_CONF
    | NGX_HTTP_SRV_CONF
    | NGX_HTTP_LOC_CONF
    | NGX_HTTP_LIF_CONF
    | NGX_HTTP_LMT_CONF;

const fn command(
    name: &'static CStr,
    flags: u32,
    offset: usize,
    set: extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char,
) -> ngx_command_t {
    ngx_command_t {
        // nginx compares up to the terminating zero.
        name: ngx_str_t {
            len: name.count_bytes(),
            data: name.as_ptr().cast_mut().cast(),
        },
        type_: flags as ngx_uint_t,
        set: Some(set),
        conf: offset,
        offset: 0,
        post: ptr::null_mut(),
    }
}

const LOCATION: usize = NGX_HTTP_LOC_CONF_OFFSET;
const MAIN: usize = NGX_HTTP_MAIN_CONF_OFFSET;

/// Every directive outside `authgear_project`.
pub static mut COMMANDS: [ngx_command_t; 16] = [
    command(
        c"authgear_project",
        NGX_HTTP_MAIN_CONF | NGX_CONF_BLOCK | NGX_CONF_TAKE1,
        MAIN,
        authgear_project,
    ),
    command(
        c"authgear_shared_zone",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
        MAIN,
        authgear_shared_zone,
    ),
    command(
        c"authgear_token_cache",
        NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
        MAIN,
        authgear_token_cache,
    ),
    command(
        c"authgear_verify",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_verify,
    ),
    command(
        c"authgear_token",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_token,
    ),
    command(
        c"authgear_audience",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_audience,
    ),
    command(
        c"authgear_require",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_require,
    ),
    command(
        c"authgear_require_role",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_require_role,
    ),
    command(
        c"authgear_require_scope",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_require_scope,
    ),
    command(
        c"authgear_require_auth_age",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_require_auth_age,
    ),
    command(
        c"authgear_claim_set",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_claim_set,
    ),
    command(
        c"authgear_pass_headers",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_pass_headers,
    ),
    command(
        c"authgear_realm",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_realm,
    ),
    command(
        c"authgear_resource_metadata",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_resource_metadata,
    ),
    command(
        c"authgear_bypass_preflight",
        ANY_LEVEL | NGX_CONF_1MORE,
        LOCATION,
        authgear_bypass_preflight,
    ),
    ngx_command_t::empty(),
];

extern "C" fn authgear_project(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx hands over the structure that `create_main_conf` made.
    let main = unsafe { &mut *conf.cast::<MainConf>() };
    directive(cf, |cf, words| project::block(cf, main, words[1]))
}

extern "C" fn authgear_shared_zone(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx hands over the structure that `create_main_conf` made.
    let main = unsafe { &mut *conf.cast::<MainConf>() };
    directive(cf, |cf, words| main.zone.configure(cf, words[1]))
}

extern "C" fn authgear_token_cache(
    cf: *mut ngx_conf_t,
    _: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx hands over the structure that `create_main_conf` made.
    let main = unsafe { &mut *conf.cast::<MainConf>() };
    directive(cf, |_, words| main.token_cache.configure(words[1]))
}

/// Directives of any level: what nginx calls, and what of [`LocationConf`] reads the parameters.
macro_rules! at_any_level {
    ($($name:ident => $set:ident,)*) => {$(
        extern "C" fn $name(
            cf: *mut ngx_conf_t,
            _: *mut ngx_command_t,
            conf: *mut c_void,
        ) -> *mut c_char {
            // SAFETY: nginx hands over the structure that `create_loc_conf` made.
            let conf = unsafe { &mut *conf.cast::<LocationConf>() };
            directive(cf, |cf, words| conf.$set(cf, &words[1..]))
        }
    )*};
}

at_any_level! {
    authgear_verify => set_verify,
    authgear_token => set_token,
    authgear_audience => set_audience,
    authgear_require => add_require,
    authgear_require_role => set_roles,
    authgear_require_scope => set_scopes,
    authgear_require_auth_age => set_auth_age,
    authgear_claim_set => add_claim,
    authgear_pass_headers => set_pass_headers,
    authgear_realm => set_realm,
    authgear_resource_metadata => set_resource_metadata,
    authgear_bypass_preflight => set_bypass_preflight,
}

/// Why a directive is refused.
#[derive(Debug)]
pub enum Mistake {
    /// The end of a sentence that begins with the directive's name.
    Here(String),
    /// It has been logged where it was found.
    Logged,
}

impl From<String> for Mistake {
    fn from(text: String) -> Self {
        Self::Here(text)
    }
}

impl From<&str> for Mistake {
    fn from(text: &str) -> Self {
        Self::Here(text.to_string())
    }
}

impl From<Failed> for Mistake {
    /// nginx logs its own failures.
    fn from(_: Failed) -> Self {
        Self::Logged
    }
}

/// Runs a directive's handler on its words; a mistake is logged after the directive's name.
fn directive(
    cf: *mut ngx_conf_t,
    set: impl FnOnce(&Conf, &[&str]) -> Result<(), Mistake>,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: nginx hands a valid configuration context over.
        let cf = unsafe { Conf::from_raw(cf) };
        let done = cf.words().map_err(Mistake::from).and_then(|words| {
            set(&cf, &words).map_err(|mistake| match mistake {
                Mistake::Here(text) => Mistake::Here(format!("\"{}\" {text}", words[0])),
                Mistake::Logged => Mistake::Logged,
            })
        });
        match done {
            Ok(()) => return NGX_CONF_OK,
            Err(Mistake::Here(text)) => cf.emerg(text),
            Err(Mistake::Logged) => {}
        }
        CONF_ERROR
    })
}

/// Checks that need the whole configuration.
pub fn finish(cf: &Conf) -> Result<(), Failed> {
    let main = cf.main_conf();
    cf.http_level().check(cf)?;
    for location in main.resolvers.borrow().iter() {
        if cf.is_proxy_cached(location.confs) {
            cf.emerg_nowhere(format_args!(
                "\"proxy_cache\" reaches location \"{}\", the \"resolve_request\" of the project \
                 \"{}\", and would hand one user's answer to others; add \"proxy_cache off;\" there",
                location.name, location.project
            ));
            return Err(Failed);
        }
    }
    let keeps_answers = main.projects.iter().any(Project::keeps_answers);
    if keeps_answers {
        main.zone.keep_answers();
    }
    let is_remote = main.projects.iter().any(Project::is_remote);
    if keeps_answers || main.zone.keeps_counters() || is_remote {
        main.zone.create(cf)?;
    }
    Ok(())
}
