//! The directives of every level: `authgear_verify`, and the requirements for its callers.

use authgear_core::policy::{Requirements, TokenKind};
use nginx_sys::ngx_uint_t;

use super::value::{flag, set};
use super::Mistake;
use crate::nginx::{ComplexValue, Conf, Failed, LocationAt, Place};

mod setters;
mod warnings;

pub use setters::{ClaimSet, Require};

/// The mode of a request that `authgear_verify` covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No valid credential, no entry.
    Required,
    /// No credential passes as anonymous, a bad one is refused.
    Optional,
    /// Nothing is refused.
    Observe,
}

impl Mode {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "required" => Some(Self::Required),
            "optional" => Some(Self::Optional),
            "observe" => Some(Self::Observe),
            _ => None,
        }
    }
}

/// Which project guards a location.
#[derive(Debug, Clone, Copy)]
pub enum Gate {
    /// The project of that index.
    Project(usize),
    /// The project whose name the value gives for each request.
    Variable(ComplexValue),
}

#[derive(Debug, Clone)]
enum Verify {
    Off,
    /// By name, resolved when the configuration is complete.
    Named(String, Mode, Place),
    Gate(Gate, Mode, Place),
}

/// The `http`, `server`, `location`, `if` and `limit_except` levels. `None` is what a level leaves
/// unsaid and inherits; an empty list is `off`.
#[derive(Debug, Default)]
pub struct LocationConf {
    verify: Option<Verify>,
    pass_headers: Option<bool>,
    bypass_preflight: Option<bool>,
    tokens: Option<Vec<ComplexValue>>,
    audience: Option<Vec<Box<str>>>,
    requires: Option<Vec<Require>>,
    roles: Option<Vec<Box<str>>>,
    scopes: Option<Vec<Box<str>>>,
    auth_age: Option<Option<u64>>,
    claims: Option<Vec<ClaimSet>>,
    realm: Option<Option<Box<str>>>,
    resource_metadata: Option<Option<Box<str>>>,
    /// The first requirement of this level, or the next above that has one: its directive, and
    /// where that stands.
    requirement: Option<(&'static str, Place)>,
    /// Whether anything is asked of callers who are known.
    asks: bool,
}

impl LocationConf {
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
        if mode.is_none() && Mode::from_name(target).is_some() {
            return Err(format!(
                "has a mode but no project; write \"authgear_verify myapp {target};\""
            )
            .into());
        }
        let mode = match mode {
            None => Mode::Required,
            Some(name) => Mode::from_name(name).ok_or_else(|| {
                format!(
                    "has an unknown mode \"{name}\"; \
                     it must be \"required\", \"optional\" or \"observe\""
                )
            })?,
        };
        if mode == Mode::Observe {
            cf.main_conf().zone.keep_counters();
        }
        self.verify = Some(if target.contains('$') {
            Verify::Gate(Gate::Variable(cf.complex_value(target)?), mode, cf.place())
        } else {
            Verify::Named(target.to_string(), mode, cf.place())
        });
        Ok(())
    }

    /// Reads `authgear_pass_headers`'s parameter.
    pub fn set_pass_headers(&mut self, _: &Conf, words: &[&str]) -> Result<(), Mistake> {
        let value = flag(words)?;
        set(&mut self.pass_headers, value)
    }

    /// Reads `authgear_bypass_preflight`'s parameter.
    pub fn set_bypass_preflight(&mut self, _: &Conf, words: &[&str]) -> Result<(), Mistake> {
        let value = flag(words)?;
        set(&mut self.bypass_preflight, value)
    }

