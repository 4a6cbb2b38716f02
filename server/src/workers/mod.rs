//! The client side of a server: a fixed pool of threads that turn bytes into requests and answers into bytes.
//!
//! Each worker owns its connections and its poll; with the replica thread it exchanges one batch a turn in each
//! direction. How many requests all workers together may have under way is bounded by [`Load`].

mod connection;
mod desk;
mod load;
mod loss;
mod progress;
mod reception;
mod socket;
mod worker;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use common::WireLimits;
use mio::Poll;
use mio::net::TcpListener;

pub use load::{
    Load, REQUEST_BYTES_HELD_MAX, REQUESTS_HELD_MAX, VALUE_BYTES_ON_THE_WAY_MAX, value_bytes,
};

use crate::events::{Event, ToWorker};
use crate::mailbox::{Mailbox, mailbox};
use crate::signboard::Signboard;
use desk::Desk;
use reception::Reception;
use worker::{BELL, LISTENER, Worker};

/// What the pool is told when it starts.
#[derive(Clone, Debug)]
pub struct WorkersSettings {
    /// Which replica this is.
    pub replica: u8,
    /// How many threads; at least 1.
    pub count: u16,
    /// What clients may send.
    pub limits: WireLimits,
    /// How many connections there may be.
    pub connections_max: usize,
    /// Counted by the workers and the replica thread together.
    pub load: Arc<Load>,
    /// What greetings say of cluster and leader.
    pub signboard: Arc<Signboard>,
}

/// The running pool.
#[derive(Debug)]
pub struct Workers {
    mailboxes: Vec<Mailbox<ToWorker>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads; clients are accepted from then on.
    ///
    /// # Errors
    /// The system has no descriptor or no thread left.
    pub fn start(
        settings: &WorkersSettings,
        listener: TcpListener,
        replica_thread: &Mailbox<Event>,
    ) -> io::Result<Self> {
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..settings.count.max(1) {
            let poll = Poll::new()?;
            let (outside, inbox) = mailbox(poll.registry(), BELL)?;
            mailboxes.push(outside);
            polls.push((poll, inbox));
        }
        let mut reception = Some(Reception::new(
            listener,
            polls[0].0.registry(),
            LISTENER,
            settings.connections_max,
            Arc::clone(&settings.load),
            mailboxes.clone(),
        )?);
        let mut threads = Vec::new();
        for (number, (poll, inbox)) in (0u16..).zip(polls) {
            let desk = Desk::new(
                settings.replica,
                settings.limits,
                Arc::clone(&settings.load),
                Arc::clone(&settings.signboard),
            );
            let outbox = replica_thread.clone();
            let worker = Worker::new(number, poll, inbox, outbox, reception.take(), desk);
            let thread = thread::Builder::new().name(format!("worker {number}"));
            threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(Self { mailboxes, threads })
    }

    /// Where answers go: one mailbox for each worker, in order of their numbers.
    #[must_use]
    pub fn mailboxes(&self) -> Vec<Mailbox<ToWorker>> {
        self.mailboxes.clone()
    }

    /// Waits for the end of all threads, which [`ToWorker::Finish`] brings about.
    ///
    /// # Panics
    /// When a worker did.
    pub fn join(self) {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
