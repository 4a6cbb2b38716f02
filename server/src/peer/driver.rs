//! The thread of one peer: it alone calls the member. In each turn it takes all that is there (calls of the program,
//! messages, what became durable, ticks), handles the member's output in the documented order until there is no more,
//! and then tells the board and writes once to each peer. The store's counterpart is [`crate::replica_thread`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::{Events, Poll};
use paxos::{ReplicaId, Slot};

use super::LinkFilter;
use super::board::Board;
use super::member::{Member, MemberOutput, brings_commands};
use crate::events::{Durable, Event, Work};
use crate::mailbox::Inbox;
use crate::peers::{LinkEvent, Links, PeerMessage};
use crate::promises::{LEADING_BACKLOG_BYTES_MAX, Promises, persist_bytes};
use crate::replica_thread::trace;
use crate::ticker::Ticker;

/// What the thread is given when it starts.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) replica: ReplicaId,
    pub(super) poll: Poll,
    pub(super) inbox: Inbox<Event>,
    pub(super) links: Links,
    pub(super) member: Member,
    pub(super) board: Arc<Board>,
    pub(super) keeping: Keeping,
    pub(super) filter: Option<Arc<dyn LinkFilter>>,
}

/// Where promises are kept, and the messages that wait for them.
#[derive(Debug)]
pub(super) struct Keeping {
    /// None keeps them in memory: everything is durable at once.
    journal: Option<Sender<Work>>,
    promises: Promises,
    /// The journal was told that it need not hold what is below.
    trimmed: Slot,
}

impl Keeping {
    pub(super) fn memory() -> Self {
        Self {
            journal: None,
            promises: Promises::new(Durable::default()),
            trimmed: Slot(0),
        }
    }

    pub(super) fn journal(work: Sender<Work>, durable: Durable) -> Self {
        Self {
            journal: Some(work),
            promises: Promises::new(durable),
            trimmed: Slot(0),
        }
    }

    fn hand_over(&mut self, work: Work, bytes: usize) {
        if self.journal.is_some() {
            self.promises.hand_over(bytes);
            self.give_journal(work);
        }
    }

    /// Every program is done with what is below `min`, and the journal was handed that before: so it need not hold it.
    fn trim_below(&mut self, min: Slot) {
        if min > self.trimmed {
            self.trimmed = min;
            self.give_journal(Work::Trim(min));
        }
    }

    fn give_journal(&self, work: Work) {
        let Some(journal) = &self.journal else {
            return;
        };
        if journal.send(work).is_err() {
            log::debug!("the journal thread is gone");
        }
    }
}

impl Driver {
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut link_events = Vec::new();
        let mut ticker = Ticker::new(Instant::now());
        self.show_identity();
        self.take_outputs();
        while self.take_inbox() {
            for call in self.board.take_calls() {
                self.member.call(call);
            }
            self.take_links(&mut link_events);
            for _ in 0..ticker.take_due(Instant::now()) {
                self.tick();
            }
            self.take_outputs();
            self.links.flush(&mut link_events);
            let timeout = if self.links.has_more() {
                Duration::ZERO
            } else {
                ticker.until_next(Instant::now())
            };
            if let Err(error) = self.inbox.wait(&mut self.poll, &mut events, Some(timeout)) {
                self.board.fail(&format!("it cannot poll: {error}"));
                break;
            }
            for event in &events {
                self.links.note_event(event);
            }
        }
        self.keeping.give_journal(Work::Finish);
    }

    /// Whether to go on.
    fn take_inbox(&mut self) -> bool {
        while let Some(event) = self.inbox.take() {
            match event {
                Event::Durable(durable) => self.keeping.promises.note(durable),
                Event::Stop => return false,
                // All else comes from the threads that serve a store's clients.
                _ => {}
            }
        }
        true
    }

    fn take_links(&mut self, link_events: &mut Vec<LinkEvent>) {
        self.links.receive(Instant::now(), link_events);
        for event in link_events.drain(..) {
            let LinkEvent::Message { from, message } = event else {
                continue;
            };
            // A message that is passed over is sent again: agreement takes it for lost.
            if self.keeping.promises.has_room() || !brings_commands(&message) {
                trace(from, self.replica, &message);
                self.member.peer(from, message);
            }
        }
    }

    fn tick(&mut self) {
        self.member.tick();
        if self.keeping.promises.backlog_bytes() >= LEADING_BACKLOG_BYTES_MAX {
            self.member.leave_the_lead();
        }
    }

    /// Handles outputs until there are no more: one that this peer sends to itself causes another.
    fn take_outputs(&mut self) {
        loop {
            self.keep_promises();
            let output = self.member.take_output();
            if output.is_empty() {
                break;
            }
            self.handle(output);
        }
        self.board
            .tell(Vec::new(), self.member.min(), self.member.max());
    }

    fn handle(&mut self, output: MemberOutput) {
        let MemberOutput {
            identity,
            persist,
            send,
            send_when_durable,
            decided,
            refused,
        } = output;
        if let Some(identity) = identity {
            self.keeping
                .hand_over(Work::Identity(identity), IDENTITY_BYTES);
            self.show_identity();
        }
        if let Some(persist) = persist {
            let bytes = persist_bytes(&persist);
            let min = persist.state.forget_watermark;
            self.keeping.hand_over(Work::Persist(persist), bytes);
            self.keeping.trim_below(min);
        }
        for (to, message) in send {
            self.send(to, 0, message);
        }
        self.keeping.promises.make(send_when_durable);
        if !decided.is_empty() {
            self.board
                .tell(decided, self.member.min(), self.member.max());
        }
        if let Some(why) = refused {
            self.board.fail(&why);
        }
    }

    /// Sends what was to wait for the disk and need not any longer.
    fn keep_promises(&mut self) {
        let rests_on = self.keeping.promises.durable_serial();
        while let Some((to, message)) = self.keeping.promises.take_kept() {
            if to == self.replica {
                trace(to, to, &message);
                self.member.peer(to, message);
            } else {
                self.send(to, rests_on, message);
            }
        }
    }

    fn send(&mut self, to: ReplicaId, rests_on: u64, message: PeerMessage) {
        let filter = self.filter.as_ref();
        if filter.is_none_or(|filter| filter.passes(self.replica, to, &message)) {
            trace(self.replica, to, &message);
            self.links.send(to, rests_on, message);
        }
    }

    fn show_identity(&mut self) {
        let identity = self.member.identity();
        let founding = identity.founding.as_ref();
        let cluster = founding.map_or(0, |founding| founding.cluster);
        self.links.set_identity(cluster, identity.incarnation);
    }
}

/// The founding record is far smaller.
const IDENTITY_BYTES: usize = 4_096;
const EVENTS_PER_TURN: usize = 256;
