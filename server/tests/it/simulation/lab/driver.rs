//! Drives the replicas of a lab as the server's threads do: ticks, turns, syncs, steps of snapshots, messages.

use std::time::{Duration, Instant};

use kvpaxos_server::node::{ConnectionId, NodeOutput};
use kvpaxos_server::peers::PeerMessage;
use paxos::ReplicaId;

use super::super::faults::MS;
use super::super::replica::Start;
use super::{Event, Lab};

/// The node's tick.
const TICK_US: u64 = 10 * MS;

/// How long a client waits before it asks for more, at most: the more there are the longer, so that all rows do about as
/// much.
const THINK_US_MAX: u64 = 20 * MS;
const THINK_US_MAX_EACH: u64 = 4 * MS;

impl Lab {
    pub(super) fn schedule(&mut self, delay_us: u64, event: Event) {
        self.scheduled += 1;
        let at = (self.now + delay_us, self.scheduled);
        self.events.insert(at, event);
    }

    pub(super) fn start_replica(&mut self, replica: usize) {
        let start = Start {
            now: self.clock_of(replica),
            ..self.start.clone()
        };
        // No snapshot rots by itself here.
        let mut rot = super::Random::new(1);
        let started = self.replicas[replica].start(&start, &mut self.random, &mut rot);
        assert_eq!(started, Ok(true), "r{replica} starts");
        let life = self.replicas[replica].life;
        let first = self.random.between(0, TICK_US);
        self.schedule(first, Event::Tick { replica, life });
        self.want_turn(replica);
    }

    /// The power of one fails: what was not synced may be lost.
    pub(super) fn cut_power(&mut self, replica: usize) {
        self.replicas[replica].crash(true, &mut self.random);
    }

    /// A process stands still for so long, and goes on as if nothing had happened.
    pub(super) fn pause(&mut self, replica: usize, us: u64) {
        self.replicas[replica].paused_until = self.now + us;
    }

    /// What a replica's clock says.
    pub(super) fn clock_of(&self, replica: usize) -> Instant {
        self.epoch + Duration::from_micros(self.now + self.replicas[replica].clock_ahead_us)
    }

    pub(super) fn step(&mut self, event: Event) {
        if let Some(until) = self.pause_of(&event) {
            return self.schedule(until - self.now, event);
        }
        match event {
            Event::Tick { replica, life } if self.lives(replica, life) => self.tick(replica),
            Event::Turn { replica, life } if self.lives(replica, life) => self.turn(replica),
            Event::Synced { replica, life } if self.lives(replica, life) => self.synced(replica),
            Event::Snapshot { replica, life } if self.lives(replica, life) => {
                let process = self.replicas[replica].running();
                let is_durable = process.end_snapshot_step().unwrap();
                self.snapshots += u64::from(is_durable);
                self.want_turn(replica);
            }
            Event::Transfer { replica, life } if self.lives(replica, life) => {
                let has_come = self.replicas[replica].running().end_transfer().unwrap();
                self.transfers += u64::from(has_come);
                self.want_turn(replica);
            }
            Event::Peer { from, to, message } => self.deliver(from, to, message),
            Event::Request {
                connection,
                replica,
                request,
            } => {
                if let Some(process) = &mut self.replicas[replica].process {
                    process.node.client(connection, request);
                    self.want_turn(replica);
                }
            }
            Event::Answer { connection, answer } => {
                let client = &mut self.clients[usize::from(connection.worker)];
                client.hear(connection.serial, answer, self.now, &mut self.stamp);
            }
            Event::Wake { client } => self.wake(client),
            Event::Tick { .. }
            | Event::Turn { .. }
            | Event::Synced { .. }
            | Event::Snapshot { .. }
            | Event::Transfer { .. } => {}
        }
    }

    fn lives(&self, replica: usize, life: u64) -> bool {
        self.replicas[replica].life == life && self.replicas[replica].process.is_some()
    }

    /// Until when the replica stands still that this event is for.
    fn pause_of(&self, event: &Event) -> Option<u64> {
        let replica = match event {
            Event::Tick { replica, .. }
            | Event::Turn { replica, .. }
            | Event::Synced { replica, .. }
            | Event::Snapshot { replica, .. }
            | Event::Transfer { replica, .. }
            | Event::Request { replica, .. }
            | Event::Peer { to: replica, .. } => *replica,
            Event::Answer { .. } | Event::Wake { .. } => return None,
        };
        let until = self.replicas[replica].paused_until;
        (until > self.now).then_some(until)
    }

