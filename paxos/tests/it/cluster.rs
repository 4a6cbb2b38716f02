//! An in-memory driver that keeps the contract of [`paxos::output`], and nothing more.
//!
//! Each replica has a journal of which a part is durable, and each message that claims durability waits for the journal
//! as it stood when the message was made. A crash loses what is not durable, and every message that waited for it. What
//! a replica sends to itself never meets the network. The network is a list: whoever uses this driver says what is
//! delivered, and when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use paxos::{
    Command, Config, Configuration, Envelope, Incarnation, Note, Output, Persist, ReadReady,
    Recovered, Replica, ReplicaId, Slot,
};

use crate::snapshots::Snapshot;

/// The settings of all replicas of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) replicas: u8,
    pub(crate) window: u64,
    pub(crate) message_bytes_max: usize,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) kept_bytes_max: usize,
    /// Whether leaders are doubted after a few ticks, so that there are many elections and several leaders at a time.
    pub(crate) hasty: bool,
    /// Whether slots are instances of their own (RULES R20).
    pub(crate) sparse: bool,
    /// Makes one cluster's random times differ from another's.
    pub(crate) seed: u64,
}

impl Settings {
    /// As the product has them.
    pub(crate) fn of(replicas: u8) -> Self {
        Self {
            replicas,
            window: 64,
            message_bytes_max: 1 << 20,
            in_flight_bytes_max: 8 << 20,
            kept_bytes_max: 16 << 20,
            hasty: false,
            sparse: false,
            seed: 0,
        }
    }
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message left its sender.
    Sent(Envelope),
    /// A message waits for its sender's disk.
    Waits(Envelope),
    /// A replica applies a command.
    Applied(ReplicaId, Slot, Command),
    /// A read's watermark is confirmed.
    Read(ReplicaId, ReadReady),
    /// Something for the log.
    Noted(ReplicaId, Note),
}

/// A cluster of replicas and the messages between them.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<Node>,
    /// On their way, in the order in which they left.
    pub(crate) network: Vec<Envelope>,
    /// Every message that arrived.
    pub(crate) delivered: Vec<Envelope>,
    /// Ordered pairs between which everything is lost.
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    events: Vec<Event>,
}

/// One replica, its journal, and what waits for its disk.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) incarnation: Incarnation,
    /// How often it has started; makes the birth of each life differ.
    lives: u64,
    /// None while it is down.
    pub(crate) replica: Option<Replica>,
    /// Every batch handed over in this incarnation.
    pub(crate) journal: Vec<Persist>,
    pub(crate) snapshot: Option<Snapshot>,
    /// So many batches of the journal survive a crash.
    pub(crate) durable: usize,
    /// Whether batches become durable only when the script says so.
    pub(crate) disk_is_slow: bool,
    /// Messages, each with the length of the journal that must be durable first.
    waiting: VecDeque<(usize, Envelope)>,
    /// What this life, and what its journal replayed, has handed over to be applied.
    pub(crate) applied: Vec<Command>,
    /// The same in sparse mode: what is known of each instance, forgotten ones included.
    pub(crate) decided: BTreeMap<Slot, Command>,
}

impl Cluster {
    /// A founded cluster in which every replica runs and every disk is quick.
    pub(crate) fn new(settings: Settings) -> Self {
        let nodes = (0..settings.replicas)
            .map(|id| Node {
                id: ReplicaId(id),
                incarnation: Incarnation(u64::from(id) + 1),
                lives: 0,
                replica: None,
                journal: Vec::new(),
                snapshot: None,
                durable: 0,
                disk_is_slow: false,
                waiting: VecDeque::new(),
                applied: Vec::new(),
                decided: BTreeMap::new(),
            })
            .collect();
        let mut cluster = Self {
            settings,
            nodes,
            network: Vec::new(),
            delivered: Vec::new(),
            cut: BTreeSet::new(),
            events: Vec::new(),
        };
        for id in cluster.ids() {
            cluster.restart(id);
        }
        cluster
    }

    pub(crate) fn ids(&self) -> Vec<ReplicaId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub(crate) fn node(&self, id: ReplicaId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }

