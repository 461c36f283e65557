//! A server for one test: answers each connection once, as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{
    date_time_ymd, BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A server on loopback; it lives as long as the test binary.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Plain HTTP. The handler gets the request's head and writes the whole answer.
    pub fn http<F>(handler: F) -> Server
    where
        F: Fn(&str, &mut dyn Write) + Send + Sync + 'static,
    {
        Server::start(handler, |stream| Box::new(stream))
    }

    /// HTTPS.
    pub fn https<F>(config: Arc<ServerConfig>, handler: F) -> Server
    where
        F: Fn(&str, &mut dyn Write) + Send + Sync + 'static,
    {
        Server::start(handler, move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        })
    }

    /// Accepts connections and says nothing, ever.
    pub fn silent() -> Server {
        Server::start(
            |_, _| {},
            |stream| {
                std::mem::forget(stream);
                Box::new(std::io::Cursor::new(Vec::new()))
            },
        )
    }

    fn start<F, W>(handler: F, wrap: W) -> Server
    where
        F: Fn(&str, &mut dyn Write) + Send + Sync + 'static,
        W: Fn(TcpStream) -> Box<dyn Duplex> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen) = (Arc::new(handler), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = wrap(stream.unwrap());
                let (handler, seen) = (handler.clone(), seen.clone());
                thread::spawn(move || {
                    let Some(request) = read_head(&mut stream) else {
                        return;
                    };
                    seen.lock().unwrap().push(request.clone());
                    handler(&request, &mut stream);
                    let _ = stream.flush();
                });
            }
        });
        Server { port, requests }
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// The request up to its empty line; `None` if the connection or the handshake fails before.
fn read_head(stream: &mut dyn Duplex) -> Option<String> {
    let mut head = String::new();
    let mut reader = BufReader::with_capacity(1, stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// A 200 answer with that body.
pub fn ok(out: &mut dyn Write, body: impl AsRef<[u8]>) {
    answer(out, "200 OK", "", body);
}

/// An answer with that status line, more headers (each ending in CRLF) and body. The client may be
/// gone.
pub fn answer(out: &mut dyn Write, status: &str, more: &str, body: impl AsRef<[u8]>) {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n",
        body.len()
    );
    let _ = out
        .write_all(head.as_bytes())
        .and_then(|()| out.write_all(body));
}

/// The path that a request's head asks for.
pub fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap()
}

/// The value of a header in a request's head.
pub fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A certification authority of the test's own.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A server's configuration with a certificate for these names.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_until(names, 2100)
    }

    /// The same, with a certificate that ends with that year's first day.
    pub fn server_until(&self, names: &[&str], year: i32) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(names, year);
        server_config(certificate.der().clone(), &key)
    }

    /// A certificate for these names and its key, both in PEM.
    pub fn client(&self, names: &[&str]) -> (String, String) {
        let (certificate, key) = self.issue(names, 2100);
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(&self, names: &[&str], year: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, year).signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }
}

fn params(names: &[&str], year: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

/// A server with a certificate of its own that says it is a CA's, as `openssl req -x509` makes it;
/// and that certificate in PEM.
pub fn self_signed(names: &[&str], year: i32) -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = params(names, year);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem();
    (server_config(certificate.der().clone(), &key), pem)
}

fn server_config(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let config = config_builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key_der(key))
        .unwrap();
    Arc::new(config)
}

fn key_der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn config_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
}

impl Authority {
    /// A server's configuration for localhost that wants a client certificate of this authority.
    pub fn demanding(&self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let (certificate, key) = self.issue(&["localhost"], 2100);
        let config = config_builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key_der(&key))
            .unwrap();
        Arc::new(config)
    }
}
