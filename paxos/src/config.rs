//! What a replica is told when it starts: who it is, how long it waits, and how much it keeps in flight.

use crate::ballot::{Incarnation, ReplicaId};

/// The settings of one replica. Times are in ticks; the driver says how long a tick is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Which replica this is; must be a member.
    pub me: ReplicaId,
    /// The life of this replica's acceptor memory. Its votes count where the configuration names it.
    pub incarnation: Incarnation,
    /// 64 random bits that no other life of this proposer has used (RULES R2).
    pub birth: u64,
    /// The seed of this replica's random times.
    pub seed: u64,
    /// How many slots may be in flight, and how far a change of the voters lies ahead. All replicas of a cluster must
    /// have the same (RULES R1). At least 1.
    pub window: u64,
    /// How often a leader is heard.
    pub heartbeat_ticks: u64,
    /// A leader not heard for this long is not defended, and one that hears no majority for this long resigns.
    pub election_timeout_ticks_min: u64,
    /// A follower waits a random time between the least and this before it asks whether it should lead.
    pub election_timeout_ticks_max: u64,
    /// What has not been answered is sent again after this.
    pub retransmit_ticks: u64,
    /// A chosen watermark that no batch has carried to the journal is persisted by itself after this.
    pub watermark_ticks: u64,
    /// How many bytes of commands one message holds; a single longer command goes alone.
    pub message_bytes_max: usize,
    /// With so many bytes of commands in flight nothing more is proposed. Without this bound a burst of large commands
    /// would keep every disk and link busy for longer than an election timeout, and each new leader would begin by
    /// sending all of it again.
    pub in_flight_bytes_max: usize,
    /// Commands that some replica's journal lacks are kept in memory for it up to this; beyond it, those that this
    /// replica's own durable snapshot covers are forgotten, and who is away so long comes back by a snapshot (SPEC D5).
    pub kept_bytes_max: usize,
    /// The log above a snapshot that is being sent is kept up to this, so that the receiver can go on from there; beyond
    /// it, the receiver will need another snapshot.
    pub held_bytes_max: usize,
}

impl Config {
    /// Defaults for a tick of ten milliseconds.
    ///
    /// Heartbeats every 50 ms and timeouts of 250 to 500 ms: four heartbeats may be lost or late before anybody asks,
    /// and a dead leader costs a writer about half a second at worst.
    #[must_use]
    pub fn new(me: ReplicaId, incarnation: Incarnation, birth: u64) -> Self {
        Self {
            me,
            incarnation,
            birth,
            seed: birth,
            window: 64,
            heartbeat_ticks: 5,
            election_timeout_ticks_min: 25,
            election_timeout_ticks_max: 50,
            retransmit_ticks: 20,
            watermark_ticks: 10,
            message_bytes_max: 1 << 20,
            in_flight_bytes_max: 8 << 20,
            kept_bytes_max: 16 << 20,
            held_bytes_max: 256 << 20,
        }
    }
}
