//! The thread that owns the node, and with it all replicated state: it alone calls it.
//!
//! In each turn it takes all that is there (requests, messages of peers, what became durable, ticks), feeds the node,
//! handles the node's output in the documented order until there is no more, and then writes once to each peer and
//! hands one batch of answers to each worker. It polls the peer sockets itself and waits nowhere else. A turn that has
//! much to do is cut short and goes on in the next, so that heartbeats leave in time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Answer;
use crossbeam_channel::Sender;
use log::Level;
use mio::{Events, Poll};
use paxos::{Agent, Message, ReplicaId};

use crate::events::{ClientEvent, Durable, Event, ToWorker, Work};
use crate::failing::{Due, Failing, FailingSettings};
use crate::foreign::{self, Cause};
use crate::journal_thread::Fatal;
use crate::mailbox::{Inbox, Mailbox};
use crate::node::{ConnectionId, Node, NodeOutput};
use crate::peers::{LinkEvent, Links, PeerMessage};
use crate::promises::{LEADING_BACKLOG_BYTES_MAX, Promises, persist_bytes};
use crate::signboard::Signboard;
use crate::snapshot_thread::SnapshotJob;
use crate::ticker::Ticker;
use crate::udp::DatagramCounters;
use crate::workers::Load;

/// What the thread is given when it starts.
#[derive(Debug)]
pub struct ReplicaThread {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// The poll that `inbox` and `links` are registered with.
    pub poll: Poll,
    /// Where everybody else's batches arrive.
    pub inbox: Inbox<Event>,
    /// The node, as recovery left it.
    pub node: Node,
    /// The links to the other replicas.
    pub links: Links,
    /// Where answers go, one for each worker.
    pub workers: Vec<Mailbox<ToWorker>>,
    /// Where work for the journal goes; without a disk there is none, and what is handed over counts as durable at once.
    pub journal: Option<Sender<Work>>,
    /// Where steps of snapshots go.
    pub snapshots: Sender<SnapshotJob>,
    /// How far the journal is when the thread starts.
    pub durable: Durable,
    /// Shared with the workers.
    pub load: Arc<Load>,
    /// Shared with the workers.
    pub signboard: Arc<Signboard>,
    /// Shared with the datagram thread.
    pub datagrams: Arc<DatagramCounters>,
    /// What ends the process when its files turn out to be another cluster's.
    pub fatal: Fatal,
    /// Which agents fail on purpose, if any do.
    pub failing: Option<FailingSettings>,
}

impl ReplicaThread {
    /// Runs until [`Event::Stop`], and then until everybody has an answer or a close.
    pub fn run(self) {
        let now = Instant::now();
        let worker_count = self.workers.len();
        let failing = self.failing.clone();
        Turning {
            requests: VecDeque::new(),
            has_output: false,
            turn_ends: now,
            answers: vec![Vec::new(); worker_count],
            ticker: Ticker::new(now),
            ticks: 0,
            promises: Promises::new(self.durable),
            link_events: Vec::new(),
            stopping: None,
            failing: failing.map(|settings| Failing::new(settings, now)),
            last_words: None,
            thread: self,
        }
        .run();
    }
}

/// The thread at work.
struct Turning {
    thread: ReplicaThread,
    ticker: Ticker,
    ticks: u64,
    promises: Promises,
    link_events: Vec<LinkEvent>,
    /// What clients brought and the node has not taken.
    requests: VecDeque<ClientEvent>,
    /// The node may have more output.
    has_output: bool,
    /// When the turn is to be cut short.
    turn_ends: Instant,
    /// What the turn gathered for each worker.
    answers: Vec<Vec<(ConnectionId, Answer)>>,
    stopping: Option<Stopping>,
    failing: Option<Failing>,
    /// Why the process is to end when this turn is handed out.
    last_words: Option<String>,
}

/// The workers are asked to be quiet, so that no request comes after the node's last word.
struct Stopping {
    quiet_workers: usize,
    deadline: Instant,
}

