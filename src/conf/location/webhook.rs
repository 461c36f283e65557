//! `authgear_webhook`.

use super::{find_project, inherit, LocationConf, Verify};
use crate::conf::mistake::Mistake;
use crate::nginx::{Conf, Failed};

impl LocationConf {
    /// Reads `authgear_webhook`'s project, and makes the location receive its webhooks.
    pub(super) fn set_webhook(&mut self, cf: &Conf, words: &[&str]) -> Result<(), Mistake> {
        if self.webhook.is_some() {
            return Err("is duplicate".into());
        }
        if cf.is_answered() {
            return Err(OTHER_HANDLER.into());
        }
        let handler = cf.main_conf().webhook_handler().ok_or(Failed)?;
        cf.set_content_handler(handler);
        self.webhook = Some((words[0].to_string(), cf.place()));
        Ok(())
    }

    /// Finds the project of `authgear_webhook`, and switches verification off there. `verifies_here`: this
    /// very level has `authgear_verify` with a project.
    pub(super) fn merge_webhook(
        &mut self,
        prev: &Self,
        cf: &Conf,
        verifies_here: bool,
    ) -> Result<(), Failed> {
        if let Some((name, place)) = &self.webhook {
            let index = find_project(cf, "authgear_webhook", name, place)?;
            let handler = cf.main_conf().webhook_handler().ok_or(Failed)?;
            if !cf.has_content_handler(handler) {
                cf.emerg_at(place, format_args!("\"authgear_webhook\" {OTHER_HANDLER}"));
                return Err(Failed);
            }
            if cf.main_conf().projects[index].webhook_secrets.is_none() {
                cf.emerg_at(
                    place,
                    format_args!(
                        "\"authgear_webhook\" names the project \"{name}\", which has no \
                         \"webhook_secret_file\"; add it, with the secret that the portal shows"
                    ),
                );
                return Err(Failed);
            }
            self.webhook_of = Some(index);
        } else if cf.location().name.is_none() {
            // An `if` or a `limit_except` in the location.
            inherit(&mut self.webhook_of, &prev.webhook_of);
        }
        if self.webhook_of.is_none() {
            return Ok(());
        }
        match &self.verify {
            Some(Verify::Gate(_, _, place) | Verify::Named(_, _, place)) if verifies_here => {
                cf.emerg_at(
                    place,
                    format_args!(
                        "\"authgear_verify\" stands beside \"authgear_webhook\", but Authgear sends no \
                         token; remove it"
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
        self.webhook_of
    }
}

const OTHER_HANDLER: &str = "stands beside another directive that answers requests, such as \
                             \"proxy_pass\"; give it a location of its own";
