//! A backend that answers with the request it received, letter for letter.
//!
//! It reads HTTP/1.1 off the wire itself: a library would fold names and order.

mod request;

use std::io;
use std::net::SocketAddr;

use aws_lc_rs::digest::{digest, SHA1_FOR_LEGACY_USE_ONLY};
use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use self::request::{Body, Head, Reader};
use crate::listener;

/// The addresses to serve.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// The addresses of the backend, printed as one line of JSON.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Announcement {
    pub http: String,
}

/// Starts listening.
///
/// # Errors
///
/// Any error of that.
pub fn listen(options: &Options) -> io::Result<(TcpListener, Announcement)> {
    let listener = listener::listen(options.listen)?;
    let http = format!("http://{}", listener.local_addr()?);
    Ok((listener, Announcement { http }))
}

/// Serves for ever.
pub async fn run(listener: TcpListener) {
    loop {
        match listener.accept().await {
            // A connection's end, right or wrong, is the client's affair.
            Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    }
}

async fn connection(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        if head.has("upgrade", "websocket") {
            return upgrade(reader, &head).await;
        }
        if head.has("expect", "100-continue") {
            reader
                .stream()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
        }
        let body = reader.body(&head).await?;
        let keep = head.keeps_alive();
        reader
            .stream()
            .write_all(&answer(&head, body, keep))
            .await?;
        if !keep {
            break;
        }
    }
    Ok(())
}

/// Request line, headers, an empty line, and the body or what it amounts to.
fn answer(head: &Head, body: Body, keep: bool) -> Vec<u8> {
    let mut text = head.text().to_vec();
    text.extend_from_slice(b"\n");
    match body {
        Body::Short(body) => text.extend_from_slice(&body),
        Body::Long { length, sha256 } => {
            text.extend_from_slice(format!("{length} bytes, sha256 {sha256}\n").as_bytes());
        }
    }
    let connection = if keep { "keep-alive" } else { "close" };
    let length = text.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n"
    )
    .into_bytes();
    if !head.is("HEAD") {
        answer.extend_from_slice(&text);
    }
    answer
}

/// Accepts a WebSocket and sends every byte back as it came. The caller's identity is in the
/// answer's headers, as `Echo-X-Authgear-…`.
async fn upgrade(reader: Reader, head: &Head) -> io::Result<()> {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            .to_owned();
    if let Some(key) = head.get("sec-websocket-key") {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
        answer.push_str(&format!(
            "Sec-WebSocket-Accept: {}\r\n",
            STANDARD.encode(hash)
        ));
    }
    for (name, value) in head.headers() {
        if name.to_ascii_lowercase().starts_with("x-authgear-") {
            answer.push_str(&format!("Echo-{name}: {value}\r\n"));
        }
    }
    answer.push_str("\r\n");

    let (mut stream, mut bytes) = reader.into_parts();
    stream.write_all(answer.as_bytes()).await?;
    loop {
        stream.write_all(&bytes).await?;
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}
