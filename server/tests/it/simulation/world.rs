//! The simulated world: time, network, faults, and the judgement at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use common::{Answer, Request};
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::peers::PeerMessage;
use paxos::{Command, Message, ReplicaId, Slot};

use super::bugs::{Bug, hide_what_is_forgotten, spoil_snapshot};
use super::checker::check_key;
use super::client::SimClient;
use super::faults::{Faults, Links, MS};
use super::history::{Kind, Operation};
use super::random::Random;
use super::replica::{SimReplica, Start, note_accepted, without_promise};
use super::wiping::Wiping;

/// One seed's world.
pub(super) struct World {
    random: Random,
    /// For snapshots, so that they change nothing of what else a seed draws.
    snapshot_random: Random,
    ambush_random: Random,
    faults: Faults,
    /// The moment of the real clock from which the simulated ones count.
    epoch: Instant,
    pub(super) bug: Option<Bug>,
    trace: bool,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(super) replicas: Vec<SimReplica>,
    start: Start,
    clients: Vec<SimClient>,
    links: Links,
    /// Connections that went silent.
    silent: BTreeSet<ConnectionId>,
    /// Per connection, the replica's life that it reached, and when its last message arrives: what is sent on one
    /// connection arrives in order.
    connections: BTreeMap<ConnectionId, Connection>,
    /// Orders the calls and returns of all clients.
    stamp: u64,
    /// By number of slots applied, the state's hash.
    states: BTreeMap<Slot, u128>,
    /// The nonce of the last heartbeat that each replica sent, for the planted bugs.
    last_nonce: BTreeMap<ReplicaId, u64>,
    pub(super) wiping: Wiping,
    pub(super) calm: bool,
    pub(super) report: Report,
    hasher: DefaultHasher,
}

#[derive(Debug, Default)]
struct Connection {
    life: Option<u64>,
    to_replica_us: u64,
    to_client_us: u64,
}

/// When snapshots are taken, and how much of the log is kept for those who are away: in every other run as in the product,
/// in which little is written in so short a time, so that the log alone is seen at work too.
fn draw_snapshot_bounds(seed: u64, random: &mut Random) -> (u64, usize) {
    if seed.is_multiple_of(2) {
        let journal_bytes = random.pick(&[8 << 10, 64 << 10, 512 << 10]);
        (journal_bytes, random.pick(&[200, 1 << 10, 16 << 10]))
    } else {
        (16 << 20, 16 << 20)
    }
}

