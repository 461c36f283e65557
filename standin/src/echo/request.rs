//! Requests read off the wire, nothing folded.

use std::io;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::util::hex;

/// Bodies below this are echoed, others are summed up.
const SHORT: usize = 1024;
const HEAD_LIMIT: usize = 1024 * 1024;

/// Request line and headers.
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Its lines, each ended by a line feed.
    pub(super) fn text(&self) -> &[u8] {
        &self.0
    }

    /// Names and values in the order received.
    pub(super) fn headers(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0
            .split(|byte| *byte == b'\n')
            .skip(1)
            .filter_map(|line| {
                let line = String::from_utf8_lossy(line);
                let (name, value) = line.split_once(':')?;
                Some((name.to_owned(), value.trim().to_owned()))
            })
    }

    /// The first header of this name, given in lower case.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let found = self
            .headers()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Tells whether the header lists this word.
    pub(super) fn has(&self, name: &str, word: &str) -> bool {
        let value = self.get(name).unwrap_or_default();
        value
            .split(',')
            .any(|listed| listed.trim().eq_ignore_ascii_case(word))
    }

    /// Tells whether the request is of this method.
    pub(super) fn is(&self, method: &str) -> bool {
        self.0
            .strip_prefix(method.as_bytes())
            .is_some_and(|rest| rest.starts_with(b" "))
    }

    /// Tells whether the client wants another request on the connection.
    pub(super) fn keeps_alive(&self) -> bool {
        let line = self
            .0
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        if line.ends_with(b"HTTP/1.0") {
            self.has("connection", "keep-alive")
        } else {
            !self.has("connection", "close")
        }
    }
}

/// A request's body.
pub(super) enum Body {
    /// As it came.
    Short(Vec<u8>),
    /// Its length and the hexadecimal SHA-256.
    Long {
        #[allow(missing_docs)]
        length: usize,
        #[allow(missing_docs)]
        sha256: String,
    },
}

/// Reads requests from a connection.
pub(super) struct Reader {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Reader {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The connection, to write to.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The connection and what was read of it beyond the request.
    pub(super) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// The next head; `None` when the client is done.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut head = Vec::new();
        loop {
            let Some(line) = self.line().await? else {
                return if head.is_empty() {
                    Ok(None)
                } else {
                    Err(broken("cut off"))
                };
            };
            if !line.is_empty() {
                if head.len() + line.len() > HEAD_LIMIT {
                    return Err(broken("too long"));
                }
                head.extend_from_slice(&line);
                head.push(b'\n');
            } else if !head.is_empty() {
                return Ok(Some(Head(head)));
            }
            // RFC 9112, 2.2: empty lines before a request are ignored.
        }
    }

    /// The whole body of the request with this head.
    pub(super) async fn body(&mut self, head: &Head) -> io::Result<Body> {
        let mut sum = Sum {
            length: 0,
            start: Vec::new(),
            sha256: Context::new(&SHA256),
        };
        if head.has("transfer-encoding", "chunked") {
            loop {
                let line = self.line().await?.ok_or_else(|| broken("cut off"))?;
                let text = String::from_utf8_lossy(&line);
                let size = text.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| broken("bad chunk"))?;
                if size == 0 {
                    break;
                }
                self.take(size, &mut sum).await?;
                self.line().await?;
            }
            while self
                .line()
                .await?
                .is_some_and(|trailer| !trailer.is_empty())
            {}
        } else if let Some(length) = head.get("content-length") {
            let length = length.parse().map_err(|_| broken("bad length"))?;
            self.take(length, &mut sum).await?;
        }
        Ok(sum.body())
    }

    /// The next line without its end; `None` at the end of the connection.
    async fn line(&mut self) -> io::Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(end) = found {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                let length = line.strip_suffix(b"\r").map_or(line.len(), <[u8]>::len);
                line.truncate(length);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > HEAD_LIMIT {
                return Err(broken("too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn take(&mut self, mut length: usize, sum: &mut Sum) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(broken("cut off"));
            }
            let part = length.min(self.buffer.len());
            sum.add(&self.buffer[..part]);
            self.buffer.advance(part);
            length -= part;
        }
        Ok(())
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The summary of a body, updated while it is read.
struct Sum {
    length: usize,
    start: Vec<u8>,
    sha256: Context,
}

impl Sum {
    fn add(&mut self, part: &[u8]) {
        self.length += part.len();
        self.sha256.update(part);
        let room = SHORT.saturating_sub(self.start.len());
        self.start.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn body(self) -> Body {
        if self.length < SHORT {
            return Body::Short(self.start);
        }
        let sha256 = hex(self.sha256.finish().as_ref());
        Body::Long {
            length: self.length,
            sha256,
        }
    }
}