impl Turning {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.show_identity();
        while !self.may_end() {
            let timeout = self.timeout();
            let thread = &mut self.thread;
            if let Err(error) = thread
                .inbox
                .wait(&mut thread.poll, &mut events, Some(timeout))
            {
                panic!("the replica thread cannot poll: {error}");
            }
            self.turn_ends = Instant::now() + TURN_MAX;
            for event in &events {
                self.thread.links.note_event(event);
            }
            self.take_inbox();
            self.take_requests();
            self.take_links();
            self.take_ticks();
            self.take_failures();
            self.take_outputs();
            self.hand_out();
            if let Some(reason) = self.last_words.take() {
                self.thread.fatal.end(&reason);
            }
        }
        self.end();
    }

    fn timeout(&self) -> Duration {
        if self.thread.links.has_more() || self.has_output || !self.requests.is_empty() {
            return Duration::ZERO;
        }
        self.ticker.until_next(Instant::now())
    }

    fn take_inbox(&mut self) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(event) = self.thread.inbox.take() else {
                break;
            };
            match event {
                Event::Clients(batch) => self.requests.extend(batch),
                Event::Durable(durable) => {
                    self.thread.node.note_journal_bytes(durable.journal_bytes);
                    self.promises.note(durable);
                }
                Event::Room(room) => {
                    let node = &mut self.thread.node;
                    node.note_room(room.writable_bytes, room.is_stalled);
                }
                Event::Snapshot(progress) => self.thread.node.snapshot_progress(progress),
                Event::Transfer(progress) => self.thread.node.transfer_progress(progress),
                Event::ReadBack(recovery) => {
                    if let Some(failing) = &mut self.failing {
                        failing.note_read_back(recovery);
                    }
                }
                Event::Stop => self.begin_to_stop(),
                Event::WorkerQuiet => {
                    if let Some(stopping) = &mut self.stopping {
                        stopping.quiet_workers += 1;
                    }
                }
            }
        }
    }

    fn take_requests(&mut self) {
        while let Some(event) = self.requests.pop_front() {
            self.take_client_event(event);
            if Instant::now() >= self.turn_ends {
                return;
            }
        }
    }

    fn take_client_event(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Request {
                connection,
                request,
            } => self.thread.node.client(connection, request),
            ClientEvent::Closed {
                connection,
                requests,
                bytes,
            } => {
                self.thread.node.connection_closed(connection);
                self.thread.load.let_go(requests, bytes);
            }
        }
    }

    fn take_links(&mut self) {
        let now = Instant::now();
        self.thread.links.receive(now, &mut self.link_events);
        let replica = self.thread.replica;
        let mut passed_over = 0u64;
        for event in self.link_events.drain(..) {
            match event {
                LinkEvent::Up(peer) => self.thread.node.link(peer, true),
                LinkEvent::Down(peer) => self.thread.node.link(peer, false),
                LinkEvent::Message { message, .. }
                    if !self.promises.has_room() && brings_commands(&message) =>
                {
                    passed_over += 1;
                }
                LinkEvent::Message { from, message } => {
                    trace(from, replica, &message);
                    self.thread.node.peer(from, message);
                }
            }
        }
        if passed_over > 0 {
            foreign::log(
                Cause::PeerLink,
                Level::Warn,
                format_args!("the disk is too slow: {passed_over} messages are passed over"),
            );
        }
    }

    fn take_ticks(&mut self) {
        for _ in 0..self.ticker.take_due(Instant::now()) {
            self.thread.node.tick();
            let counts = self.thread.datagrams.read();
            self.thread.node.note_datagrams(counts);
            if self.promises.backlog_bytes() >= LEADING_BACKLOG_BYTES_MAX {
                self.thread.node.leave_the_lead();
            }
            self.ticks += 1;
            if self.ticks.is_multiple_of(TICKS_PER_REPORT) {
                foreign::report_suppressed();
                self.refuse_foreign_files();
            }
        }
    }

    /// Ends an agent, or puts its successor in its place, when that is due.
    fn take_failures(&mut self) {
        let now = Instant::now();
        let due = self
            .failing
            .as_mut()
            .and_then(|failing| failing.take_due(now));
        match due {
            None => {}
            Some(Due::Fail(agent)) => self.fail(agent, now),
            Some(Due::Restore(agent, recovery, away_ms)) => {
                let recovery = recovery.map(|recovery| *recovery);
                let birth = rand::random();
                self.thread
                    .node
                    .restore_agent(agent, recovery, birth, away_ms);
            }
        }
    }

    /// What the agent had queued goes to the journal first; what it would have said of it is never said.
    fn fail(&mut self, agent: Agent, now: Instant) {
        if !self.thread.node.fail_agent(agent) {
            if let Some(failing) = &mut self.failing {
                failing.passed_over(now);
            }
            return;
        }
        if agent == Agent::Acceptor {
            self.promises.forget_votes(self.thread.replica);
        }
        let output = self.thread.node.take_output();
        self.handle(output);
        if agent != Agent::Proposer {
            let node = &self.thread.node;
            let founding = node.identity().founding.as_ref();
            self.give_journal(Work::ReadBack {
                cluster: founding.map_or(0, |founding| founding.cluster),
                settings: node.cluster_settings(),
            });
        }
    }

    /// Files say to which cluster they belong, but not which cluster lives at these addresses: only the peers can tell.
    fn refuse_foreign_files(&self) {
        if let Some(error) = self.thread.links.other_settings() {
            self.thread.fatal.end(&format!(
                "{error}: the settings are fixed when the cluster is founded, so start this replica with the others'"
            ));
        }
        if let Some(cluster) = self.thread.links.majority_elsewhere() {
            self.thread.fatal.end(&format!(
                "the files of this replica belong to another cluster than its peers: a majority of the members is of \
                 cluster {cluster:016x}"
            ));
        }
    }

    /// Handles outputs until there are no more (one that this replica sends to itself causes another), or the turn is
    /// cut short.
    fn take_outputs(&mut self) {
        let room = self.thread.load.value_room();
        self.thread.node.note_answer_room(room);
        loop {
            self.keep_promises();
            let output = self.thread.node.take_output();
            self.has_output = !output.is_empty();
            if !self.has_output {
                return;
            }
            self.handle(output);
            if Instant::now() >= self.turn_ends {
                return;
            }
        }
    }

    fn handle(&mut self, output: NodeOutput) {
        let NodeOutput {
            identity,
            persist,
            send,
            send_when_durable,
            answers,
            stop,
            snapshot,
            transfers,
            trim_below,
        } = output;
        if let Some(identity) = identity {
            self.hand_over(Work::Identity(identity), IDENTITY_BYTES);
            self.show_identity();
        }
        if let Some(persist) = persist {
            let bytes = persist_bytes(&persist);
            self.hand_over(Work::Persist(persist), bytes);
        }
        for (to, message) in send {
            trace(self.thread.replica, to, &message);
            self.thread.links.send(to, 0, message);
        }
        self.promises.make(send_when_durable);
        for (connection, answer) in answers {
            self.thread.load.send_value(&answer);
            self.answers[usize::from(connection.worker)].push((connection, answer));
        }
        self.last_words = self.last_words.take().or(stop);
        let jobs = snapshot.map(SnapshotJob::Take).into_iter();
        for job in jobs.chain(transfers.into_iter().map(SnapshotJob::Transfer)) {
            if self.thread.snapshots.send(job).is_err() {
                log::debug!("the snapshot thread is gone");
            }
        }
        if let Some(slot) = trim_below {
            self.give_journal(Work::Trim(slot));
        }
    }

    /// To be durable before the promises that are made from now on are kept.
    fn hand_over(&mut self, work: Work, bytes: usize) {
        if self.thread.journal.is_some() {
            self.promises.hand_over(bytes);
            self.give_journal(work);
        }
    }

    /// If the journal thread is gone, it has said why and the process is about to end: nothing may leave any more.
    fn give_journal(&self, work: Work) {
        let Some(journal) = &self.thread.journal else {
            return;
        };
        if journal.send(work).is_err() {
            log::debug!("the journal thread is gone");
        }
    }

    /// Sends what was to wait for the disk and need not any longer.
    fn keep_promises(&mut self) {
        let replica = self.thread.replica;
        let rests_on = self.promises.durable_serial();
        while let Some((to, message)) = self.promises.take_kept() {
            trace(replica, to, &message);
            if to == replica {
                self.thread.node.peer(replica, message);
            } else {
                self.thread.links.send(to, rests_on, message);
            }
        }
    }

    /// What the turn gathered leaves: one write for each peer, one batch for each worker.
    fn hand_out(&mut self) {
        self.thread.links.flush(&mut self.link_events);
        for (worker, answers) in self.thread.workers.iter().zip(&mut self.answers) {
            if !answers.is_empty() {
                worker.send(ToWorker::Answers(std::mem::take(answers)));
            }
        }
        let leader = self.thread.node.leader();
        self.thread
            .signboard
            .show_leader(leader.map(|leader| leader.0));
    }

    fn show_identity(&mut self) {
        let identity = self.thread.node.identity();
        let cluster = identity
            .founding
            .as_ref()
            .map_or(0, |founding| founding.cluster);
        let incarnation = identity.incarnation;
        self.thread.signboard.show_cluster(cluster);
        self.thread.links.set_identity(cluster, incarnation);
    }

    fn begin_to_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        for worker in &self.thread.workers {
            worker.send(ToWorker::Quiesce);
        }
        self.thread.node.begin_to_stop();
        self.stopping = Some(Stopping {
            quiet_workers: 0,
            deadline: Instant::now() + QUIET_WAIT_MAX,
        });
    }

    fn may_end(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| {
            let is_quiet = stopping.quiet_workers == self.thread.workers.len()
                || Instant::now() >= stopping.deadline;
            is_quiet && self.thread.node.may_stop()
        })
    }

    /// Everybody who waits is answered; then all others are told to finish.
    fn end(mut self) {
        self.turn_ends = Instant::now() + QUIET_WAIT_MAX;
        self.take_requests();
        self.thread.node.stop();
        self.take_outputs();
        self.hand_out();
        for worker in &self.thread.workers {
            worker.send(ToWorker::Finish);
        }
        self.give_journal(Work::Finish);
    }
}

