//! The simulated world: its clock, what happens when, and who is in it.
//!
//! Beside it: `network`, `linking` and `requests` carry messages, `turns` drives the replicas, `lives` starts and ends
//! them, `disturbances`, `wiping`, `damaging`, `rolling_back`, `lying`, `failing` and `filling` do harm, `calm` ends the
//! faults, and `judgement` says what must hold.

mod calm;
mod damaging;
mod disturbances;
mod event;
mod failing;
mod filling;
mod judgement;
mod linking;
mod lives;
mod lying;
mod network;
mod requests;
mod rolling_back;
mod spoiling;
mod turns;
mod wiping;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash};
use std::time::Instant;

use common::SessionId;
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::peers::PeerMessage;
use paxos::{Ballot, ReplicaId, Slot};

use self::calm::Ending;
use self::event::Event;
use self::failing::Failing;
use self::filling::Filling;
use self::lying::Lying;
use self::requests::Connection;
use self::rolling_back::RollingBack;
use self::wiping::Wiping;
use super::bugs::Bug;
use super::client::SimClient;
use super::faults::{Faults, MS};
use super::keys::Shared;
use super::links::Links;
use super::random::Random;
use super::replica::{SimReplica, Start};
use super::report::Report;

/// One seed's world.
pub(super) struct World {
    random: Random,
    /// For snapshots, so that they change nothing of what else a seed draws.
    snapshot_random: Random,
    ambush_random: Random,
    link_random: Random,
    faults: Faults,
    /// The moment of the real clock from which the simulated ones count.
    epoch: Instant,
    bug: Option<Bug>,
    trace: bool,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    replicas: Vec<SimReplica>,
    start: Start,
    clients: Vec<SimClient>,
    links: Links,
    /// What was sent on links that are stopped.
    held: BTreeMap<(usize, usize), Vec<PeerMessage>>,
    /// Connections that went silent.
    silent: BTreeSet<ConnectionId>,
    /// Per connection, the replica's life that it reached, and when its last message arrives: what is sent on one
    /// connection arrives in order.
    connections: BTreeMap<ConnectionId, Connection>,
    shared: Shared,
    /// By number of slots applied, the state's hash.
    states: BTreeMap<Slot, u128>,
    /// Sessions that are taken for others, for the planted bugs.
    aliases: BTreeMap<SessionId, SessionId>,
    /// The nonce of the last heartbeat that each replica sent, for the planted bugs.
    last_nonce: BTreeMap<ReplicaId, u64>,
    /// The highest ballot that anybody led in.
    led: Ballot,
    /// When the log last grew, and the longest that it did not.
    chosen_at: u64,
    standstill_us: u64,
    wiping: Wiping,
    failing: Failing,
    filling: Filling,
    rolling_back: RollingBack,
    lying: Lying,
    /// The faults are over.
    calm: bool,
    ending: Ending,
    report: Report,
    hasher: DefaultHasher,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut faults = Faults::draw(&mut random);
        if bug.is_some_and(|bug| !bug.is_about_sessions()) {
            faults.let_sessions_be();
        }
        let epoch = Instant::now();
        let mut snapshot_random = Random::new(!seed);
        let (snapshot_journal_bytes, kept_log_bytes) =
            draw_snapshot_bounds(seed, &mut snapshot_random);
        let count = faults.replicas;
        let wiping = Wiping::draw(seed, count, bug);
        let rolling_back = RollingBack::draw(seed, count, bug, wiping.diskless);
        let loses_disks = wiping.happens() || rolling_back.happens();
        let filling = Filling::draw(seed, bug, loses_disks, wiping.diskless);
        filling.limit_clients(&mut faults);
        let members: Vec<ReplicaId> = (0..count as u8).map(ReplicaId).collect();
        let clients = (0..faults.clients + faults.pollers)
            .map(|id| SimClient::new(id, random.draw(), &faults, bug))
            .collect();
        Self {
            report: Report {
                diskless: wiping.diskless.into(),
                faulty_foundings: (faults.first_us < faults.interval_us).into(),
                ..Report::default()
            },
            start: Start {
                diskless: wiping.diskless,
                members: members.clone(),
                reads_through_log: faults.reads_through_log,
                snapshot_journal_bytes,
                kept_log_bytes,
                segment_bytes_max: filling.segment_bytes_max(),
                bug,
                session_expiry_s: match bug {
                    Some(Bug::SessionExpiresEarly) => faults.session_expiry_s / 2_000,
                    _ => faults.session_expiry_s,
                },
                now: epoch,
                may_rot: false,
            },
            replicas: members.into_iter().map(SimReplica::new).collect(),
            links: Links::whole(count),
            held: BTreeMap::new(),
            random,
            snapshot_random,
            ambush_random: Random::new(seed.rotate_left(32)),
            link_random: Random::new(seed.rotate_left(11) ^ 0x6c_69_6e_6b),
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
            shared: Shared::default(),
            states: BTreeMap::new(),
            aliases: BTreeMap::new(),
            last_nonce: BTreeMap::new(),
            led: Ballot::NONE,
            chosen_at: 0,
            standstill_us: 0,
            failing: Failing::draw(seed, bug, wiping.diskless),
            lying: Lying::draw(seed, count, bug, wiping.diskless),
            wiping,
            filling,
            rolling_back,
            calm: false,
            ending: Ending::default(),
            hasher: DefaultHasher::new(),
        }
    }

    /// All that the seed drew.
    pub(super) fn drawn(&self) -> String {
        format!(
            "{:?}; {:?}; {:?}; {:?}; {:?}; {:?}; snapshots every {} bytes, {} bytes of log kept",
            self.faults,
            self.wiping,
            self.failing,
            self.filling,
            self.rolling_back,
            self.lying,
            self.start.snapshot_journal_bytes,
            self.start.kept_log_bytes
        )
    }

    /// Runs until every client is done and the replicas agree, or says what went wrong.
    pub(super) fn run(mut self) -> Result<Report, String> {
        for replica in 0..self.replicas.len() {
            self.start_replica(replica)?;
        }
        for client in 0..self.clients.len() {
            self.schedule(MS, Event::Wake { client });
        }
        self.schedule(self.faults.first_us, Event::Fault);
        self.schedule(self.faults.end_us, Event::Calm);
        self.schedule_wipe();
        self.schedule_failure();
        self.schedule_filling();
        self.schedule_rolling_back();
        while let Some(((time, number), event)) = self.events.pop_first() {
            self.now = time;
            self.step(number, event)?;
            if self.is_over()? {
                return self.judge();
            }
            if self.events.len() > EVENTS_MAX {
                return Err(format!(
                    "a storm: {} events are under way",
                    self.events.len()
                ));
            }
        }
        unreachable!("ticks never end")
    }

    fn schedule(&mut self, delay_us: u64, event: Event) {
        self.scheduled += 1;
        self.events
            .insert((self.now + delay_us, self.scheduled), event);
    }

    fn step(&mut self, number: u64, event: Event) -> Result<(), String> {
        if let Some(paused_until) = self.pause_of(&event) {
            // What clients sent on one connection stays in order, also with what comes when the pause ends; everything
            // else may come in any.
            if matches!(event, Event::Request { .. }) {
                self.events.insert((paused_until, number), event);
            } else {
                let shuffle = self.random.between(0, 400);
                self.schedule(paused_until - self.now + shuffle, event);
            }
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
            Event::Link { replica, peer, up } => self.link(replica, peer, up),
            Event::Carriage { from, to, carriage } => self.change_carriage(from, to, carriage),
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
                let is_down = self.replicas[replica].process.is_none();
                if is_down && !self.replicas[replica].is_gone {
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
            Event::RollBack => self.draw_rolling_back(),
            Event::Fail => self.draw_failure()?,
            Event::Fill => self.draw_filling(),
            Event::Room => self.end_filling()?,
            Event::Succeed { replica, life } => self.succeed(replica, life),
            Event::Calm => self.end_faults()?,
        }
        Ok(())
    }

    /// A paused replica gets its events later, all at once and in another order.
    fn pause_of(&self, event: &Event) -> Option<u64> {
        let replica = event.befalls()?;
        let until = self.replicas[replica].paused_until;
        (until > self.now).then_some(until)
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9}.{:03} {}", self.now / MS, self.now % MS, line());
        }
    }

    /// What became of a replica in a turn.
    fn trace_changes(&mut self, replica: usize) {
        let Some(process) = self.replicas[replica]
            .process
            .as_ref()
            .filter(|_| self.trace)
        else {
            return;
        };
        let seen = (process.node.leader(), process.node.applied());
        let (leader, applied) = std::mem::replace(&mut self.replicas[replica].traced, seen);
        if seen.1 > applied {
            self.trace(|| format!("    r{replica} applies {applied}..{}", seen.1));
        }
        if seen.0 != leader {
            self.trace(|| match seen.0 {
                Some(leader) if usize::from(leader.0) == replica => format!("    r{replica} leads"),
                Some(leader) => format!("    r{replica} follows {leader}"),
                None => format!("    r{replica} hears no leader"),
            });
        }
    }
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

/// More events under way mean that something answers its own echo.
const EVENTS_MAX: usize = 200_000;