/// What happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick {
        replica: usize,
        life: u64,
    },
    Turn {
        replica: usize,
        life: u64,
    },
    Synced {
        replica: usize,
        life: u64,
    },
    /// A step of a snapshot is done.
    Snapshot {
        replica: usize,
        life: u64,
    },
    /// A step of a snapshot that travels is done.
    Transfer {
        replica: usize,
        life: u64,
    },
    Peer {
        from: ReplicaId,
        to: usize,
        message: PeerMessage,
    },
    Request {
        connection: ConnectionId,
        replica: usize,
        request: Request,
    },
    Answer {
        connection: ConnectionId,
        answer: Answer,
    },
    Gone {
        connection: ConnectionId,
        replica: usize,
    },
    Closed {
        connection: ConnectionId,
    },
    Wake {
        client: usize,
    },
    Restart {
        replica: usize,
    },
    /// A crash, and a restart a moment later.
    Blink {
        replica: usize,
        power: bool,
    },
    Fault,
    /// A disk is lost.
    Wipe,
    Calm,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) chosen: u64,
    pub(super) operations: u64,
    crashes: u64,
    stops: u64,
    partitions: u64,
    pauses: u64,
    snapshots: u64,
    pub(super) transfers: u64,
    pub(super) wipes: u64,
    simulated_us: u64,
    pub(super) trace_hash: u64,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.partitions += other.partitions;
        self.pauses += other.pauses;
        self.snapshots += other.snapshots;
        self.transfers += other.transfers;
        self.wipes += other.wipes;
        self.simulated_us += other.simulated_us;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chosen={} operations={} crashes={} stops={} partitions={} pauses={} wipes={} snapshots={} transfers={} simulated_hours={:.2}",
            self.chosen,
            self.operations,
            self.crashes,
            self.stops,
            self.partitions,
            self.pauses,
            self.wipes,
            self.snapshots,
            self.transfers,
            self.simulated_us as f64 / 3.6e9
        )
    }
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut faults = Faults::draw(&mut random);
        if bug.is_some_and(|bug| !bug.is_about_sessions()) {
            faults.let_sessions_be();
        }
        if trace {
            println!("seed {seed}: {faults:?}");
        }
        let epoch = Instant::now();
        let mut snapshot_random = Random::new(!seed);
        let (snapshot_journal_bytes, kept_log_bytes) =
            draw_snapshot_bounds(seed, &mut snapshot_random);
        let count = faults.replicas;
        let members: Vec<ReplicaId> = (0..count as u8).map(ReplicaId).collect();
        let clients = (0..faults.clients + faults.pollers)
            .map(|id| SimClient::new(id, random.draw(), &faults))
            .collect();
        Self {
            start: Start {
                members: members.clone(),
                reads_through_log: faults.reads_through_log,
                snapshot_journal_bytes,
                kept_log_bytes,
                bug,
                session_expiry_s: match bug {
                    Some(Bug::SessionExpiresEarly) => faults.session_expiry_s / 2_000,
                    _ => faults.session_expiry_s,
                },
                now: epoch,
            },
            replicas: members.into_iter().map(SimReplica::new).collect(),
            links: Links::whole(count),
            random,
            snapshot_random,
            ambush_random: Random::new(seed.rotate_left(32)),
            faults,
            epoch,
            bug,
            trace,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            clients,
            silent: BTreeSet::new(),
            connections: BTreeMap::new(),
            stamp: 0,
            states: BTreeMap::new(),
            last_nonce: BTreeMap::new(),
            wiping: Wiping::draw(seed, count, bug),
            calm: false,
            report: Report::default(),
            hasher: DefaultHasher::new(),
        }
    }

    /// Runs until every client is done and the replicas agree, or says what went wrong.
    pub(super) fn run(mut self) -> Result<Report, String> {
        for replica in 0..self.replicas.len() {
            self.start_replica(replica)?;
        }
        for client in 0..self.clients.len() {
            self.schedule(MS, Event::Wake { client });
        }
        self.schedule(self.faults.interval_us, Event::Fault);
        self.schedule(self.faults.end_us, Event::Calm);
        self.schedule_wipe();
        let deadline = self.faults.end_us + LIVENESS_US;
        while let Some(((time, _), event)) = self.events.pop_first() {
            self.now = time;
            self.step(event)?;
            if self.calm && self.is_settled() {
                return self.judge();
            }
            if self.events.len() > EVENTS_MAX {
                return Err(format!(
                    "a storm: {} events are under way",
                    self.events.len()
                ));
            }
            if self.now > deadline {
                return Err(self.what_hangs());
            }
        }
        unreachable!("ticks never end")
    }

    pub(super) fn schedule(&mut self, delay_us: u64, event: Event) {
        self.scheduled += 1;
        self.events
            .insert((self.now + delay_us, self.scheduled), event);
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        if let Some(paused_until) = self.pause_of(&event) {
            // What clients sent on one connection stays in order; everything else may come in any.
            let shuffle = match event {
                Event::Request { .. } => 0,
                _ => self.random.between(0, 400),
            };
            let later = paused_until - self.now + shuffle;
            self.schedule(later, event);
            return Ok(());
        }
        (self.now, std::mem::discriminant(&event)).hash(&mut self.hasher);
        match event {
            Event::Tick { replica, life } => self.tick(replica, life),
            Event::Turn { replica, life } => self.turn(replica, life)?,
            Event::Synced { replica, life } => self.synced(replica, life)?,
            Event::Snapshot { replica, life } => self.snapshot_step(replica, life)?,
            Event::Transfer { replica, life } => self.transfer(replica, life)?,
            Event::Peer { from, to, message } => self.deliver(from, to, message),
            Event::Request {
                connection,
                replica,
                request,
            } => self.deliver_request(connection, replica, request),
            Event::Answer { connection, answer } => self.deliver_answer(connection, &answer)?,
            Event::Gone {
                connection,
                replica,
            } => {
                if let Some(process) = &mut self.replicas[replica].process {
                    process.node.connection_closed(connection);
                    self.want_turn(replica);
                }
            }
            Event::Closed { connection } => {
                let now = self.now;
                self.clients[usize::from(connection.worker)].closed(connection.serial, now);
            }
            Event::Wake { client } => self.wake(client),
            Event::Restart { replica } => {
                if self.replicas[replica].process.is_none() {
                    self.start_replica(replica)?;
                }
            }
            Event::Blink { replica, power } => {
                if !self.calm {
                    self.crash(replica, power);
                    let after = self.random.between(MS, 30 * MS);
                    self.schedule(after, Event::Restart { replica });
                }
            }
            Event::Fault => self.draw_fault(),
            Event::Wipe => self.draw_wipe(),
            Event::Calm => self.become_calm()?,
        }
        Ok(())
    }

    /// A paused replica gets its events later, all at once and in another order.
    fn pause_of(&self, event: &Event) -> Option<u64> {
        let replica = match event {
            Event::Tick { replica, .. }
            | Event::Turn { replica, .. }
            | Event::Synced { replica, .. }
            | Event::Snapshot { replica, .. }
            | Event::Transfer { replica, .. } => *replica,
            Event::Peer { to, .. } => *to,
            Event::Request { replica, .. } => *replica,
            _ => return None,
        };
        let until = self.replicas[replica].paused_until;
        (until > self.now).then_some(until)
    }

    fn start_replica(&mut self, replica: usize) -> Result<(), String> {
        let start = Start {
            now: self.clock_of(replica),
            ..self.start.clone()
        };
        self.replicas[replica].start(&start, &mut self.random, &mut self.snapshot_random)?;
        let life = self.replicas[replica].life;
        self.trace(|| format!("r{replica} starts"));
        let first = self.random.between(0, TICK_US);
        self.schedule(first, Event::Tick { replica, life });
        self.want_turn(replica);
        Ok(())
    }

    fn tick(&mut self, replica: usize, life: u64) {
        if self.replicas[replica].life != life {
            return;
        }
        let mut jump_us = 0;
        if self.random.chance(self.faults.clock_jumps) {
            jump_us = self.random.between(0, 8_000 * MS);
            self.trace(|| format!("the clock of r{replica} jumps by {jump_us} us"));
        }
        self.replicas[replica].clock_ahead_us += jump_us;
        let now = self.clock_of(replica);
        if let Some(process) = &mut self.replicas[replica].process {
            let mut due = u64::from(process.ticker.take_due(now));
            if self.bug == Some(Bug::LogTimeFromClock) {
                due += jump_us / TICK_US;
            }
            for _ in 0..due {
                process.node.tick();
            }
            self.want_turn(replica);
            self.schedule(TICK_US, Event::Tick { replica, life });
        }
    }

    fn clock_of(&self, replica: usize) -> Instant {
        self.epoch + Duration::from_micros(self.now + self.replicas[replica].clock_ahead_us)
    }

    /// Something was put into a node: its output is taken a little later, when perhaps more has come.
    fn want_turn(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if let Some(process) = &mut self.replicas[replica].process
            && !process.is_turn_due
        {
            process.is_turn_due = true;
            let delay = self.random.between(1, 100);
            self.schedule(delay, Event::Turn { replica, life });
        }
    }

    fn turn(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        self.take_outputs(replica)?;
        self.begin_sync(replica);
        self.end_if_stopped(replica)
    }

    /// Handles the node's outputs until there are no more.
    fn take_outputs(&mut self, replica: usize) -> Result<(), String> {
        let life = self.replicas[replica].life;
        loop {
            let Some(process) = &mut self.replicas[replica].process else {
                return Ok(());
            };
            process.is_turn_due = false;
            let output = process.node.take_output();
            if output.is_empty() {
                return Ok(());
            }
            if let Some(reason) = output.stop {
                return Err(format!("r{replica} stops: {reason}"));
            }
            let mut persist = output.persist;
            if let Some(persist) = &persist {
                note_accepted(&mut self.replicas[replica].accepted, &persist.records);
            }
            if self.bug == Some(Bug::PromiseNotPersisted) {
                persist = persist.map(without_promise);
            }
            let process = self.replicas[replica]
                .process
                .as_mut()
                .expect("it is running");
            process.hand(output.identity, persist);
            let (step, trim_below) = spoil_snapshot(self.bug, output.snapshot, output.trim_below);
            if process.begin_snapshot_step(step, trim_below) {
                let delay = self.snapshot_random.between(50, 20 * MS);
                self.schedule(delay, Event::Snapshot { replica, life });
            }
            let process = self.replicas[replica]
                .process
                .as_mut()
                .expect("it is running");
            for _ in 0..process.begin_transfers(output.transfers) {
                let delay = self.snapshot_random.between(50, 20 * MS);
                self.schedule(delay, Event::Transfer { replica, life });
            }
            let process = self.replicas[replica]
                .process
                .as_mut()
                .expect("it is running");
            let mut send = output.send;
            if self.bug == Some(Bug::SentBeforeDurable) {
                send.extend(output.send_when_durable);
            } else {
                process.keep(output.send_when_durable);
            }
            let sendable = process.take_sendable();
            send.extend(sendable);
            self.ambush(replica, &send);
            self.send_all(replica, send);
            for (connection, answer) in output.answers {
                self.send_answer(connection, answer);
            }
            self.check_state(replica)?;
        }
    }

    /// Replicas that applied the same slots are in the same state, at every moment.
    fn check_state(&mut self, replica: usize) -> Result<(), String> {
        if self.bug == Some(Bug::AppliesSomethingElse) {
            return Ok(()); // The replicas are to find it by themselves.
        }
        let Some(process) = &self.replicas[replica].process else {
            return Ok(());
        };
        let (applied, hash) = (process.node.applied(), process.node.state_hash());
        self.report.chosen = self.report.chosen.max(applied.0);
        (applied, hash).hash(&mut self.hasher);
        let known = *self.states.entry(applied).or_insert(hash);
        if known == hash {
            return Ok(());
        }
        Err(format!(
            "r{replica} has another state than others after {applied} slots"
        ))
    }

    fn begin_sync(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if let Some(process) = &mut self.replicas[replica].process
            && process.begin_sync()
        {
            let mut delay = self.random.between(30, 31 + self.faults.sync_us_max);
            if self.random.chance(self.faults.slow_sync) {
                delay += self.random.between(0, self.faults.slow_sync_us_max);
            }
            let stalls = self.replicas[replica]
                .disk_stalls_until
                .saturating_sub(self.now);
            self.schedule(delay + stalls, Event::Synced { replica, life });
        }
    }

    fn synced(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        let bug = self.bug;
        let Some(process) = &mut self.replicas[replica].process else {
            return Ok(());
        };
        process
            .end_sync(bug)
            .map_err(|error| format!("r{replica}: {error}"))?;
        let sendable = process.take_sendable();
        self.send_all(replica, sendable);
        self.want_turn(replica);
        self.begin_sync(replica);
        Ok(())
    }

    fn snapshot_step(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        if let Some(process) = &mut self.replicas[replica].process {
            let is_durable = process
                .end_snapshot_step()
                .map_err(|error| format!("r{replica}: {error}"))?;
            self.report.snapshots += u64::from(is_durable);
            self.want_turn(replica);
        }
        Ok(())
    }

    fn transfer(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        if let Some(process) = &mut self.replicas[replica].process {
            let has_come = process
                .end_transfer()
                .map_err(|error| format!("r{replica}: {error}"))?;
            self.report.transfers += u64::from(has_come);
            self.want_turn(replica);
        }
        Ok(())
    }

    /// What a replica addresses to itself goes back into it at once; the rest goes through the network.
    fn send_all(&mut self, from: usize, messages: Vec<(ReplicaId, PeerMessage)>) {
        let sender = ReplicaId(from as u8);
        for (to, mut message) in messages {
            if to != sender {
                self.keep_in_memory(&mut message);
            }
            self.trace(|| describe(sender, to, &message));
            if let PeerMessage::Agreement(Message::Heartbeat { ballot, nonce, .. }) = &message {
                self.last_nonce.insert(sender, *nonce);
                if self.bug == Some(Bug::LeaderReadsAlone) {
                    self.forge_echoes(from, *ballot, *nonce);
                }
            }
            if to == sender {
                if let Some(process) = &mut self.replicas[from].process {
                    process.node.peer(sender, message);
                    self.want_turn(from);
                }
            } else {
                self.send(sender, usize::from(to.0), message);
            }
        }
    }

    fn send(&mut self, from: ReplicaId, to: usize, message: PeerMessage) {
        let is_deaf = self.replicas[to].deaf_until > self.now;
        let carries = self.links.carries(usize::from(from.0), to);
        if is_deaf || !carries || self.random.chance(self.faults.loss) {
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.faults.duplication));
        for _ in 0..copies {
            let mut delay = self.random.between(20, 21 + self.faults.delay_us_max);
            if self.random.chance(self.faults.late) {
                delay += self.random.between(0, self.faults.late_us_max);
            }
            let message = message.clone();
            self.schedule(delay, Event::Peer { from, to, message });
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: usize, mut message: PeerMessage) {
        if self.replicas[to].process.is_none() {
            return;
        }
        self.trace(|| {
            format!(
                "    arrives: {}",
                describe(from, ReplicaId(to as u8), &message)
            )
        });
        let mut from = from;
        match self.bug {
            Some(Bug::QuorumOffByOne) => self.vote_again(from, to, &message),
            Some(Bug::WatermarkAcrossBallots) => self.believe_watermark(from, to, &message),
            Some(Bug::EchoReused) => self.renew_echo(to, &mut message),
            Some(Bug::AppliesSomethingElse) if to == 0 => change_last_byte(&mut message),
            Some(Bug::PromiseWithoutAccepted) => forget_accepted(&mut message),
            Some(Bug::PromiseBelowTrimPoint) => hide_what_is_forgotten(&mut message),
            Some(Bug::LowerBallotAccepted) => self.raise_ballot(to, &mut from, &mut message),
            _ => {}
        }
        self.feed(from, to, message);
    }

    pub(super) fn feed(&mut self, from: ReplicaId, to: usize, message: PeerMessage) {
        if let Some(process) = &mut self.replicas[to].process {
            process.node.peer(from, message);
            self.want_turn(to);
        }
    }

    fn wake(&mut self, client: usize) {
        let think_us_max = self.clients[client].think_us_max;
        let think = self.random.between(MS, think_us_max);
        self.schedule(think, Event::Wake { client });
        let sent = self.clients[client].wake(self.now, &mut self.stamp, self.bug);
        let target = self.clients[client].target;
        for (serial, request) in sent {
            let connection = ConnectionId {
                worker: client as u16,
                serial,
            };
            self.trace(|| format!("client {client} -> r{target} {serial} {request}"));
            if self.random.chance(self.faults.copied) {
                self.send_copy(client, &request);
            }
            self.send_request(connection, target, request);
        }
    }

    /// A second copy of a request, on a connection of its own to any replica; its answer is not listened to.
    fn send_copy(&mut self, client: usize, request: &Request) {
        self.clients[client].copied(request.tag());
        let replica = self.random.between(0, self.replicas.len() as u64) as usize;
        let connection = ConnectionId {
            worker: client as u16,
            serial: (1 << 32) + self.scheduled,
        };
        self.send_request(connection, replica, request.clone());
    }

    fn send_request(&mut self, connection: ConnectionId, replica: usize, request: Request) {
        if self.random.chance(self.faults.broken) {
            self.silent.insert(connection);
            let after = self.random.between(MS, 2_000 * MS);
            self.schedule(
                after,
                Event::Gone {
                    connection,
                    replica,
                },
            );
        }
        let delay = self.random.between(20, 21 + self.faults.delay_us_max);
        let state = self.connections.entry(connection).or_default();
        state.to_replica_us = state.to_replica_us.max(self.now + delay) + 1;
        let delay = state.to_replica_us - self.now;
        let event = Event::Request {
            connection,
            replica,
            request,
        };
        self.schedule(delay, event);
    }

    fn deliver_request(&mut self, connection: ConnectionId, replica: usize, request: Request) {
        let life = self.replicas[replica].life;
        let state = self.connections.entry(connection).or_default();
        let reached = *state.life.get_or_insert(life);
        if self.replicas[replica].process.is_none() || reached != life {
            self.schedule(MS, Event::Closed { connection });
            return;
        }
        if self.silent.contains(&connection) {
            return;
        }
        let (connection, request) = self.spoil_request(connection, request);
        let process = self.replicas[replica]
            .process
            .as_mut()
            .expect("it is running");
        process.node.client(connection, request);
        self.want_turn(replica);
    }

    /// The planted bugs of the client's side.
    fn spoil_request(
        &self,
        mut connection: ConnectionId,
        mut request: Request,
    ) -> (ConnectionId, Request) {
        match (self.bug, &mut request) {
            (Some(Bug::HighestNumberSessions), Request::Write { write, .. }) => {
                write.floor = write.sequence;
            }
            (Some(Bug::WritesUnordered), Request::Write { write, .. }) => write.after = 0,
            (Some(Bug::ReadOvertakesWrite), Request::Get { .. }) => {
                connection.serial |= READ_SERIAL;
            }
            _ => {}
        }
        (connection, request)
    }

    fn send_answer(&mut self, mut connection: ConnectionId, answer: Answer) {
        connection.serial &= !READ_SERIAL;
        if connection.serial >= 1 << 32 {
            return;
        }
        if self.random.chance(self.faults.broken) {
            self.silent.insert(connection);
        }
        let delay = self.random.between(20, 21 + self.faults.delay_us_max);
        let state = self.connections.entry(connection).or_default();
        state.to_client_us = state.to_client_us.max(self.now + delay) + 1;
        let delay = state.to_client_us - self.now;
        self.schedule(delay, Event::Answer { connection, answer });
    }

    fn deliver_answer(&mut self, connection: ConnectionId, answer: &Answer) -> Result<(), String> {
        if self.silent.contains(&connection) {
            return Ok(());
        }
        let client = usize::from(connection.worker);
        self.trace(|| format!("client {client} hears {} {answer}", connection.serial));
        self.clients[client].answered(connection.serial, answer, self.now, &mut self.stamp)
    }

    fn draw_fault(&mut self) {
        if self.calm {
            return;
        }
        let next = self.random.between(1, 2 * self.faults.interval_us);
        self.schedule(next, Event::Fault);
        let replica = self.victim();
        match self.random.between(0, 10) {
            0..3 if self.faults.crashes => {
                if self.random.chance(300) {
                    self.stop(replica);
                } else {
                    self.crash(replica, false);
                }
            }
            3 if self.faults.power_cuts => self.stall_and_cut(replica),
            4 if self.faults.power_cuts => {
                for replica in 0..self.replicas.len() {
                    self.crash(replica, true);
                }
            }
            5..7 if self.faults.pauses => self.pause(replica),
            7..9 if self.faults.partitions => {
                self.report.partitions += 1;
                self.links = Links::draw(self.replicas.len(), replica, &mut self.random);
                let links = self.links.clone();
                self.trace(|| format!("partition: {links:?}"));
            }
            _ => {
                self.trace(|| "the network is whole".to_owned());
                self.links = Links::whole(self.replicas.len());
            }
        }
    }

    /// A process stops for a while and goes on as if nothing had happened. Sometimes its links break meanwhile, so that
    /// it finds there what came before, and no word of a new leader. Sometimes all others start anew just then.
    fn pause(&mut self, replica: usize) {
        let length = self.random.between(MS, self.random_pause_max());
        self.report.pauses += 1;
        self.replicas[replica].paused_until = self.now + length;
        let is_deaf = self.random.chance(500);
        self.trace(|| format!("r{replica} pauses for {length} us, deaf={is_deaf}"));
        if is_deaf {
            self.replicas[replica].deaf_until = self.now + length;
        }
        if self.faults.crashes && self.random.chance(500) {
            for other in (0..self.replicas.len()).filter(|other| *other != replica) {
                let early = self.random.between(0, 20 * MS);
                let power = self.faults.power_cuts;
                self.schedule(
                    length.saturating_sub(early),
                    Event::Blink {
                        replica: other,
                        power,
                    },
                );
            }
        }
    }

    fn random_pause_max(&self) -> u64 {
        if self.scheduled.is_multiple_of(2) {
            700 * MS
        } else {
            5_000 * MS
        }
    }

    /// A disk takes long over one sync, and before it is done the power goes. Sometimes the leader dies first, so that
    /// the replica may come to lead with a promise that its own disk does not hold.
    fn stall_and_cut(&mut self, replica: usize) {
        let length = self.random.between(MS, 400 * MS);
        self.replicas[replica].disk_stalls_until = self.now + 4 * length + 1_200 * MS;
        if let Some(leader) = self.leader().filter(|leader| *leader != replica) {
            self.crash(leader, true);
            self.schedule(
                length + 500 * MS,
                Event::Blink {
                    replica,
                    power: true,
                },
            );
        } else {
            self.schedule(
                length,
                Event::Blink {
                    replica,
                    power: true,
                },
            );
        }
    }

    /// A candidate's disk hangs over its own promise, and when it has begun to lead by the promises of others the power
    /// goes: it comes back without a trace of the ballot in which it spoke (RULES R2).
    fn ambush(&mut self, replica: usize, send: &[(ReplicaId, PeerMessage)]) {
        let prepares = send
            .iter()
            .any(|(_, message)| matches!(message, PeerMessage::Agreement(Message::Prepare { .. })));
        let is_due = prepares && !self.calm && self.faults.power_cuts;
        if is_due && self.ambush_random.chance(200) {
            let length = self.ambush_random.between(2 * MS, 100 * MS);
            self.trace(|| format!("the power of r{replica} goes in {length} us, its disk hangs"));
            self.replicas[replica].disk_stalls_until = self.now + length + MS;
            let power = true;
            self.schedule(length, Event::Blink { replica, power });
        }
    }

    /// A replica that believes that it leads.
    pub(super) fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| {
            let process = replica.process.as_ref();
            process.is_some_and(|process| process.node.leader() == Some(replica.id))
        })
    }

    /// Whom the next fault befalls: half of the time a leader, because most of what can go wrong goes wrong around one.
    fn victim(&mut self) -> usize {
        let any = self.random.between(0, self.replicas.len() as u64) as usize;
        let leader = self.leader();
        leader.filter(|_| self.random.chance(500)).unwrap_or(any)
    }

    /// A process is told to stop: it ends by itself soon, and starts again.
    fn stop(&mut self, replica: usize) {
        if let Some(process) = &mut self.replicas[replica].process
            && !std::mem::replace(&mut process.is_stopping, true)
        {
            process.node.begin_to_stop();
            self.report.stops += 1;
            self.trace(|| format!("r{replica} is told to stop"));
            self.want_turn(replica);
        }
    }

    /// A process that was told to stop ends once its node may: who waits for an answer gets one.
    fn end_if_stopped(&mut self, replica: usize) -> Result<(), String> {
        let process = self.replicas[replica].process.as_mut();
        let Some(process) = process.filter(|process| process.is_stopping) else {
            return Ok(());
        };
        if process.node.may_stop() {
            process.node.stop();
            self.take_outputs(replica)?;
            self.crash(replica, false);
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, replica: usize, power: bool) {
        if self.replicas[replica].process.is_none() {
            return;
        }
        self.trace(|| format!("r{replica} crashes, power={power}"));
        self.report.crashes += 1;
        self.replicas[replica].crash(power, &mut self.random);
        let longest = self.random.pick(&[50 * MS, 500 * MS, 3_000 * MS]);
        let after = self.random.between(10 * MS, longest);
        self.schedule(after, Event::Restart { replica });
    }

    /// The faults end. A majority comes back and can hear each other; half of the time the rest stays away for ever.
    fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.trace(|| "the faults have ended".to_owned());
        self.faults.calm();
        self.links = Links::whole(self.replicas.len());
        let count = self.replicas.len();
        let blank = self.blank_replicas();
        let mut with_memory = (0..count).filter(|replica| !blank.contains(replica));
        let founded = with_memory.all(|replica| self.replicas[replica].is_founded());
        let stays_away = founded && self.random.chance(500);
        let mut away = if stays_away {
            count - (count / 2 + 1) - blank.len()
        } else {
            0
        };
        for replica in 0..count {
            self.replicas[replica].paused_until = self.replicas[replica].paused_until.min(self.now);
            self.replicas[replica].deaf_until = self.replicas[replica].paused_until;
            if away > 0 && !blank.contains(&replica) && self.random.chance(600) {
                away -= 1;
                self.replicas[replica].crash(true, &mut self.random);
                self.events
                    .retain(|_, event| !matches!(event, Event::Restart { replica: other } if *other == replica));
            } else if self.replicas[replica].process.is_none() {
                self.start_replica(replica)?;
            }
        }
        for client in &mut self.clients {
            client.operations_left = client.operations_left.min(10);
            client.wake_up();
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        if !self.clients.iter().all(SimClient::is_finished) {
            return false;
        }
        let running = || {
            self.replicas
                .iter()
                .filter_map(|replica| replica.process.as_ref())
        };
        if !running().all(|process| process.node.votes()) {
            return false;
        }
        let mut states =
            running().map(|process| (process.node.applied(), process.node.state_hash()));
        let first = states.next();
        states.all(|state| Some(state) == first)
    }

    fn judge(mut self) -> Result<Report, String> {
        let mut keys: BTreeMap<Vec<u8>, Vec<Operation>> = BTreeMap::new();
        for client in &mut self.clients {
            self.report.operations += client.done;
            check_own_tags(client)?;
            for (key, operation) in client.history.drain(..) {
                keys.entry(key).or_default().push(operation);
            }
        }
        for (key, operations) in keys {
            check_key(&operations)
                .map_err(|error| format!("key {}: {error}", String::from_utf8_lossy(&key)))?;
        }
        self.report.simulated_us = self.now;
        self.report.trace_hash = self.hasher.finish();
        Ok(self.report)
    }

    fn what_hangs(&self) -> String {
        let clients: Vec<String> = self.clients.iter().map(SimClient::state).collect();
        let replicas: Vec<String> = self
            .replicas
            .iter()
            .map(|replica| {
                let state = replica.process.as_ref().map(|process| {
                    (
                        process.node.applied().0,
                        process.node.leader(),
                        process.node.votes(),
                        process.node.state_hash(),
                    )
                });
                format!("{} {state:?}", replica.id)
            })
            .collect();
        format!(
            "not done in time: {}; {}",
            clients.join("; "),
            replicas.join("; ")
        )
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9}.{:03} {}", self.now / MS, self.now % MS, line());
        }
    }

    /// The nonce of the last heartbeat that a replica sent.
    fn last_nonce_of(&self, replica: ReplicaId) -> Option<u64> {
        self.last_nonce.get(&replica).copied()
    }

    fn forge_echoes(&mut self, leader: usize, ballot: paxos::Ballot, nonce: u64) {
        for voter in self.voters() {
            let echo = Message::Echo {
                ballot,
                nonce,
                incarnation: voter.1,
                durable_watermark: Slot(0),
                space: paxos::Space::Ample,
            };
            self.feed(voter.0, leader, PeerMessage::Agreement(echo));
        }
    }

    fn vote_again(&mut self, from: ReplicaId, to: usize, message: &PeerMessage) {
        if let PeerMessage::Agreement(Message::Accepted {
            ballot,
            slots,
            durable_watermark,
            ..
        }) = message
            && let Some((other, incarnation)) =
                self.voters().into_iter().find(|(voter, _)| *voter != from)
        {
            let again = Message::Accepted {
                ballot: *ballot,
                incarnation,
                slots: slots.clone(),
                durable_watermark: *durable_watermark,
            };
            self.feed(other, to, PeerMessage::Agreement(again));
        }
    }

    fn believe_watermark(&mut self, from: ReplicaId, to: usize, message: &PeerMessage) {
        let PeerMessage::Agreement(
            Message::Accept {
                chosen_watermark, ..
            }
            | Message::Heartbeat {
                chosen_watermark, ..
            }
            | Message::Advance {
                chosen_watermark, ..
            },
        ) = message
        else {
            return;
        };
        let believed: Vec<_> = self.replicas[to]
            .accepted
            .range(..*chosen_watermark)
            .rev()
            .take(8)
            .map(|(slot, command)| (*slot, command.clone()))
            .collect();
        for (slot, command) in believed {
            let chosen = Message::Chosen {
                from_slot: slot,
                commands: vec![command],
                chosen_watermark: Slot(0),
                trimmed_watermark: Slot(0),
            };
            self.feed(from, to, PeerMessage::Agreement(chosen));
        }
    }

    fn renew_echo(&self, to: usize, message: &mut PeerMessage) {
        if let PeerMessage::Agreement(Message::Echo { nonce, .. }) = message
            && let Some(last) = self.last_nonce_of(ReplicaId(to as u8))
        {
            *nonce = last;
        }
    }

    fn raise_ballot(&self, to: usize, from: &mut ReplicaId, message: &mut PeerMessage) {
        let promised = self.replicas[to]
            .process
            .as_ref()
            .map(|process| process.node.promised());
        if let PeerMessage::Agreement(Message::Accept { ballot, .. }) = message
            && let Some(promised) = promised.filter(|promised| promised > ballot)
        {
            *ballot = promised;
            *from = promised.replica;
        }
    }

    /// The members and the lives in which they vote, as far as they are running and founded.
    fn voters(&self) -> Vec<(ReplicaId, paxos::Incarnation)> {
        self.replicas
            .iter()
            .filter_map(|replica| replica.process.as_ref())
            .map(|process| process.node.identity())
            .map(|identity| (identity.replica, identity.incarnation))
            .collect()
    }
}