    fn tick(&mut self, replica: usize) {
        let now = self.clock_of(replica);
        let process = self.replicas[replica].running();
        for _ in 0..process.ticker.take_due(now) {
            process.node.tick();
        }
        let life = self.replicas[replica].life;
        self.want_turn(replica);
        self.schedule(TICK_US, Event::Tick { replica, life });
    }

    /// Something was put into a node: its output is taken a little later, when perhaps more has come.
    fn want_turn(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if let Some(process) = &mut self.replicas[replica].process
            && !std::mem::replace(&mut process.is_turn_due, true)
        {
            let delay = self.random.between(1, 100);
            self.schedule(delay, Event::Turn { replica, life });
        }
    }

    fn turn(&mut self, replica: usize) {
        loop {
            let process = self.replicas[replica].running();
            process.is_turn_due = false;
            let output = process.node.take_output();
            if output.is_empty() {
                return self.begin_sync(replica);
            }
            self.handle(replica, output);
        }
    }

    fn handle(&mut self, replica: usize, output: NodeOutput) {
        assert_eq!(output.stop, None, "r{replica} stops");
        let life = self.replicas[replica].life;
        let process = self.replicas[replica].running();
        process.hand(output.identity, output.persist);
        let begins = process.begin_snapshot_step(output.snapshot, output.trim_below);
        let transfers = process.begin_transfers(output.transfers);
        process.keep(output.send_when_durable);
        let mut send = output.send;
        send.extend(process.take_sendable());
        if begins {
            let delay = self.random.between(50, 5 * MS);
            self.schedule(delay, Event::Snapshot { replica, life });
        }
        for _ in 0..transfers {
            let delay = self.random.between(50, 5 * MS);
            self.schedule(delay, Event::Transfer { replica, life });
        }
        self.send_all(replica, send);
        for (connection, answer) in output.answers {
            let arrivals = self.network.to_clients.draw(&mut self.random);
            for delay in arrivals {
                let answer = answer.clone();
                self.schedule(delay, Event::Answer { connection, answer });
            }
        }
        self.check_state(replica);
    }

    /// Replicas that applied the same slots are in the same state.
    fn check_state(&mut self, replica: usize) {
        let node = &self.replicas[replica].running().node;
        let (applied, hash) = (node.applied(), node.state_hash());
        let known = *self.states.entry(applied).or_insert(hash);
        assert_eq!(known, hash, "r{replica} after {applied} slots");
    }

    fn begin_sync(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if self.replicas[replica].running().begin_sync() {
            let delay = self.random.between(30, 230);
            self.schedule(delay, Event::Synced { replica, life });
        }
    }

    fn synced(&mut self, replica: usize) {
        let process = self.replicas[replica].running();
        assert_eq!(process.end_sync(None), Ok(true), "disks have room");
        let sendable = process.take_sendable();
        self.send_all(replica, sendable);
        self.want_turn(replica);
        self.begin_sync(replica);
    }

    /// What a replica addresses to itself goes back into it at once; the rest goes through the network.
    fn send_all(&mut self, from: usize, messages: Vec<(ReplicaId, PeerMessage)>) {
        let sender = self.replicas[from].id;
        for (to, message) in messages {
            if to == sender {
                self.deliver(sender, from, message);
                continue;
            }
            let to = usize::from(to.0);
            if let Some(kept) = &mut self.kept {
                kept.push((sender, to, message.clone()));
            }
            let arrivals = self.network.link(from, to).draw(&mut self.random);
            for delay in arrivals {
                let (from, message) = (sender, message.clone());
                self.schedule(delay, Event::Peer { from, to, message });
            }
        }
    }

    pub(super) fn deliver(&mut self, from: ReplicaId, to: usize, message: PeerMessage) {
        if let Some(process) = &mut self.replicas[to].process {
            process.node.peer(from, message);
            self.want_turn(to);
        }
    }

    fn wake(&mut self, client: usize) {
        let count = self.count();
        let asked = self.clients[client].wake(self.now, count, &mut self.stamp);
        if let Some((serial, replica, request)) = asked {
            let connection = ConnectionId {
                worker: u16::try_from(client).unwrap(),
                serial,
            };
            for delay in self.network.to_replicas.draw(&mut self.random) {
                let request = request.clone();
                let event = Event::Request {
                    connection,
                    replica,
                    request,
                };
                self.schedule(delay, event);
            }
        }
        let think_us_max = THINK_US_MAX.max(THINK_US_MAX_EACH * self.clients.len() as u64);
        let think = self.random.between(MS, think_us_max);
        self.schedule(think, Event::Wake { client });
    }
}
