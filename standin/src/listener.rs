//! The public listeners, and the gate that closes and reopens them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::public::{self, Port};
use crate::standin::Standin;

const BACKLOG: u32 = 1024;

/// Opens and closes the public listeners.
pub struct Gate {
    open: watch::Sender<bool>,
    closed: watch::Sender<usize>,
    listeners: usize,
    epoch: AtomicU64,
}

impl Gate {
    /// An open gate for this many listeners.
    pub fn new(listeners: usize) -> Arc<Self> {
        let (open, closed) = (watch::Sender::new(true), watch::Sender::new(0));
        Arc::new(Self {
            open,
            closed,
            listeners,
            epoch: AtomicU64::new(0),
        })
    }

    /// Stops listening and ends every connection, for `time` or until [`Gate::back`]. Returns
    /// when that is done: from then on connections are refused.
    pub async fn gone(self: &Arc<Self>, time: Option<Duration>) {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        self.open.send_replace(false);
        self.until_closed(self.listeners).await;
        if let Some(time) = time {
            let gate = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                if gate.epoch.load(Ordering::SeqCst) == epoch {
                    gate.open.send_replace(true);
                }
            });
        }
    }

    /// Listens again, on the same ports. Returns when that is done.
    pub async fn back(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.open.send_replace(true);
        self.until_closed(0).await;
    }

    async fn until_closed(&self, number: usize) {
        // The sender lives in `self`, so the channel cannot end.
        let _ = self
            .closed
            .subscribe()
            .wait_for(|closed| *closed == number)
            .await;
    }
}

/// Serves what a port has to serve; on the ingress' listener over TLS.
///
/// # Errors
///
/// Any error of listening again after the gate was closed.
pub async fn run(
    standin: Arc<Standin>,
    mut listener: TcpListener,
    port: Port,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let gate = Arc::clone(&standin.gate);
    let mut open = gate.open.subscribe();
    loop {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(Arc::clone(&standin), stream, port, tls.clone()));
                    }
                    // Out of descriptors, or gone already.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                },
                Some(_) = connections.join_next() => {}
                true = until(&mut open, false) => break,
            }
        }
        drop(listener);
        connections.shutdown().await;
        // Bound but not listening: nobody else gets the port and connections are refused.
        let socket = bind(address)?;
        gate.closed.send_modify(|closed| *closed += 1);
        if !until(&mut open, true).await {
            return Ok(());
        }
        listener = socket.listen(BACKLOG)?;
        gate.closed.send_modify(|closed| *closed -= 1);
    }
}

/// Waits for the gate; false when there is none any more.
async fn until(open: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    open.wait_for(|open| *open == wanted).await.is_ok()
}

/// A socket bound to the address.
///
/// # Errors
///
/// Any error of making or binding it.
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A listener on the address.
///
/// # Errors
///
/// Any error of [`bind`] or of listening.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

async fn connection(
    standin: Arc<Standin>,
    stream: TcpStream,
    port: Port,
    tls: Option<TlsAcceptor>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(standin, stream, port).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                http(standin, stream, port).await;
            }
        }
    }
}

/// A connection's end, right or wrong, is the client's affair.
async fn http<S>(standin: Arc<Standin>, stream: S, port: Port)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| public::answer(Arc::clone(&standin), request, port));
    let mut builder = http1::Builder::new();
    let _ = builder
        // An idle connection is kept for as long as the client wants it.
        .header_read_timeout(None)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