    pub(crate) fn node_mut(&mut self, id: ReplicaId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    /// The replica, which must be up.
    pub(crate) fn replica(&self, id: ReplicaId) -> &Replica {
        self.node(id)
            .replica
            .as_ref()
            .unwrap_or_else(|| panic!("{id} is down"))
    }

    pub(crate) fn is_up(&self, id: ReplicaId) -> bool {
        self.node(id).replica.is_some()
    }

    /// What happened since this was last asked.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Does something to a replica, then what its outputs ask for. A replica that is down does nothing.
    pub(crate) fn turn<Answer>(
        &mut self,
        id: ReplicaId,
        act: impl FnOnce(&mut Replica) -> Answer,
    ) -> Option<Answer> {
        let answer = act(self.node_mut(id).replica.as_mut()?);
        self.drain(id);
        Some(answer)
    }

    pub(crate) fn tick(&mut self, id: ReplicaId) {
        self.turn(id, Replica::tick);
    }

    /// The journal returns from its sync: what waited for it leaves.
    pub(crate) fn sync(&mut self, id: ReplicaId) {
        let node = self.node_mut(id);
        node.durable = node.journal.len();
        self.drain(id);
    }

    /// The process dies: what is not durable is lost, and so is what waited for it.
    pub(crate) fn crash(&mut self, id: ReplicaId) {
        let node = self.node_mut(id);
        node.replica = None;
        node.journal.truncate(node.durable);
        node.waiting.clear();
    }

    /// The disk is lost as well: the next life is another incarnation, which votes only after a rejoin.
    pub(crate) fn wipe(&mut self, id: ReplicaId) {
        self.crash(id);
        let node = self.node_mut(id);
        node.journal.clear();
        node.snapshot = None;
        node.durable = 0;
        node.incarnation = Incarnation(node.incarnation.0 + 100);
    }

    /// Starts a replica from what its snapshot and its journal kept. What the journal shows to be chosen is applied again.
    pub(crate) fn restart(&mut self, id: ReplicaId) {
        let settings = self.settings;
        let founders: Vec<_> = (0..settings.replicas)
            .map(|id| (ReplicaId(id), Incarnation(u64::from(id) + 1)))
            .collect();
        let node = self.node_mut(id);
        assert!(node.replica.is_none(), "{id} runs already");
        node.lives += 1;
        let mut recovered = node.recovered();
        node.applied = node
            .snapshot
            .as_ref()
            .map_or_else(Vec::new, |snapshot| snapshot.applied.clone());
        for batch in &node.journal {
            for (_, command) in recovered.batch(batch.state, batch.records.clone()) {
                node.applied.push(command);
            }
        }
        let birth = 1000 * node.lives + u64::from(id.0);
        let mut config = Config::new(id, node.incarnation, birth);
        config.seed = birth + settings.seed.wrapping_mul(0x9e37_79b9);
        config.window = settings.window;
        config.message_bytes_max = settings.message_bytes_max;
        config.in_flight_bytes_max = settings.in_flight_bytes_max;
        config.kept_bytes_max = settings.kept_bytes_max;
        if settings.hasty {
            config.heartbeat_ticks = 1;
            config.election_timeout_ticks_min = 3;
            config.election_timeout_ticks_max = 9;
            config.retransmit_ticks = 3;
            config.watermark_ticks = 3;
        }
        let configuration = node.snapshot.as_ref().map_or_else(
            || Configuration::founded(&founders),
            |snapshot| snapshot.configuration.clone(),
        );
        let start = if settings.sparse {
            Replica::sparse
        } else {
            Replica::new
        };
        node.replica = Some(start(config, configuration, recovered));
        self.drain(id);
    }

    /// Loses everything between two replicas from here on, until [`Self::mend`].
    pub(crate) fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cut.remove(&(from, to));
    }

    pub(crate) fn mend_all(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Hands a message to its receiver, unless that is down or the link is cut.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        if self.is_cut(envelope.from, envelope.to) || !self.is_up(envelope.to) {
            return;
        }
        self.delivered.push(envelope.clone());
        self.turn(envelope.to, |replica| replica.step(envelope));
    }

    /// Delivers in order, and what is sent because of it, until nothing is on its way.
    pub(crate) fn settle(&mut self) {
        let mut delivered = 0;
        while !self.network.is_empty() {
            let envelope = self.network.remove(0);
            self.deliver(envelope);
            delivered += 1;
            assert!(
                delivered < SETTLE_MESSAGES_MAX,
                "the cluster does not come to rest: {:?}",
                self.network
            );
        }
    }

