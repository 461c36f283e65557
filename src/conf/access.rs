//! The module's configuration, as methods of a request and of a configuration context.
//!
//! They stand here and not in `nginx/`, which knows nothing of this module.

use nginx_sys::{ngx_http_conf_ctx_t, ngx_http_request_t};
use ngx::http::{HttpModule, HttpModuleLocationConf, HttpModuleMainConf, HttpModuleServerConf};

use super::location::LocationConf;
use super::module::AuthgearModule;
use super::{MainConf, ServerConf};
use crate::nginx::{Conf, Request};

// SAFETY: `create_main_conf` allocates this type for this module.
unsafe impl HttpModuleMainConf for AuthgearModule {
    type MainConf = MainConf;
}

// SAFETY: `create_srv_conf` allocates this type for this module.
unsafe impl HttpModuleServerConf for AuthgearModule {
    type ServerConf = ServerConf;
}

// SAFETY: `create_loc_conf` allocates this type for this module.
unsafe impl HttpModuleLocationConf for AuthgearModule {
    type LocationConf = LocationConf;
}

/// nginx makes the module's structures for every level before it reads a directive.
const MADE: &str = "nginx makes the configuration of every module";

impl Request {
    /// This module's configuration of the request's location.
    pub fn location(&self) -> &LocationConf {
        AuthgearModule::location_conf(raw(self)).expect(MADE)
    }

    /// This module's configuration of the `http` block.
    pub fn main_conf(&self) -> &MainConf {
        AuthgearModule::main_conf(raw(self)).expect(MADE)
    }

    /// This module's configuration of the request's server.
    pub fn server(&self) -> &ServerConf {
        AuthgearModule::server_conf(raw(self)).expect(MADE)
    }
}

fn raw(r: &Request) -> &ngx_http_request_t {
    // SAFETY: the request is live, and nothing changes it while its configuration is looked up.
    unsafe { &*r.raw() }
}

impl Conf {
    /// This module's configuration of the `http` block.
    pub fn main_conf(&self) -> &MainConf {
        // SAFETY: the context is live.
        AuthgearModule::main_conf(unsafe { &*self.raw() }).expect(MADE)
    }

    /// The server whose configuration, or whose location's, is being merged.
    pub fn server(&self) -> &ServerConf {
        // SAFETY: while nginx merges, the context's `ctx` is that of the level being merged, which
        // holds a structure for each module.
        unsafe {
            let levels = (*self.raw()).ctx.cast::<ngx_http_conf_ctx_t>();
            &*(*(*levels).srv_conf.add(AuthgearModule::module().ctx_index)).cast()
        }
    }

    /// This module's configuration of the `http` block as a location of its own.
    pub fn http_level(&self) -> &LocationConf {
        // SAFETY: the context is live, and that of the `http` block.
        AuthgearModule::location_conf(unsafe { &*self.raw() }).expect(MADE)
    }
}
