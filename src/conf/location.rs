//! `authgear_verify` and what else stands at any level.

use super::{flag, Mistake};
use crate::nginx::{ComplexValue, Conf, Failed, Place};

/// What is asked of a request that `authgear_verify` covers.
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
    Gate(Gate, Mode),
}

/// The `http`, `server`, `location`, `if` and `limit_except` levels.
#[derive(Debug, Default)]
pub struct LocationConf {
    verify: Option<Verify>,
    pass_headers: Option<bool>,
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
        self.verify = Some(if target.contains('$') {
            Verify::Gate(Gate::Variable(cf.complex_value(target)?), mode)
        } else {
            Verify::Named(target.to_string(), mode, cf.place())
        });
        Ok(())
    }

    /// Reads `authgear_pass_headers`'s parameter.
    pub fn set_pass_headers(&mut self, words: &[&str]) -> Result<(), Mistake> {
        if self.pass_headers.is_some() {
            return Err("is duplicate".into());
        }
        self.pass_headers = Some(flag(words)?);
        Ok(())
    }

    /// Inherits what this level leaves unsaid, and finds the projects that are named.
    pub fn merge(&mut self, prev: &Self, cf: &Conf) -> Result<(), Failed> {
        if self.verify.is_none() {
            self.verify.clone_from(&prev.verify);
        }
        if let Some(Verify::Named(name, mode, place)) = &self.verify {
            let index = find_project(cf, name, place)?;
            self.verify = Some(Verify::Gate(Gate::Project(index), *mode));
        }
        self.pass_headers = self.pass_headers.or(prev.pass_headers);
        Ok(())
    }

    /// Checks what stands at a level that nobody may inherit from.
    pub fn check(&self, cf: &Conf) -> Result<(), Failed> {
        match &self.verify {
            Some(Verify::Named(name, _, place)) => find_project(cf, name, place).map(drop),
            _ => Ok(()),
        }
    }

    /// Who guards this location, and how strictly; `None` when nobody does.
    pub fn gate(&self) -> Option<(Gate, Mode)> {
        match self.verify {
            Some(Verify::Gate(gate, mode)) => Some((gate, mode)),
            _ => None,
        }
    }

    /// Whether the backend gets `X-Authgear-*`.
    pub fn pass_headers(&self) -> bool {
        self.pass_headers.unwrap_or(true)
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