    /// Ticks everybody and delivers everything, so many times.
    pub(crate) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for id in self.ids() {
                self.tick(id);
            }
            self.settle();
        }
    }

    /// Lets one replica's clock alone run until it leads; says whether it came to.
    pub(crate) fn elect(&mut self, id: ReplicaId) -> bool {
        for _ in 0..ELECTION_TICKS_MAX {
            self.tick(id);
            self.settle();
            if self.replica(id).role() == paxos::Role::Leader {
                return true;
            }
        }
        false
    }

    /// Takes outputs until the replica has nothing more to do without the world.
    fn drain(&mut self, id: ReplicaId) {
        loop {
            let node = &mut self.nodes[usize::from(id.0)];
            let Some(replica) = &mut node.replica else {
                return;
            };
            let output = replica.take_output();
            node.take_in(
                output,
                self.settings.sparse,
                &mut self.network,
                &mut self.events,
            );
            let mut own_votes = 0;
            while let Some(envelope) = node.take_durable() {
                if envelope.to == id {
                    own_votes += 1;
                    let replica = node.replica.as_mut().expect("it was up above");
                    replica.step(envelope);
                } else {
                    self.events.push(Event::Sent(envelope.clone()));
                    self.network.push(envelope);
                }
            }
            if own_votes == 0 {
                return;
            }
        }
    }
}

impl Node {
    /// Does what one output says, in the order of the contract.
    fn take_in(
        &mut self,
        output: Output,
        sparse: bool,
        network: &mut Vec<Envelope>,
        events: &mut Vec<Event>,
    ) {
        let id = self.id;
        self.journal.extend(output.persist);
        if !self.disk_is_slow {
            self.durable = self.journal.len();
        }
        events.extend(output.notes.into_iter().map(|note| Event::Noted(id, note)));
        for envelope in output.messages {
            assert!(envelope.from == id && envelope.to != id, "{envelope}");
            events.push(Event::Sent(envelope.clone()));
            network.push(envelope);
        }
        for envelope in output.messages_when_durable {
            if self.durable < self.journal.len() && envelope.to != id {
                events.push(Event::Waits(envelope.clone()));
            }
            self.waiting.push_back((self.journal.len(), envelope));
        }
        for (slot, command) in output.chosen {
            if sparse {
                let known = self.decided.insert(slot, command.clone());
                assert!(
                    known.as_ref().is_none_or(|known| *known == command),
                    "{id} learns {command} in slot {slot}, and knew {known:?}"
                );
                events.push(Event::Applied(id, slot, command));
                continue;
            }
            assert!(
                slot == Slot(self.applied.len() as u64),
                "{id} applies slot {slot} after {} others",
                self.applied.len()
            );
            self.applied.push(command.clone());
            events.push(Event::Applied(id, slot, command));
        }
        events.extend(output.reads.into_iter().map(|read| Event::Read(id, read)));
    }

    fn take_durable(&mut self) -> Option<Envelope> {
        let (needs, _) = self.waiting.front()?;
        if *needs > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, envelope)| envelope)
    }

    fn recovered(&self) -> Recovered {
        self.snapshot
            .as_ref()
            .map_or_else(Recovered::new, |snapshot| {
                Recovered::from_snapshot(snapshot.slot())
            })
    }

    /// What the snapshot and the durable part of the journal could replay: how many slots.
    pub(crate) fn replayable(&self) -> Slot {
        let mut recovered = self.recovered();
        for batch in &self.journal[..self.durable] {
            recovered.batch(batch.state, batch.records.clone());
        }
        recovered.chosen_watermark()
    }
}

/// Opaque bytes of a word.
pub(crate) fn word(text: &str) -> Command {
    Command::Opaque(text.as_bytes().into())
}

/// What the replicas have applied, by slot; fails where two differ.
pub(crate) fn agreed(cluster: &Cluster) -> BTreeMap<Slot, Command> {
    let mut agreed = BTreeMap::new();
    for node in &cluster.nodes {
        for (slot, command) in (0..).map(Slot).zip(&node.applied) {
            let known = agreed.entry(slot).or_insert_with(|| command.clone());
            assert!(
                known == command,
                "{} applied {command} in slot {slot}, another {known}",
                node.id
            );
        }
    }
    agreed
}

/// A cluster at rest sends nothing without time passing; so many messages in one go are a storm.
const SETTLE_MESSAGES_MAX: usize = 100_000;
/// A canvass comes within the longest timeout; a lost election or two within this.
const ELECTION_TICKS_MAX: u64 = 400;
