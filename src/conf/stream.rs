//! `authgear_revocation_stream`.

use std::sync::Arc;

use authgear_core::revocation::stream::Address;

use super::file;
use super::mistake::Mistake;
use super::value::plain;
use crate::nginx::{Conf, Failed, Place};

const FORM: &str = "write \"authgear_revocation_stream redis://127.0.0.1:6379;\"";

/// The stream that shares revocations between nodes.
#[derive(Debug, Default)]
pub struct StreamConf {
    place: Option<Place>,
    address: Option<Arc<Address>>,
}

impl StreamConf {
    /// Reads `redis://… [key=…] [credentials=…] [ca=…]`, or `off`.
    pub fn configure(&mut self, cf: &Conf, words: &[&str]) -> Result<(), Mistake> {
        if self.place.replace(cf.place()).is_some() {
            return Err("is duplicate; one stream serves all projects".into());
        }
        let [url, options @ ..] = words else {
            return Err(format!("has no address; {FORM}").into());
        };
        if *url == "off" {
            return match options {
                [] => Ok(()),
                _ => Err("is \"off\" and something else; remove one".into()),
            };
        }
        let (mut key, mut credentials, mut ca) = (None, None, None);
        for option in options {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let slot = match name {
                "key" => &mut key,
                "credentials" => &mut credentials,
                "ca" => &mut ca,
                _ => return Err(format!("has an unknown parameter \"{option}\"; it takes \"key=\", \"credentials=\" and \"ca=\"").into()),
            };
            if value.is_empty() || slot.replace(plain(value)?).is_some() {
                return Err(format!("has \"{name}=\" twice, or without a value; {FORM}").into());
            }
        }
        let read = |path: Option<&str>| path.map(|path| file::read(cf, path)).transpose();
        let (credentials, ca) = (read(credentials)?, read(ca)?);
        let credentials = credentials.as_ref().map(|(_, content)| &**content);
        let ca = ca.map(|(_, content)| content);
        let key = key.unwrap_or("authgear");
        let address =
            Address::parse(plain(url)?, key, credentials, ca).map_err(|error| error.to_string())?;
        self.address = Some(Arc::new(address));
        Ok(())
    }

    /// The stream, unless it is off.
    pub fn address(&self) -> Option<&Arc<Address>> {
        self.address.as_ref()
    }

    /// Refuses a stream with nothing to share, since no project receives webhooks.
    pub fn check_unused(&self, cf: &Conf) -> Result<(), Failed> {
        let (Some(_), Some(place)) = (&self.address, &self.place) else {
            return Ok(());
        };
        cf.emerg_at(
            place,
            "\"authgear_revocation_stream\" shares what webhooks tell, but no project has a \
             \"webhook_secret_file\"; add it, or remove the stream",
        );
        Err(Failed)
    }
}
