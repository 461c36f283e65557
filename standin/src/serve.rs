//! Starts the stand-in: folders, listeners, certificate, and the line that tells where it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::keys::KeyStore;
use crate::listener::{self, Gate};
use crate::origin::Origin;
use crate::public::Port;
use crate::standin::{Behaviour, Settings, Standin};
use crate::{control, tls};

/// Addresses and identity of the stand-in.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address of the public endpoints over plain HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Address of an ingress over TLS, in front of the public endpoints and the resolver; no TLS
    /// without it
    #[arg(long, value_name = "ADDR")]
    pub tls_listen: Option<SocketAddr>,
    /// Address of the resolver
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub resolver_listen: SocketAddr,
    /// Address of the control API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// Folder for CA certificates and keys, used again by the next start; by default a temporary
    /// one that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Public origin of the default project; by default where it listens
    #[arg(long, value_name = "URL")]
    pub origin: Option<Origin>,
    /// Authgear's http.cookie_prefix
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub cookie_prefix: String,
    /// Another name for the certificate; may be given more than once
    #[arg(long = "name", value_name = "HOST")]
    pub names: Vec<String>,
    /// Serve a project of its own for every other Host
    #[arg(long)]
    pub tenants: bool,
    /// Let the resolver say the amr of a session; the server of 2026-08 sends it empty
    #[arg(long)]
    pub amr: bool,
    /// Let the resolver take a token that was signed elsewhere with the project's key at its word
    #[arg(long)]
    pub foreign_tokens: bool,
}

/// Why the stand-in does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder cannot be used.
    #[error("cannot use the state folder: {0}")]
    State(io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Addresses of the stand-in, printed as one line of JSON.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Announcement {
    pub http: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_ca: Option<String>,
    pub resolver: String,
    pub control: String,
    pub origin: String,
}

/// A running stand-in; dropping it ends it.
pub struct Running {
    /// Its addresses.
    pub announcement: Announcement,
    tasks: JoinSet<io::Result<()>>,
    _folder: Option<tempfile::TempDir>,
}

impl Running {
    /// Waits for a listener to fail; while all is well it waits for ever.
    ///
    /// # Errors
    ///
    /// The failure.
    pub async fn failed(&mut self) -> io::Result<()> {
        match self.tasks.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }
}

/// Starts the stand-in.
///
/// # Errors
///
/// [`Error`] for whatever keeps it from that.
pub async fn start(options: Options) -> Result<Running, Error> {
    let (folder, temporary) = match options.state_dir {
        Some(folder) => (folder, None),
        None => {
            let prefix = "authgear-standin-";
            let temporary = tempfile::Builder::new().prefix(prefix).tempdir();
            let temporary = temporary.map_err(Error::State)?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let store = KeyStore::open(folder.join("keys")).map_err(Error::State)?;

    let (http, http_address) = listen(options.listen)?;
    let (resolver, resolver_address) = listen(options.resolver_listen)?;
    let (control, control_address) = listen(options.control)?;
    let mut announcement = Announcement {
        http: format!("http://{http_address}"),
        https: None,
        ca: None,
        other_ca: None,
        resolver: format!("http://{resolver_address}"),
        control: format!("http://{control_address}"),
        origin: format!("http://{http_address}"),
    };
    let mut tls = None;
    if let Some(address) = options.tls_listen {
        let acceptor = tls::acceptor(&folder, &options.names)?;
        let (listener, address) = listen(address)?;
        let https = format!("https://localhost:{}", address.port());
        let file = |name: &str| Some(folder.join(name).to_string_lossy().into_owned());
        announcement.origin.clone_from(&https);
        announcement.https = Some(https);
        announcement.ca = file("ca.pem");
        announcement.other_ca = file("other-ca.pem");
        tls = Some((listener, acceptor));
    }
    let own = Origin::new(
        tls.is_some(),
        announcement.origin.split('/').next_back().unwrap_or(""),
    );
    let origin = options.origin.unwrap_or(own);
    announcement.origin = origin.to_string();

    let settings = Settings {
        origin,
        cookie_prefix: options.cookie_prefix,
        tenants: options.tenants,
        tls: tls.is_some(),
        resolver: Behaviour {
            amr: options.amr,
            foreign_tokens: options.foreign_tokens,
        },
    };
    let gate = Gate::new(2 + usize::from(tls.is_some()));
    let standin = Arc::new(Standin::new(settings, store, gate));
    let mut tasks = JoinSet::new();
    let run = |listener, port, tls| listener::run(Arc::clone(&standin), listener, port, tls);
    tasks.spawn(run(http, Port::Main, None));
    tasks.spawn(run(resolver, Port::Resolver, None));
    if let Some((listener, acceptor)) = tls {
        tasks.spawn(run(listener, Port::Ingress, Some(acceptor)));
    }
    tasks.spawn(async move { axum::serve(control, control::router(standin)).await });
    Ok(Running {
        announcement,
        tasks,
        _folder: temporary,
    })
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = listener::listen(address).map_err(|error| Error::Listen(address, error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| Error::Listen(address, error))?;
    Ok((listener, bound))
}
