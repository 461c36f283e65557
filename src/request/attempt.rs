//! The inputs of one handler run, gathered once.

use core::ops::Deref;
use std::rc::Rc;

use nginx_sys::{ngx_int_t, NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_LOG_ERR};

use crate::conf::{Gate, NoTenant, Project};
use crate::keys::Tenant;
use crate::log::log_limited;
use crate::nginx::{borrowed_str, Request};
use crate::request::context::{ClientRequest, Context, Subject};
use crate::request::presented::{Presented, Unreadable};
use crate::worker;

/// The means that a judgement may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It may wait and ask the resolver.
    Full,
    /// It may wait, and ask the resolver as long as the client's address may: it precedes all limits.
    Early,
    /// Cached data only: a variable is read before the access phase.
    AtHand,
}

/// The inputs of one handler run.
pub struct Attempt<'r> {
    pub r: &'r Request,
    pub client: &'r ClientRequest,
    pub context: &'r Context,
    pub project: &'r Project,
    pub reach: Reach,
    pub presented: Result<Presented<'r>, Unreadable>,
    pub tenant: Result<Rc<Tenant>, NoTenant>,
}

/// An attempt whose credentials can be read and whose tenant is known.
pub struct Judge<'a, 'r> {
    pub attempt: &'a Attempt<'r>,
    pub presented: &'a Presented<'r>,
    pub tenant: &'a Rc<Tenant>,
}

impl<'r> Deref for Judge<'_, 'r> {
    type Target = Attempt<'r>;

    fn deref(&self) -> &Attempt<'r> {
        self.attempt
    }
}

impl<'r> Attempt<'r> {
    /// Reads the request's headers and evaluates the variables that decide about it, each once.
    pub fn new(
        r: &'r Request,
        (client, context): (&'r ClientRequest, &'r Context),
        project: &'r Project,
        reach: Reach,
    ) -> Self {
        Self {
            r,
            client,
            context,
            project,
            reach,
            presented: Presented::read(r, &project.cookies),
            tenant: project.tenant(r),
        }
    }

    /// True if the resolver may be asked. Of an early judgement the question counts from then on, until
    /// [`Context::slip`] is given back.
    pub fn may_ask(&self) -> bool {
        let slip = &self.context.slip;
        match self.reach {
            Reach::Full => true,
            Reach::AtHand => false,
            Reach::Early if slip.get().is_some() => true,
            Reach::Early => {
                slip.set(worker::take_early_question(&self.r.client_network()));
                slip.get().is_some()
            }
        }
    }

    /// The subject of the judgement, if its credentials can be read and its tenant is known.
    pub fn subject(&self) -> Option<Subject> {
        let token = self.presented.as_ref().ok()?.token;
        Some(Subject {
            tenant: self.tenant.as_ref().ok()?.id,
            token: token.map(borrowed_str),
        })
    }
}

impl Judge<'_, '_> {
    /// The audiences that this location accepts.
    pub fn audience(&self) -> &[Box<str>] {
        self.r
            .location()
            .audience()
            .unwrap_or(&self.tenant.audience)
    }
}

/// The project that guards the request; `None` when a variable switches it off.
pub fn project(r: &Request, gate: Gate) -> Result<Option<&Project>, ngx_int_t> {
    let projects = &r.main_conf().projects;
    match gate {
        Gate::Project(index) => Ok(Some(&projects[index])),
        Gate::Variable(value) => {
            let name = value.evaluate(r).map_err(|_| NGX_ERROR as ngx_int_t)?;
            if name.is_empty() || name == b"off" {
                return Ok(None);
            }
            let found = projects
                .iter()
                .find(|project| project.name.as_bytes() == name);
            if found.is_none() {
                let name: String = name.escape_ascii().take(128).map(char::from).collect();
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (0, "verify"),
                    format_args!(
                        "\"authgear_verify\" evaluates to \"{name}\", which is no project"
                    ),
                );
                return Err(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t);
            }
            Ok(found)
        }
    }
}
