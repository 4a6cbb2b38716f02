//! Whether the replica on this machine serves: what `--health` asks, over the client protocol like anybody else.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use common::{
    DecodeError, FrameBuffer, FrameError, Hello, Outcome, PROTOCOL_VERSION, Request, ServerFrame,
    StatusReport, WireLimits,
};
use thiserror::Error;

/// Why a replica could not be asked.
#[derive(Debug, Error)]
pub enum HealthError {
    /// It does not listen, or does not answer in time.
    #[error("no answer from {address}: {source}")]
    Silent {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It answers something else.
    #[error("{address} gives no status: {said}")]
    Strange {
        /// Where.
        address: String,
        /// What it said.
        said: String,
    },
}

/// Asks the replica at `address` about itself.
///
/// # Errors
/// It gives no status within two seconds.
pub fn ask_status(address: &str) -> Result<StatusReport, HealthError> {
    ask(address).map_err(|failure| {
        let address = address.to_owned();
        match failure {
            Failure::Silent(source) => HealthError::Silent { address, source },
            Failure::Strange(said) => HealthError::Strange { address, said },
        }
    })
}

enum Failure {
    Silent(io::Error),
    Strange(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Silent(error)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Strange(error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Strange(format!("its answer {error}"))
    }
}

fn ask(address: &str) -> Result<StatusReport, Failure> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    let mut question = Vec::new();
    Hello {
        version: PROTOCOL_VERSION,
        label: "health".to_owned(),
    }
    .append_to(&mut question);
    Request::Status { tag: 1 }.append_to(&mut question);
    stream.write_all(&question)?;
    let mut incoming = FrameBuffer::new(WireLimits::default().frame_bytes_max);
    let mut scratch = [0; 4_096];
    loop {
        while let Some(frame) = incoming.next_frame()? {
            let ServerFrame::Answer(answer) = ServerFrame::decode(frame)? else {
                continue; // The greeting comes first.
            };
            return match answer.outcome {
                Outcome::Status(report) => Ok(*report),
                other => Err(Failure::Strange(other.to_string())),
            };
        }
        match stream.read(&mut scratch)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            bytes => incoming.extend(&scratch[..bytes]),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WAIT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

const WAIT_MAX: Duration = Duration::from_secs(2);
