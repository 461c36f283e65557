//! The client's address.

use super::request::Request;

impl Request {
    /// The network that counts as one client: an IPv4 address, the /64 of an IPv6 address (one that holds an IPv4
    /// address is that), or all clients of Unix sockets. It is the address that the realip module sets, once it
    /// has run.
    pub fn client_network(&self) -> [u8; 9] {
        let mut network = [0; 9];
        let address = self.get().connection;
        // SAFETY: a live request has a connection, and that the address of its client, of the family that it
        // says.
        unsafe {
            let address = (*address).sockaddr;
            if address.is_null() {
                return network;
            }
            match i32::from((*address.cast::<libc::sockaddr>()).sa_family) {
                libc::AF_INET => {
                    let address = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                    network[0] = 4;
                    network[1..5].copy_from_slice(&address.to_ne_bytes());
                }
                libc::AF_INET6 => {
                    let address = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                    match core::net::Ipv6Addr::from(address).to_ipv4_mapped() {
                        Some(inner) => {
                            network[0] = 4;
                            network[1..5].copy_from_slice(&inner.octets());
                        }
                        None => {
                            network[0] = 6;
                            network[1..].copy_from_slice(&address[..8]);
                        }
                    }
                }
                _ => {}
            }
        }
        network
    }
}
