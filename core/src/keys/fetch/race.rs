//! Connecting to the first of a host's addresses that answers (RFC 8305).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{connect, ipproto, socket_with, sockopt, AddressFamily, SocketFlags, SocketType};

/// The time that an address has alone before the next one is tried (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Orders addresses so that the families alternate, beginning with that of the first (RFC 8305,
/// section 4). Within a family the system's order stays.
pub(super) fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let all = addresses.len();
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(all);
    while ordered.len() < all {
        ordered.extend(one.next());
        ordered.extend(other.next());
    }
    ordered
}

/// Connects to the first address that answers. Each has a head start of 250 ms, or less where all of them
/// would not have their turn in half of the time; one that refuses gives its turn to the next at once.
///
/// # Errors
///
/// The last address's error when all have failed; `TimedOut` at the deadline.
pub(super) fn race(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let left = deadline.saturating_duration_since(Instant::now());
    let head_start = HEAD_START.min(left / (2 * addresses.len().max(1) as u32));
    let mut waiting = addresses.iter();
    let mut running: Vec<OwnedFd> = Vec::with_capacity(addresses.len());
    let mut next_start = Instant::now();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if now >= next_start || running.is_empty() {
            match waiting.next().map(start) {
                Some(Ok(socket)) => {
                    running.push(socket);
                    next_start = now + head_start;
                }
                Some(Err(error)) => {
                    failure = error;
                    continue;
                }
                None if running.is_empty() => return Err(failure),
                None => next_start = deadline,
            }
        }
        for index in ready(&running, next_start.min(deadline))?.into_iter().rev() {
            let socket = running.remove(index);
            match sockopt::socket_error(&socket)? {
                Ok(()) => return blocking(socket),
                Err(error) => {
                    failure = error.into();
                    next_start = now;
                }
            }
        }
    }
}

/// Begins to connect.
fn start(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// The sockets that are connected or have failed, at the latest at that time.
fn ready(sockets: &[OwnedFd], until: Instant) -> io::Result<Vec<usize>> {
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs() as _,
        tv_nsec: left.subsec_nanos() as _,
    };
    let mut polled: Vec<_> = sockets
        .iter()
        .map(|socket| PollFd::new(socket, PollFlags::OUT))
        .collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let events = polled.iter().map(PollFd::revents).enumerate();
    Ok(events
        .filter(|(_, events)| !events.is_empty())
        .map(|(index, _)| index)
        .collect())
}

fn blocking(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate() {
        let six = ["[::1]:1", "[::2]:1", "[::3]:1"];
        let all = [&six[..], &["1.1.1.1:1", "2.2.2.2:1"]].concat();
        assert_eq!(
            interleave(addresses(&all)),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"])
        );
        let four = ["1.1.1.1:1", "[::1]:1", "[::2]:1"];
        assert_eq!(interleave(addresses(&four)), addresses(&four));
        assert_eq!(interleave(addresses(&six)), addresses(&six));
        assert!(interleave(Vec::new()).is_empty());
    }

    #[test]
    fn addresses_that_refuse_give_way_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let stream = race(&[closed, closed, closed, closed, good], deadline).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = race(&[closed, closed], deadline).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        race(&[], deadline).unwrap_err();
    }

    /// A listener whose queue is full drops what comes, as a host that is gone does.
    #[test]
    fn an_address_that_answers_wins_over_those_that_drop_packets() {
        let dead: Vec<_> = (2..6)
            .map(|last| full_listener(&format!("127.0.0.{last}:0")))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let mut all: Vec<_> = dead.iter().map(|(_, address)| *address).collect();
        let late = race(&all, Instant::now() + Duration::from_millis(300)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        all.push(good);
        let stream = race(&all, Instant::now() + Duration::from_secs(5)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }

    /// Keeps the sockets that fill the queue.
    fn full_listener(address: &str) -> ((OwnedFd, Vec<OwnedFd>), SocketAddr) {
        use rustix::net::{bind, listen, socket};
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &address.parse::<SocketAddr>().unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        loop {
            let socket = start(&address).unwrap();
            let soon = Instant::now() + Duration::from_millis(200);
            let is_full = ready(std::slice::from_ref(&socket), soon)
                .unwrap()
                .is_empty();
            queued.push(socket);
            if is_full {
                return ((listener.into(), queued), address);
            }
        }
    }
}
