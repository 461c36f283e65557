//! `authgear_webhook` and `authgear_login_callback`: locations that receive what Authgear sends.

use super::received::{Receiver, Receives};
use super::{find_project, LocationConf, Verify};
use crate::conf::mistake::Mistake;
use crate::nginx::{Conf, Failed};

impl LocationConf {
    /// Reads a directive's project, and makes the location receive what is sent for it.
    pub(super) fn set_receiver(
        &mut self,
        cf: &Conf,
        kind: Receives,
        project: &str,
    ) -> Result<(), Mistake> {
        if self.receiver.as_ref().is_some_and(|own| own.kind == kind) {
            return Err("is duplicate".into());
        }
        if cf.is_answered() {
            return Err(OTHER_HANDLER.into());
        }
        cf.set_content_handler(cf.main_conf().receiver(kind).ok_or(Failed)?);
        self.receiver = Some(Receiver {
            kind,
            project: project.to_string(),
            place: cf.place(),
        });
        Ok(())
    }

    /// Finds the project for which the location receives, and switches verification off there.
    /// `verifies_here`: this very level has `authgear_verify` with a project.
    pub(super) fn merge_receiver(
        &mut self,
        prev: &Self,
        cf: &Conf,
        verifies_here: bool,
    ) -> Result<(), Failed> {
        if cf.location().name.is_none() && self.receiver.is_none() {
            // An `if` or a `limit_except` in the location, the latter with no handler of its own.
            self.receiver.clone_from(&prev.receiver);
            if let (Some(receiver), false) = (&self.receiver, cf.is_answered()) {
                let handler = cf.main_conf().receiver(receiver.kind).ok_or(Failed)?;
                cf.set_content_handler(handler);
            }
        }
        let Some(receiver) = &self.receiver else {
            return Ok(());
        };
        let kind = receiver.kind;
        self.receives = Some((kind, receiver.find(cf)?));
        if kind == Receives::Webhooks {
            // One could turn a refusal into a success, which Authgear would believe. nginx refuses a length
            // before any handler.
            cf.drop_error_pages();
        }
        match &self.verify {
            Some(Verify::Gate(_, _, place) | Verify::Named(_, _, place)) if verifies_here => {
                let why = match kind {
                    Receives::Webhooks => "but Authgear sends no token",
                    Receives::Browsers => "where a login ends and no session can be asked for",
                };
                cf.emerg_at(
                    place,
                    format_args!(
                        "\"authgear_verify\" stands beside \"{}\", {why}; remove it",
                        kind.directive()
                    ),
                );
                Err(Failed)
            }
            _ => {
                self.verify = Some(Verify::Off);
                Ok(())
            }
        }
    }

    /// The project whose webhooks are received here.
    pub fn webhook(&self) -> Option<usize> {
        self.receives_for(Receives::Webhooks)
    }

    /// The project whose logins end here.
    pub fn login_callback(&self) -> Option<usize> {
        self.receives_for(Receives::Browsers)
    }

    fn receives_for(&self, wanted: Receives) -> Option<usize> {
        let (kind, index) = self.receives?;
        (kind == wanted).then_some(index)
    }
}

impl Receiver {
    /// The index of the project, which must have what it takes to receive.
    fn find(&self, cf: &Conf) -> Result<usize, Failed> {
        let (main, directive, name) = (cf.main_conf(), self.kind.directive(), &self.project);
        let index = find_project(cf, directive, name, &self.place)?;
        let handler = main.receiver(self.kind).ok_or(Failed)?;
        if !cf.has_content_handler(handler) {
            cf.emerg_at(&self.place, format_args!("\"{directive}\" {OTHER_HANDLER}"));
            return Err(Failed);
        }
        let project = &main.projects[index];
        let missing = match self.kind {
            Receives::Webhooks if project.webhook_secrets.is_none() => {
                "no \"webhook_secret_file\"; add it, with the secret that the portal shows"
            }
            Receives::Browsers if project.login.is_none() => {
                "no \"login\"; add \"login client_id=... callback=https://...;\" to it"
            }
            Receives::Webhooks => return Ok(index),
            Receives::Browsers => {
                main.note_callback(index);
                self.check_path(cf, index);
                return Ok(index);
            }
        };
        cf.emerg_at(
            &self.place,
            format_args!("\"{directive}\" names the project \"{name}\", which has {missing}"),
        );
        Err(Failed)
    }

    /// Warns of a callback to which browsers come somewhere else.
    fn check_path(&self, cf: &Conf, index: usize) {
        let project = &cf.main_conf().projects[index];
        let (Some(login), Some(location)) = (&project.login, cf.location().name) else {
            return;
        };
        let path = login.callback_path();
        let mut parts = path.split('/');
        if path.contains('%') || path.contains("//") || parts.any(|part| matches!(part, "." | ".."))
        {
            // nginx looks for the location of another path, decoded and normalised.
            return;
        }
        // The name of another one is a regular expression.
        if location.starts_with('/') && !path.starts_with(&*location) {
            cf.warn_at(
                &self.place,
                format_args!(
                    "\"authgear_login_callback\" is in location \"{location}\", but the \"callback\" of \
                     the project \"{}\" is \"{path}\"; write \"location = {path}\"",
                    self.project
                ),
            );
        }
    }
}

const OTHER_HANDLER: &str = "stands beside another directive that answers requests, such as \
                             \"proxy_pass\"; give it a location of its own";
