//! The client side of a server over UDP: one thread that turns datagrams into requests and answers into datagrams.
//!
//! To the replica thread it is a worker like those that own connections: the same events, the same answers, the same
//! limits on what all clients together may have under way. What is special to datagrams ends here.

mod cookies;
mod counters;
mod exchange;
mod in_flight;
mod thread;

use std::io;
use std::thread::JoinHandle;

use mio::Poll;
use mio::net::UdpSocket;
use socket2::SockRef;

pub use cookies::{Cookies, Proof};
pub use counters::DatagramCounters;
pub use exchange::{DatagramSettings, Exchange};
pub use in_flight::{DATAGRAM_BYTES_IN_FLIGHT_MAX, DATAGRAMS_IN_FLIGHT_MAX};

use crate::events::{Event, ToWorker};
use crate::mailbox::{Mailbox, mailbox};
use thread::{BELL, DatagramThread};

/// What the system may keep of datagrams that came and are not read: a burst of as many as may be in flight, each of
/// which takes it about a KiB.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// The running thread.
#[derive(Debug)]
pub struct Datagrams {
    mailbox: Mailbox<ToWorker>,
    thread: JoinHandle<()>,
}

impl Datagrams {
    /// Starts the thread; datagrams are taken from then on.
    ///
    /// # Errors
    /// The system has no descriptor or no thread left.
    pub fn start(
        settings: DatagramSettings,
        socket: UdpSocket,
        replica_thread: &Mailbox<Event>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), BELL)?;
        // The system grants what it is set to grant at most; less costs datagrams, which are sent again.
        let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let exchange = Exchange::new(settings, rand::random);
        let thread = DatagramThread::new(poll, inbox, socket, exchange, replica_thread.clone())?;
        let builder = std::thread::Builder::new().name("datagrams".to_owned());
        Ok(Self {
            mailbox,
            thread: builder.spawn(move || thread.run())?,
        })
    }

    /// Where answers go.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<ToWorker> {
        self.mailbox.clone()
    }

    /// Waits for the end of the thread, which [`ToWorker::Finish`] brings about.
    ///
    /// # Panics
    /// When the thread did.
    pub fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