    /// Inherits what this level leaves unsaid, finds the projects that are named, and looks at
    /// what nginx would do before or without this module.
    pub fn merge(&mut self, prev: &Self, cf: &Conf) -> Result<(), Failed> {
        fn inherit<T: Clone>(here: &mut Option<T>, above: &Option<T>) {
            if here.is_none() {
                here.clone_from(above);
            }
        }
        inherit(&mut self.verify, &prev.verify);
        if let Some(Verify::Named(name, mode, place)) = &self.verify {
            let index = find_project(cf, name, place)?;
            self.verify = Some(Verify::Gate(Gate::Project(index), *mode, place.clone()));
        }
        if self.gate().is_some() {
            cf.server().set_verifies();
        }
        inherit(&mut self.pass_headers, &prev.pass_headers);
        inherit(&mut self.bypass_preflight, &prev.bypass_preflight);
        inherit(&mut self.tokens, &prev.tokens);
        inherit(&mut self.audience, &prev.audience);
        inherit(&mut self.requires, &prev.requires);
        inherit(&mut self.roles, &prev.roles);
        inherit(&mut self.scopes, &prev.scopes);
        inherit(&mut self.auth_age, &prev.auth_age);
        inherit(&mut self.claims, &prev.claims);
        inherit(&mut self.realm, &prev.realm);
        inherit(&mut self.resource_metadata, &prev.resource_metadata);
        self.asks = !self.requires().is_empty() || !self.requirements().is_empty();
        let location = cf.location();
        self.check_place(cf, &location)?;
        inherit(&mut self.requirement, &prev.requirement);
        self.warn_of_nobody(cf, &location);
        Ok(())
    }

    /// Looks at what this very level says.
    fn check_place(&self, cf: &Conf, location: &LocationAt) -> Result<(), Failed> {
        warnings::look_at_resolver(cf, location);
        match (&self.verify, &self.requirement) {
            (Some(Verify::Gate(gate, _, place)), _) => self.check_kind(cf, *gate, place),
            (_, Some((directive, place))) if location.is_leaf => {
                cf.emerg_at(
                    place,
                    format_args!(
                        "\"{directive}\" is never asked, since nobody is verified here; \
                         add \"authgear_verify myapp;\""
                    ),
                );
                Err(Failed)
            }
            _ => Ok(()),
        }
    }

    /// Refuses to ask clients for what only users have.
    fn check_kind(&self, cf: &Conf, gate: Gate, verify: &Place) -> Result<(), Failed> {
        let Gate::Project(index) = gate else {
            return Ok(());
        };
        let project = &cf.main_conf().projects[index];
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
                "\"{directive}\" is not asked in location \"{name}\", since nobody is verified \
                 there; add \"authgear_verify myapp;\", or \"authgear_verify off;\" if that is meant"
            ),
        );
    }

    /// Checks what stands at a level that nobody may inherit from.
    pub fn check(&self, cf: &Conf) -> Result<(), Failed> {
        match &self.verify {
            Some(Verify::Named(name, _, place)) => find_project(cf, name, place).map(drop),
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

    /// Tells whether the backend gets `X-Authgear-*`.
    pub fn pass_headers(&self) -> bool {
        self.pass_headers.unwrap_or(true)
    }

    /// Tells whether a CORS preflight needs no credential.
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

    /// Tells whether every caller who is known may pass.
    pub fn asks_nothing(&self) -> bool {
        !self.asks
    }

    /// The requirements for the caller's roles, scope and log-in.
    pub fn requirements(&self) -> Requirements<'_> {
        Requirements {
            roles: self.roles.as_deref().unwrap_or_default(),
            scopes: self.scopes.as_deref().unwrap_or_default(),
            auth_age: self.auth_age.flatten(),
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
        self.realm.as_ref()?.as_deref()
    }

    /// The URL of the resource's metadata (RFC 9728).
    pub fn resource_metadata(&self) -> Option<&str> {
        self.resource_metadata.as_ref()?.as_deref()
    }
}

/// Index of the project that the directive at `place` names.
fn find_project(cf: &Conf, name: &str, place: &Place) -> Result<usize, Failed> {
    cf.main_conf().project(name).ok_or_else(|| {
        cf.emerg_at(
            place,
            format_args!(
                "\"authgear_verify\" names no project \"{name}\"; \
                 add \"authgear_project {name} {{ endpoint https://...; }}\" \
                 to the http block"
            ),
        );
        Failed
    })
}
