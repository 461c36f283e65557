//! The directives of every level: `authgear_verify`, and the requirements for its callers.

use core::ffi::CStr;

use authgear_core::policy::{Requirements, TokenKind};
use authgear_core::status::{Choice, Mode};
use nginx_sys::{ngx_uint_t, NGX_CONF_ANY};

use super::directive::{directives, inherit, Directive, MANY, ONE};
use super::mistake::Mistake;
use super::value::{flag, OrOff};
use crate::nginx::{ComplexValue, Conf, Failed, LocationAt, Place};

mod received;
mod receiver;
mod setters;
mod status;
mod warnings;

pub use received::Receives;
pub use setters::{ClaimSet, Require};
pub use status::{warn_of_strangers, StatusLocation};
pub use warnings::{warn_of_one_host, ResolverLocation};

/// The project that guards a location.
#[derive(Debug, Clone, Copy)]
pub enum Gate {
    /// The project of that index.
    Project(usize),
    /// The project whose name the value gives for each request.
    Variable(ComplexValue),
}

impl Gate {
    /// The index of the project; `None` if it is another for each request.
    pub fn project(self) -> Option<usize> {
        match self {
            Gate::Project(index) => Some(index),
            Gate::Variable(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
enum Verify {
    Off,
    /// By name, resolved when the configuration is complete.
    Named(String, Mode, Place),
    Gate(Gate, Mode, Place),
}

directives! {
    /// The `http`, `server`, `location`, `if` and `limit_except` levels. `None` is what a level
    /// leaves unsaid and inherits; an empty list is `off`.
    #[derive(Debug, Default)]
    pub struct LocationConf {
        // name, parameters, field, setter, merge
        c"authgear_verify",            MANY, verify: Option<Verify>,            set Self::set_verify, inherit;
        c"authgear_token",             MANY, tokens: Option<Vec<ComplexValue>>, read setters::token, inherit;
        c"authgear_audience",          MANY, audience: Option<Vec<Box<str>>>,   require setters::audience, inherit;
        c"authgear_require",           MANY, requires: Option<Vec<Require>>,    require setters::add_require, inherit;
        c"authgear_require_role",      MANY, roles: Option<Vec<Box<str>>>,      require setters::roles, inherit;
        c"authgear_require_scope",     MANY, scopes: Option<Vec<Box<str>>>,     require setters::scopes, inherit;
        c"authgear_require_auth_age",  MANY, auth_age: Option<OrOff<u64>>,      require setters::auth_age, inherit;
        c"authgear_claim_set",         MANY, claims: Option<Vec<ClaimSet>>,     set |c, cf, w| setters::add_claim(&mut c.claims, cf, w), inherit;
        c"authgear_realm",             MANY, realm: Option<OrOff<Box<str>>>,    read setters::realm, inherit;
        c"authgear_resource_metadata", MANY, metadata: Option<OrOff<Box<str>>>, read setters::resource_metadata, inherit;
        c"authgear_bypass_preflight",  MANY, bypass_preflight: Option<bool>,    read |_, words| flag(words), inherit;
        c"authgear_pass_headers",      MANY, pass_headers: Option<bool>,        read |_, words| flag(words), inherit;
        c"authgear_early",             MANY, early: Option<bool>,               read |_, words| flag(words), inherit;
        c"authgear_login",             MANY, login: Option<bool>,               read |_, words| flag(words), inherit;
        c"authgear_close_expired",     MANY, close_expired: Option<bool>,       read |_, words| flag(words), inherit;
        .. {
            /// The format of the status page.
            status: Option<status::Status>,
            /// The first requirement of this level, or the next above that has one: its directive,
            /// and where that stands.
            requirement: Option<(&'static CStr, Place)>,
            /// True if anything is asked of callers who are known.
            asks: bool,
            /// The directive by which Authgear sends something here, and for which project when all is merged.
            receiver: Option<received::Receiver>,
            receives: Option<(Receives, usize)>,
        }
    }
}

impl LocationConf {
    /// The directives that a location alone can have, and does not inherit.
    pub const IN_LOCATION: &'static [Directive<Self>] = &[
        Directive {
            name: c"authgear_status",
            takes: NGX_CONF_ANY,
            set: |conf, cf, words| match conf.status {
                Some(_) => Err("is duplicate".into()),
                None => {
                    conf.status = Some(status::read(cf, words)?);
                    Ok(())
                }
            },
            merge: |_, _| {},
        },
        Directive {
            name: c"authgear_webhook",
            takes: ONE,
            set: |conf, cf, words| conf.set_receiver(cf, Receives::Webhooks, words[0]),
            merge: |_, _| {},
        },
        Directive {
            name: c"authgear_login_callback",
            takes: ONE,
            set: |conf, cf, words| conf.set_receiver(cf, Receives::Browsers, words[0]),
            merge: |_, _| {},
        },
    ];

    /// Reads `authgear_verify`'s parameters.
    pub fn set_verify(&mut self, cf: &Conf, words: &[&str]) -> Result<(), Mistake> {
        if self.verify.is_some() {
            return Err("is duplicate".into());
        }
        let (target, mode) = match words {
            [target] => (*target, None),
            [target, mode] => (*target, Some(*mode)),
            _ => return Err("takes a project and at most one mode".into()),
        };
        if target == "off" {
            if let Some(mode) = mode {
                return Err(format!(
                    "is \"off\" and cannot be \"{mode}\" too; write \"authgear_verify off;\""
                )
                .into());
            }
            self.verify = Some(Verify::Off);
            return Ok(());
        }
        if target.is_empty() {
            return Err("names no project; write \"authgear_verify myapp;\" or \
                        \"authgear_verify off;\""
                .into());
        }
        if mode.is_none() && mode_of(target).is_some() {
            return Err(format!(
                "has a mode but no project; write \"authgear_verify myapp {target};\""
            )
            .into());
        }
        let mode = match mode {
            None => Mode::Required,
            Some(name) => mode_of(name).ok_or_else(|| {
                format!(
                    "has an unknown mode \"{name}\"; \
                     it must be \"required\", \"optional\" or \"observe\""
                )
            })?,
        };
        self.verify = Some(if target.contains('$') {
            Verify::Gate(Gate::Variable(cf.complex_value(target)?), mode, cf.place())
        } else {
            Verify::Named(target.to_string(), mode, cf.place())
        });
        Ok(())
    }

    /// Remembers where a requirement stands, should nobody be verified here.
    fn note(&mut self, directive: &'static CStr, cf: &Conf, words: &[&str]) {
        if self.requirement.is_none() && words != ["off"] {
            self.requirement = Some((directive, cf.place()));
        }
    }

    /// Inherits what this level leaves unsaid, finds the projects that are named, and looks at
    /// what nginx would do before or without this module.
    pub fn merge(&mut self, prev: &Self, cf: &Conf) -> Result<(), Failed> {
        let verifies_here = matches!(self.verify, Some(Verify::Gate(..) | Verify::Named(..)));
        for directive in Self::DIRECTIVES {
            (directive.merge)(self, prev);
        }
        self.merge_receiver(prev, cf, verifies_here)?;
        if let Some(Verify::Named(name, mode, place)) = &self.verify {
            let index = find_project(cf, "authgear_verify", name, place)?;
            self.verify = Some(Verify::Gate(Gate::Project(index), *mode, place.clone()));
        }
        // Sets a handler, of which `location` knows.
        status::inherit_page(&mut self.status, prev.status.as_ref(), cf);
        let location = cf.location();
        if let Some((gate, _)) = self.gate() {
            cf.server().set_verifies();
            cf.main_conf().note_gate(location.server, gate);
        }
        self.asks = !self.requires().is_empty() || !self.requirements().is_empty();
        if let Some(status) = &self.status {
            status::note(status, cf, &location)?;
        }
        self.check_place(cf, &location)?;
        inherit(&mut self.requirement, &prev.requirement);
        self.warn_of_nobody(cf, &location);
        Ok(())
    }

    /// Looks at what this very level says.
    fn check_place(&self, cf: &Conf, location: &LocationAt) -> Result<(), Failed> {
        warnings::look_at_resolver(cf, location);
        match (&self.verify, &self.requirement) {
            (Some(Verify::Gate(gate, _, place)), _) => self.check_project(cf, *gate, place),
            (_, Some((directive, place))) if location.is_leaf => {
                cf.emerg_at(
                    place,
                    format_args!(
                        "{directive:?} has no effect, since \"authgear_verify\" is not in force here; \
                         add \"authgear_verify myapp;\""
                    ),
                );
                Err(Failed)
            }
            _ => Ok(()),
        }
    }

    /// Refuses a login that the project does not have, and to ask clients for what only users have.
    fn check_project(&self, cf: &Conf, gate: Gate, verify: &Place) -> Result<(), Failed> {
        let Gate::Project(index) = gate else {
            return Ok(());
        };
        let project = &cf.main_conf().projects[index];
        if self.login() && project.login.is_none() {
            cf.emerg_at(
                verify,
                format_args!(
                    "\"authgear_verify\" names the project \"{}\" without a \"login\", but \
                     \"authgear_login\" is on; add \"login client_id=... callback=https://...;\" to the \
                     project, or write \"authgear_login off;\"",
                    project.name
                ),
            );
            return Err(Failed);
        }
        if project.rules.token_type != TokenKind::Client {
            return Ok(());
        }
        let requirements = self.requirements();
        let directive = if !requirements.roles.is_empty() {
            "authgear_require_role"
        } else if requirements.auth_age.is_some() {
            "authgear_require_auth_age"
        } else {
            return Ok(());
        };
        cf.emerg_at(
            verify,
            format_args!(
                "\"authgear_verify\" names the project \"{}\" of \"token_type client\", but \
                 \"{directive}\" asks for what only users have; remove one",
                project.name
            ),
        );
        Err(Failed)
    }

    /// Warns where something is asked of callers whom nobody verifies, and nothing says that this
    /// is meant.
    fn warn_of_nobody(&self, cf: &Conf, location: &LocationAt) {
        let (None, Some(name), Some((directive, place))) =
            (&self.verify, &location.name, &self.requirement)
        else {
            return;
        };
        if self.asks_nothing() || !location.is_open() {
            return;
        }
        cf.warn_at(
            place,
            format_args!(
                "{directive:?} has no effect in location \"{name}\", since \"authgear_verify\" is not in \
                 force there; add \"authgear_verify myapp;\", or \"authgear_verify off;\" if that is meant"
            ),
        );
    }

    /// Checks the `http` level, in case no location inherits it.
    pub fn check(&self, cf: &Conf) -> Result<(), Failed> {
        match &self.verify {
            Some(Verify::Named(name, _, place)) => {
                find_project(cf, "authgear_verify", name, place).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The gate of this location and its mode; `None` when the location is not verified.
    pub fn gate(&self) -> Option<(Gate, Mode)> {
        match self.verify {
            Some(Verify::Gate(gate, mode, _)) => Some((gate, mode)),
            _ => None,
        }
    }

    /// The format of the status page, where there is one.
    pub fn status(&self) -> Option<Choice> {
        self.status.as_ref().map(|status| status.choice)
    }

    /// True if the backend gets `X-Authgear-*`.
    pub fn pass_headers(&self) -> bool {
        self.pass_headers.unwrap_or(true)
    }

    /// True if the caller is identified before the limits.
    pub fn early(&self) -> bool {
        self.early.unwrap_or(false)
    }

    /// True if a browser that would get a 401 is sent to the login.
    pub fn login(&self) -> bool {
        self.login.unwrap_or(false)
    }

    /// True if a response ends when its token expires or its user is revoked.
    pub fn close_expired(&self) -> bool {
        self.close_expired.unwrap_or(false)
    }

    /// True if a CORS preflight needs no credential.
    pub fn bypass_preflight(&self) -> bool {
        self.bypass_preflight.unwrap_or(false)
    }

    /// The places of a token instead of the `Authorization` header; empty for that header.
    pub fn tokens(&self) -> &[ComplexValue] {
        self.tokens.as_deref().unwrap_or_default()
    }

    /// The audiences that replace the project's; `None` when the project's stand.
    pub fn audience(&self) -> Option<&[Box<str>]> {
        self.audience.as_deref().filter(|list| !list.is_empty())
    }

    /// The conditions of `authgear_require`.
    pub fn requires(&self) -> &[Require] {
        self.requires.as_deref().unwrap_or_default()
    }

    /// True if every caller who is known may pass.
    pub fn asks_nothing(&self) -> bool {
        !self.asks
    }

    /// The requirements for the caller's roles, scope and log-in.
    pub fn requirements(&self) -> Requirements<'_> {
        Requirements {
            roles: self.roles.as_deref().unwrap_or_default(),
            scopes: self.scopes.as_deref().unwrap_or_default(),
            auth_age: self.auth_age.and_then(OrOff::on),
        }
    }

    /// The path of the claim behind a variable of `authgear_claim_set`.
    pub fn claim_path(&self, variable: ngx_uint_t) -> Option<&[Box<str>]> {
        let claims = self.claims.as_deref().unwrap_or_default();
        let claim = claims.iter().find(|claim| claim.variable == variable)?;
        Some(&claim.path)
    }

    /// The realm of challenges, unless it is the project's name.
    pub fn realm(&self) -> Option<&str> {
        Some(self.realm.as_ref()?.as_on()?)
    }

    /// The URL of the resource's metadata (RFC 9728).
    pub fn resource_metadata(&self) -> Option<&str> {
        Some(self.metadata.as_ref()?.as_on()?)
    }
}

fn mode_of(name: &str) -> Option<Mode> {
    Mode::ALL.into_iter().find(|mode| mode.as_str() == name)
}

/// Index of the project that the directive at `place` names.
fn find_project(cf: &Conf, directive: &str, name: &str, place: &Place) -> Result<usize, Failed> {
    cf.main_conf().project(name).ok_or_else(|| {
        cf.emerg_at(
            place,
            format_args!(
                "\"{directive}\" names no project \"{name}\"; \
                 add \"authgear_project {name} {{ endpoint https://...; }}\" \
                 to the http block"
            ),
        );
        Failed
    })
}