/// The client's own key got only its own appends: each answered one once, in order.
fn check_own_tags(client: &SimClient) -> Result<(), String> {
    let own = client.own_key();
    let last_read = client
        .history
        .iter()
        .filter(|(key, _)| *key == own)
        .filter_map(|(_, operation)| match &operation.kind {
            Kind::Get { value } => Some((operation.called, value.clone().unwrap_or_default())),
            _ => None,
        })
        .max();
    let Some((_, value)) = last_read else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&value).into_owned();
    let tags: Vec<u64> = text
        .split(';')
        .filter_map(|tag| tag.split_once('.')?.1.parse().ok())
        .collect();
    let in_order = tags.windows(2).all(|pair| pair[0] < pair[1]);
    if in_order {
        return Ok(());
    }
    Err(format!("client {}: its own appends are {text}", client.id))
}

/// A batch that ends with a value ends with another one.
fn change_last_byte(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Accept { command, .. }) = message
        && let Command::Opaque(bytes) = command
        && bytes.ends_with(b";")
    {
        let mut other = bytes.to_vec();
        other.pop();
        other.push(b',');
        *command = Command::Opaque(other.into());
    }
}

fn forget_accepted(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Promise { accepted, .. }) = message {
        accepted.clear();
    }
}

fn describe(from: ReplicaId, to: ReplicaId, message: &PeerMessage) -> String {
    match message {
        PeerMessage::Agreement(message) => format!("{from} -> {to} {message}"),
        PeerMessage::Forward { requests } => {
            format!("{from} -> {to} Forward ({} bytes)", requests.len())
        }
        other => format!("{from} -> {to} {other:?}"),
    }
}

/// The node's tick.
const TICK_US: u64 = 10 * MS;

/// How long clients may take after the faults have ended: what they have left, and ten election timeouts.
const LIVENESS_US: u64 = 15_000 * MS;

/// More events under way mean that something answers its own echo.
const EVENTS_MAX: usize = 200_000;

/// Marks a connection that [`Bug::ReadOvertakesWrite`] made up.
const READ_SERIAL: u64 = 1 << 40;
