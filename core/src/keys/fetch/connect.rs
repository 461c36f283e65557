//! TCP connections whose every step ends at the deadline of the fetch.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Error, Timeout};

use super::race::race;

/// Opens connections, unless there is one already.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) deadline: Instant,
}

impl Tcp {
    /// Connects to the addresses in `details`.
    pub(super) fn open(&self, details: &ConnectionDetails) -> Result<Plain, Error> {
        let stream = race(&details.addrs, self.deadline).map_err(error_of)?;
        Ok(Plain {
            stream,
            deadline: self.deadline,
            buffers: LazyBuffers::new(
                details.config.input_buffer_size(),
                details.config.output_buffer_size(),
            ),
            head: None,
        })
    }
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Plain>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        match chained {
            Some(transport) => Ok(Some(Either::A(transport))),
            None => self.open(details).map(Either::B).map(Some),
        }
    }
}

/// Makes another head of a request.
type ChangeHead = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// A connection. Its limits are those of the deadline alone, whatever ureq says: ureq counts the time
/// of a step anew for each part of it.
pub(super) struct Plain {
    stream: TcpStream,
    deadline: Instant,
    buffers: LazyBuffers,
    /// Changes the head of the request, which comes first.
    pub(super) head: Option<Box<ChangeHead>>,
}

impl Plain {
    fn left(&self) -> Result<Option<Duration>, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(Timeout::Global));
        }
        Ok(Some(left))
    }
}

/// A time-out shows itself in two ways, depending on the system call.
fn error_of(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(Timeout::Global),
        _ => Error::Io(error),
    }
}

impl Transport for Plain {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(self.left()?)?;
        let output = &self.buffers.output()[..amount];
        let sent = match self.head.take() {
            Some(change) => self.stream.write_all(&change(output)),
            None => self.stream.write_all(output),
        };
        sent.map_err(error_of)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let amount = loop {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(error_of)?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // No connection is used for a second request.
        false
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").finish_non_exhaustive()
    }
}
