//! `authgear_shared_zone`.

use core::ptr;
use std::rc::Rc;

use authgear_tables::judgements::Dimensions;
use nginx_sys::{ngx_parse_size, ngx_str_t};
use ngx::http::HttpModule;

use super::mistake::Mistake;
use crate::nginx::{Conf, Failed};
use crate::shm::{SharedZone, ZoneSetup};

const DEFAULT_NAME: &str = "authgear";
const DEFAULT_SIZE: usize = 32 << 20;
/// Below this not even one key set of the largest size would be sure of a place.
const LEAST_SIZE: usize = 512 << 10;

/// The shared memory zone that holds keys, judgements and counters.
#[derive(Debug, Default)]
pub struct ZoneConf {
    named: Option<(String, usize)>,
    /// In memory of its own: nginx has a pointer to it, while this structure is borrowed mutably.
    setup: Rc<ZoneSetup>,
}

impl ZoneConf {
    /// Reads `zone=name:size`.
    pub fn configure(&mut self, cf: &Conf, parameter: &str) -> Result<(), Mistake> {
        const FORM: &str = "write \"authgear_shared_zone zone=authgear:32m;\"";
        if self.named.is_some() {
            return Err("is duplicate; one zone serves all projects".into());
        }
        let Some(zone) = parameter.strip_prefix("zone=") else {
            return Err(format!("has an invalid parameter \"{parameter}\"; {FORM}").into());
        };
        let Some((name, size)) = zone.split_once(':') else {
            return Err(format!("has no size in \"{parameter}\"; {FORM}").into());
        };
        if name.is_empty() {
            return Err(format!("has no name in \"{parameter}\"; {FORM}").into());
        }
        let mut text = ngx_str_t {
            len: size.len(),
            data: size.as_ptr().cast_mut(),
        };
        // SAFETY: ngx_parse_size only reads the text.
        let bytes = unsafe { ngx_parse_size(&mut text) };
        let Some(bytes) = usize::try_from(bytes).ok().filter(|_| !size.is_empty()) else {
            return Err(format!("has an invalid size \"{size}\"; {FORM}").into());
        };
        if bytes < LEAST_SIZE {
            let [least, default] =
                [LEAST_SIZE, DEFAULT_SIZE].map(|size| Dimensions::in_zone(size).judgements());
            return Err(format!(
                "zone \"{name}\" is too small with {size}; the least is 512k, which holds {least} \
                 tokens and sessions; 32m, the default, holds {default}"
            )
            .into());
        }
        self.named = Some((name.to_string(), bytes));
        self.create(cf).map_err(Mistake::from)
    }

    /// Asks nginx for the zone, once.
    pub fn create(&self, cf: &Conf) -> Result<(), Failed> {
        if self.setup.is_added() {
            return Ok(());
        }
        let tag = ptr::from_ref(super::AuthgearModule::module())
            .cast_mut()
            .cast();
        let (name, size) = match &self.named {
            Some((name, size)) => (name.as_str(), *size),
            None if cf.is_zone_taken(DEFAULT_NAME, tag) => {
                cf.emerg_nowhere(format_args!(
                    "the zone \"{DEFAULT_NAME}\" is another module's; name one with \
                     \"authgear_shared_zone zone=authgear_other:32m;\""
                ));
                return Err(Failed);
            }
            None => (DEFAULT_NAME, DEFAULT_SIZE),
        };
        // SAFETY: the setup has memory of its own, which lives as long as the configuration.
        unsafe { self.setup.add(cf, name, size, tag) }
    }

    /// Makes room for the counters of a project.
    pub fn count_project(&self, project: u64) {
        self.setup.count_project(project);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let named = self.named.as_ref();
        named.map_or(DEFAULT_NAME, |(name, _)| name)
    }

    /// Makes room for revocations in the zone.
    pub fn keep_revocations(&self) {
        self.setup.keep_revocations();
    }

    /// True when the zone has a table of revocations that no configuration before had.
    pub fn has_new_revocations(&self) -> bool {
        self.setup.has_new_revocations()
    }

    /// The zone, once nginx has mapped it.
    pub fn zone(&self) -> Option<SharedZone> {
        self.setup.zone()
    }
}
