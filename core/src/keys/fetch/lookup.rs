//! Name look-up under the deadline, whose failures can be told from others.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::Error;

use super::race::interleave;
use super::stage::Stage;

/// The most addresses of a host that are tried: all that ureq's list holds.
const MAX_ADDRESSES: usize = 16;

/// The system's resolver.
#[derive(Debug)]
pub(super) struct LookUp;

impl Resolver for LookUp {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let name = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
            .ok_or(Error::HostNotFound)?;
        let mut found = self.empty();
        if let Ok(address) = name.parse() {
            found.push(address);
            return Ok(found);
        }
        let addresses = look_up(name, timeout).map_err(|error| Stage::LookUp.tag(error))?;
        for address in interleave(addresses).into_iter().take(MAX_ADDRESSES) {
            found.push(address);
        }
        Ok(found)
    }
}

fn look_up(name: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, Error> {
    // The system's look-up cannot be interrupted: past the deadline its thread is left behind, and
    // ends when the system gives up.
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("authgear-lookup".into())
        .spawn(move || {
            // Nobody listens any more past the deadline.
            let _ = sender.send(name.to_socket_addrs());
        })
        .map_err(Error::Io)?;
    match receiver.recv_timeout(*timeout.after) {
        Ok(addresses) => {
            let addresses: Vec<SocketAddr> = addresses.map_err(Error::Io)?.collect();
            if addresses.is_empty() {
                return Err(Error::HostNotFound);
            }
            Ok(addresses)
        }
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
        Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
    }
}