/// While the journal is far behind, what would make it fall further behind is treated like a message that was lost:
/// agreement sends it again. Everything else goes on, so that a slow disk does not look like a dead replica.
fn brings_commands(message: &PeerMessage) -> bool {
    matches!(
        message,
        PeerMessage::Agreement(Message::Accept { .. } | Message::Chosen { .. })
    )
}

/// Messages in the notation of the golden scripts.
pub(crate) fn trace(from: ReplicaId, to: ReplicaId, message: &PeerMessage) {
    match message {
        PeerMessage::Agreement(message) => log::trace!("{from} -> {to} {message}"),
        other => log::trace!("{from} -> {to} {other:?}"),
    }
}

/// The founding record is far smaller.
const IDENTITY_BYTES: usize = 4_096;
const EVENTS_PER_TURN: usize = 256;
/// More than the threads that send; so a turn takes all that is there unless somebody sends without end.
const BATCHES_PER_TURN: usize = 256;
const TICKS_PER_REPORT: u64 = 100;
/// Longer than a turn of thousands of small requests; a fraction of the interval of heartbeats.
const TURN_MAX: Duration = Duration::from_millis(20);
/// Workers turn in far less, unless the machine is overloaded.
const QUIET_WAIT_MAX: Duration = Duration::from_millis(300);
