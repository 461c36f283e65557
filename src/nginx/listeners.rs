//! The addresses on which servers listen, while the configuration is read.

use core::ffi::c_void;
use core::slice;

use nginx_sys::{
    ngx_array_t, ngx_http_conf_addr_t, ngx_http_conf_port_t, ngx_http_core_srv_conf_t, sockaddr,
};
use ngx::http::{HttpModuleMainConf, NgxHttpCoreModule};

use super::conf::Conf;

/// A server. It is compared, never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerAt(pub(super) *const c_void);

impl Conf {
    /// True when others than the processes of this machine can connect to a server. All servers have been
    /// read.
    pub fn is_exposed(&self, server: ServerAt) -> bool {
        let Some(core) = NgxHttpCoreModule::main_conf(self.get()) else {
            return false;
        };
        // SAFETY: the core module's list of ports, or null, and all that hangs on it lives as long as the
        // configuration; nothing changes it now.
        unsafe {
            let Some(ports) = core.ports.as_ref() else {
                return false;
            };
            let addresses = elements::<ngx_http_conf_port_t>(ports)
                .iter()
                .flat_map(|port| elements::<ngx_http_conf_addr_t>(&port.addrs));
            addresses
                .filter(|address| !is_of_this_machine(address.opt.sockaddr))
                .flat_map(|address| elements::<*const ngx_http_core_srv_conf_t>(&address.servers))
                .any(|listening| ServerAt(listening.cast()) == server)
        }
    }
}

/// # Safety
///
/// The array must be zeroed, or hold elements of that type.
unsafe fn elements<T>(array: &ngx_array_t) -> &[T] {
    if array.nelts == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for the array.
    unsafe { slice::from_raw_parts(array.elts.cast(), array.nelts) }
}

/// True for loopback and a Unix socket.
///
/// # Safety
///
/// The address must be one of the family that it says.
unsafe fn is_of_this_machine(address: *const sockaddr) -> bool {
    // SAFETY: the caller vouches for the address.
    unsafe {
        match i32::from((*address.cast::<libc::sockaddr>()).sa_family) {
            libc::AF_INET => {
                let address = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                core::net::Ipv4Addr::from(address.to_ne_bytes()).is_loopback()
            }
            libc::AF_INET6 => {
                let address = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                core::net::Ipv6Addr::from(address).is_loopback()
            }
            family => family == libc::AF_UNIX,
        }
    }
}
