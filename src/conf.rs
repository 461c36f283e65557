//! Directives: the table of the `http` level, and the checks that need the whole configuration.

use core::cell::{Cell, OnceCell, RefCell};

use authgear_core::keys::fetch::check_system_ca;
use nginx_sys::ngx_command_t;

use crate::nginx::{
    unix_time, variables_of_headers, Conf, Failed, Getter, PhaseHandler, Request, ServerAt,
};
use directive::{add_commands, directives, ANY, BLOCK, HTTP, LOCATION, MANY, ONE};
use mistake::Mistake;

mod access;
mod directive;
mod file;
mod location;
mod mistake;
mod module;
mod project;
mod stream;
mod token_cache;
mod value;
mod zone;

use location::{warn_of_one_host, warn_of_strangers, ResolverLocation, StatusLocation};
pub use location::{Gate, LocationConf, Receives};
pub use module::AuthgearModule;
pub use project::{NoTenant, Project, ProjectKeys};
use stream::StreamConf;
pub use token_cache::TokenCacheConf;
pub use zone::ZoneConf;

directives! {
    /// The `http` level: projects and the shared zone.
    #[derive(Debug, Default)]
    pub struct MainConf {
        // name, parameters, field, setter; locations refer to projects by index.
        c"authgear_project",     BLOCK, pub projects: Vec<Project>,      set |main, cf, w| project::block(&mut main.projects, cf, w[0]);
        c"authgear_shared_zone", ONE,   pub zone: ZoneConf,              set |main, cf, w| main.zone.configure(cf, w[0]);
        c"authgear_token_cache", ONE,   pub token_cache: TokenCacheConf, set |main, _, w| main.token_cache.configure(w[0]);
        c"authgear_revocation_stream", MANY, pub stream: StreamConf,     set |main, cf, w| main.stream.configure(cf, w);
        .. {
            /// The variables of `authgear_claim_set` by their name in lower case, and what tells
            /// them apart.
            claims: RefCell<Vec<(String, usize)>>,
            claim_getter: Cell<Option<Getter>>,
            /// The functions that receive webhooks, and browsers after a login.
            receivers: Cell<Option<[PhaseHandler; 2]>>,
            /// The projects whose logins end in a location.
            callbacks: RefCell<Vec<usize>>,
            of_headers: OnceCell<Box<[usize]>>,
            /// The locations that projects name in `resolve_request`.
            resolvers: RefCell<Vec<ResolverLocation>>,
            /// The projects that verify in each server; `None` for any of them.
            gates: RefCell<Vec<(ServerAt, Option<usize>)>>,
            /// The locations of status pages.
            statuses: RefCell<Vec<StatusLocation>>,
            status_handler: Cell<Option<PhaseHandler>>,
            /// When the configuration was read, in Unix seconds.
            pub loaded_at: Cell<u64>,
        }
    }
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

    /// Marks the server as one in which a location verifies.
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

    /// Sets the functions that receive webhooks, and browsers after a login.
    pub fn set_receivers(&self, webhooks: PhaseHandler, browsers: PhaseHandler) {
        self.receivers.set(Some([webhooks, browsers]));
    }

    /// The function that receives what is of that kind.
    fn receiver(&self, kind: Receives) -> Option<PhaseHandler> {
        let [webhooks, browsers] = self.receivers.get()?;
        Some(match kind {
            Receives::Webhooks => webhooks,
            Receives::Browsers => browsers,
        })
    }

    /// Remembers that the logins of a project end in a location, for [`finish`].
    fn note_callback(&self, project: usize) {
        self.callbacks.borrow_mut().push(project);
    }

    /// True if a project has a login.
    pub fn has_login(&self) -> bool {
        self.projects.iter().any(|project| project.login.is_some())
    }

    /// How long any project keeps a revocation, in seconds: users are shared.
    pub fn revocation_keep(&self) -> u64 {
        let keeps = self.projects.iter().map(|project| project.revocation_keep);
        keeps.max().unwrap_or(0)
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

    /// Remembers a location that a project names in `resolve_request`, for [`finish`].
    fn note_resolver(&self, location: ResolverLocation) {
        self.resolvers.borrow_mut().push(location);
    }

    /// Remembers that requests of a server are verified so, for [`finish`].
    fn note_gate(&self, server: ServerAt, gate: Gate) {
        let gate = (server, gate.project());
        let mut gates = self.gates.borrow_mut();
        // nginx merges one server after the other, and many locations of one are alike.
        if gates.last() != Some(&gate) {
            gates.push(gate);
        }
    }

    /// Sets the function that answers in a location with `authgear_status`.
    pub fn set_status_handler(&self, handler: PhaseHandler) {
        self.status_handler.set(Some(handler));
    }

    fn status_handler(&self) -> Option<PhaseHandler> {
        self.status_handler.get()
    }

    /// Remembers the location of a status page, for [`finish`].
    fn note_status(&self, page: StatusLocation) {
        self.statuses.borrow_mut().push(page);
    }

    /// Index of the project of that name.
    pub fn project(&self, name: &str) -> Option<usize> {
        self.projects
            .iter()
            .position(|project| project.name == name)
    }
}

const HTTP_DIRECTIVES: usize = MainConf::DIRECTIVES.len();
const IN_LOCATION: usize = HTTP_DIRECTIVES + LocationConf::DIRECTIVES.len();
const ALL_DIRECTIVES: usize = IN_LOCATION + LocationConf::IN_LOCATION.len();

/// Every directive outside `authgear_project`, for nginx. An empty command is the end.
pub static mut COMMANDS: [ngx_command_t; ALL_DIRECTIVES + 1] = {
    let mut all = [ngx_command_t::empty(); ALL_DIRECTIVES + 1];
    // SAFETY: these are the types of which `create_main_conf` and `create_loc_conf` make values.
    unsafe {
        add_commands(&mut all, 0, HTTP, MainConf::DIRECTIVES);
        add_commands(&mut all, HTTP_DIRECTIVES, ANY, LocationConf::DIRECTIVES);
        add_commands(&mut all, IN_LOCATION, LOCATION, LocationConf::IN_LOCATION);
    }
    all
};

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
    if let Some(project) = main.projects.iter().find(|project| project.asks_system_ca) {
        if let Err(error) = check_system_ca() {
            cf.warn_nowhere(format_args!(
                "project \"{}\" cannot fetch its keys: {error}",
                project.name
            ));
        }
    }
    warn_of_one_host(cf, &main.resolvers.borrow(), &main.gates.borrow());
    warn_of_strangers(cf, &main.statuses.borrow());
    for project in &main.projects {
        if project.login.is_some() && !main.callbacks.borrow().contains(&project.index) {
            cf.warn_nowhere(format_args!(
                "project \"{}\" has a \"login\", but no location in which one ends; add a location for \
                 the path of \"callback\", with \"authgear_login_callback {};\"",
                project.name, project.name
            ));
        }
    }
    main.loaded_at.set(unix_time());
    let has_webhook = |project: &Project| project.webhook_secrets.is_some();
    if main.projects.iter().any(has_webhook) {
        main.zone.keep_revocations();
    } else {
        main.stream.check_unused(cf)?;
    }
    if !main.projects.is_empty() {
        main.zone.create(cf)?;
    }
    for project in &main.projects {
        main.zone.count_project(project.digest);
    }
    Ok(())
}
