//! The command line and the environment, parsed and checked.
//!
//! Every flag has a variable `KVPAXOS_...` of the same name; the flag wins. What clap finds wrong, and what does not
//! fit together, is said in a sentence and ends the process with exit code 2.

mod parse;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};
use common::DATAGRAM_BYTES_MAX_DEFAULT;
use log::LevelFilter;
use paxos::{Agent, ReplicaId};
use thiserror::Error;

pub use self::parse::is_loopback;
use self::parse::{
    check_address, datagram_bytes_parser, log_level_parser, parse_id, parse_members, parse_seconds,
    parse_time, parse_times,
};
use crate::config::{Config, Member};
use crate::failing::FailingSettings;
use crate::settings::GivenSettings;

/// One replica of kvpaxos, a replicated key-value store
///
/// Without arguments: a durable store of one replica, with its files in ./kvpaxos-data. What is fixed when the cluster is
/// founded can be left out later.
#[derive(Clone, Debug, Parser)]
#[command(name = "kvpaxos-server", version = VERSION_TEXT.as_str(), max_term_width = HELP_COLUMNS_MAX)]
pub struct Arguments {
    /// Which of the members this replica is: 0 to 255
    #[arg(long, env = "KVPAXOS_ID", default_value_t = 0, value_name = "ID", value_parser = parse_id)]
    pub id: u8,

    /// All replicas of the cluster and where they reach each other: 0=host:port,1=host:port,...
    #[arg(long, env = "KVPAXOS_MEMBERS", value_name = "LIST")]
    pub members: Option<String>,

    /// Where to listen for clients
    #[arg(
        long,
        env = "KVPAXOS_TCP",
        default_value = "127.0.0.1:1111",
        value_name = "HOST:PORT"
    )]
    pub tcp: String,

    /// Where to take requests in datagrams, or "none"
    #[arg(
        long,
        env = "KVPAXOS_UDP",
        default_value = "127.0.0.1:5555",
        value_name = "HOST:PORT"
    )]
    pub udp: String,

    /// The longest datagram taken and sent: 512 to 65507 bytes
    #[arg(long, env = "KVPAXOS_DATAGRAM_BYTES_MAX", default_value_t = DATAGRAM_BYTES_MAX_DEFAULT,
        value_name = "BYTES", value_parser = datagram_bytes_parser())]
    pub datagram_bytes_max: u32,

    /// Where to listen for the other replicas [default: the own address of --members]
    #[arg(long, env = "KVPAXOS_LISTEN_PEERS", value_name = "HOST:PORT")]
    pub listen_peers: Option<String>,

    /// The directory of this replica's files [default: ./kvpaxos-data]
    #[arg(long, env = "KVPAXOS_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Run without a disk: after a restart this replica is blank
    ///
    /// A blank replica learns from the others and votes again when they have agreed on it, for which a majority of all
    /// members must have kept its memory, on a disk or by running on: restart the next one when "status" shows no role
    /// "blank" any more. When half of the members or more have lost their memory, what was stored is lost; when all
    /// have, they begin a new cluster. A replica alone begins empty each time. Members with and without disks may be
    /// mixed.
    ///
    /// Memory is bounded by what is stored (--store-bytes-max, and 200 bytes a session), by 16 MiB of log
    /// for members that are away, and, while a member that came back is given a snapshot, by a copy of what is stored
    /// in each of the two and 256 MiB of log.
    #[arg(long, env = "KVPAXOS_MEMORY", value_parser = BoolishValueParser::new())]
    pub memory: bool,

    /// How many threads serve clients: 1 to 64
    #[arg(long, env = "KVPAXOS_WORKERS", default_value_t = 2, value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,

    /// How long a request waits for a majority before it is answered "no quorum"
    #[arg(long, env = "KVPAXOS_NO_QUORUM_AFTER", default_value = "5s", value_name = "TIME",
        value_parser = parse_time, allow_hyphen_values = true)]
    pub no_quorum_after: Duration,

    /// How GETs are made linearizable: a majority confirms the leader, or they go through the log
    #[arg(
        long,
        env = "KVPAXOS_READS",
        default_value = "majority",
        value_name = "HOW"
    )]
    pub reads: Reads,

    /// The longest value: 1 to 67108864 bytes [default: the cluster's, or 8388608]
    #[arg(long, help_heading = CLUSTER_HEADING, env = "KVPAXOS_VALUE_BYTES_MAX", value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(1..=VALUE_BYTES_MAX_MAX))]
    pub value_bytes_max: Option<u32>,

    /// How many clients may have a session at once: 1 to 16777216 [default: the cluster's, or 1000000]
    #[arg(long, help_heading = CLUSTER_HEADING, env = "KVPAXOS_SESSIONS_MAX", value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=SESSIONS_MAX_MAX))]
    pub sessions_max: Option<u32>,

    /// How long an idle client is remembered: 1s to a century [default: the cluster's, or 1h]
    #[arg(long, help_heading = CLUSTER_HEADING, env = "KVPAXOS_SESSION_EXPIRY", value_name = "TIME",
        value_parser = parse_seconds, allow_hyphen_values = true)]
    pub session_expiry: Option<u32>,

    /// Every how many slots the replicas compare their states: 16 or more [default: the cluster's, or 1024]
    #[arg(long, help_heading = CLUSTER_HEADING, env = "KVPAXOS_HASH_INTERVAL", value_name = "SLOTS",
        value_parser = clap::value_parser!(u32).range(HASH_INTERVAL_MIN..))]
    pub hash_interval: Option<u32>,

    /// How many bytes of keys and values are stored at most: 1 or more [default: the cluster's, or 4294967296]
    #[arg(long, help_heading = CLUSTER_HEADING, env = "KVPAXOS_STORE_BYTES_MAX", value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub store_bytes_max: Option<u64>,

    /// How many clients may be connected at once: 1 or more, as far as there are descriptors
    #[arg(long, env = "KVPAXOS_CONNECTIONS_MAX", default_value_t = 16_384, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,

    /// End these parts of the replica now and then, one at a time, and replace them
    #[arg(
        long,
        help_heading = FAILURES_HEADING,
        env = "KVPAXOS_FAIL_ROLES",
        value_delimiter = ',',
        value_name = "ROLES"
    )]
    pub fail_roles: Vec<FailRole>,

    /// How long all parts are well between two such failures
    #[arg(long, help_heading = FAILURES_HEADING, env = "KVPAXOS_FAIL_EVERY", default_value = "2s..6s", value_name = "TIME..TIME",
        value_parser = parse_times)]
    pub fail_every: RangeInclusive<Duration>,

    /// How long such a failure lasts
    #[arg(long, help_heading = FAILURES_HEADING, env = "KVPAXOS_FAIL_FOR", default_value = "500ms..2s", value_name = "TIME..TIME",
        value_parser = parse_times)]
    pub fail_for: RangeInclusive<Duration>,

    /// Write the log to this file instead of standard error
    #[arg(long, env = "KVPAXOS_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// How much to log; debug shows each request and answer
    #[arg(long, env = "KVPAXOS_LOG_LEVEL", default_value = "info", value_name = "LEVEL",
        value_parser = log_level_parser())]
    pub log_level: LevelFilter,

    /// Ask the replica that listens at --tcp whether it serves: exit code 0 if so, else 1
    #[arg(long)]
    pub health: bool,
}

/// How GETs are made linearizable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reads {
    /// A majority confirms that the leader still leads.
    Majority,
    /// A GET is a command of the log like any write: slower, for study.
    Log,
}

/// A part of the replica that may fail on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailRole {
    /// Promises and accepts.
    Acceptor,
    /// Leads, or tries to.
    Proposer,
    /// Knows what is chosen, and what came of it.
    Learner,
}

impl From<FailRole> for Agent {
    fn from(role: FailRole) -> Self {
        match role {
            FailRole::Acceptor => Self::Acceptor,
            FailRole::Proposer => Self::Proposer,
            FailRole::Learner => Self::Learner,
        }
    }
}

/// Arguments that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArgumentsError {
    /// One entry of the member list is not `id=host:port`.
    #[error("--members: {entry:?} is not of the form ID=HOST:PORT with an id from 0 to 255")]
    MemberForm {
        /// The entry.
        entry: String,
    },
    /// Two entries have one id.
    #[error("--members: replica {id} is listed twice")]
    MemberTwice {
        /// The id.
        id: u8,
    },
    /// The list does not have this replica.
    #[error("--members: replica {id}, which --id says that this one is, is not listed")]
    MemberMissing {
        /// The id.
        id: u8,
    },
    /// An id without a list.
    #[error(
        "--id {id} needs --members, the list of all replicas; without it there is one, with id 0"
    )]
    IdWithoutMembers {
        /// The id.
        id: u8,
    },
    /// A replica without a disk has no directory.
    #[error(
        "--memory and --data: a replica without a disk keeps nothing in a directory; give one of the two"
    )]
    MemoryAndData,
    /// An agent's successor starts from the disk.
    #[error(
        "--memory and --fail-roles: what takes the place of a failed role starts from the disk, and there is none"
    )]
    MemoryAndFailRoles,
    /// The port of an address is none.
    #[error("{flag}: {address:?} is not of the form HOST:PORT with a port from 0 to 65535")]
    AddressPort {
        /// Which flag.
        flag: &'static str,
        /// What it said.
        address: String,
    },
    /// An address is not `host:port`.
    #[error("{flag}: {address:?} is not of the form HOST:PORT")]
    AddressForm {
        /// Which flag.
        flag: &'static str,
        /// What it said.
        address: String,
    },
}

impl Arguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// The arguments do not fit together.
    pub fn config(&self) -> Result<Config, ArgumentsError> {
        check_address("--tcp", &self.tcp)?;
        let datagram_address = (self.udp != NO_UDP).then(|| self.udp.clone());
        if let Some(address) = &datagram_address {
            check_address("--udp", address)?;
        }
        if let Some(address) = &self.listen_peers {
            check_address("--listen-peers", address)?;
        }
        Ok(Config {
            replica: ReplicaId(self.id),
            members: self.member_list()?,
            client_address: self.tcp.clone(),
            datagram_address,
            datagram_bytes_max: self.datagram_bytes_max as usize,
            peer_address: self.listen_peers.clone(),
            data: self.directory()?,
            workers: self.workers,
            no_quorum_after: self.no_quorum_after,
            reads_through_log: self.reads == Reads::Log,
            cluster: self.given_settings(),
            connections_max: self.connections_max as usize,
            failing: self.failing(),
        })
    }

    /// Where the files are; nowhere in memory. Both flags at once are refused rather than one of them passed over: who
    /// names a directory means to keep what is stored.
    fn directory(&self) -> Result<Option<PathBuf>, ArgumentsError> {
        match (&self.data, self.memory) {
            (Some(_), true) => Err(ArgumentsError::MemoryAndData),
            (None, true) if !self.fail_roles.is_empty() => Err(ArgumentsError::MemoryAndFailRoles),
            (None, true) => Ok(None),
            (data, false) => Ok(Some(data.clone().unwrap_or_else(|| DATA_DEFAULT.into()))),
        }
    }

    fn failing(&self) -> Option<FailingSettings> {
        let agents: Vec<Agent> = self.fail_roles.iter().copied().map(Agent::from).collect();
        (!agents.is_empty()).then(|| FailingSettings {
            agents,
            every: self.fail_every.clone(),
            lasts: self.fail_for.clone(),
        })
    }

    fn given_settings(&self) -> GivenSettings {
        GivenSettings {
            value_bytes_max: self.value_bytes_max,
            sessions_max: self.sessions_max,
            session_expiry_s: self.session_expiry,
            hash_interval: self.hash_interval,
            store_bytes_max: self.store_bytes_max,
        }
    }

    fn member_list(&self) -> Result<Vec<Member>, ArgumentsError> {
        let Some(list) = &self.members else {
            return match self.id {
                0 => Ok(vec![lone_member()]),
                id => Err(ArgumentsError::IdWithoutMembers { id }),
            };
        };
        let members = parse_members(list)?;
        if members.iter().any(|member| member.id.0 == self.id) {
            Ok(members)
        } else {
            Err(ArgumentsError::MemberMissing { id: self.id })
        }
    }
}

/// A value travels in one frame and is written in one journal batch, so it cannot be of any size.
const VALUE_BYTES_MAX_MAX: i64 = 64 << 20;

/// Some 3 GiB of memory.
const SESSIONS_MAX_MAX: i64 = 16 << 20;

/// The entry that compares a state is in a slot itself: with an interval of one it would be compared for ever.
const HASH_INTERVAL_MIN: i64 = 16;

/// Wider text is hard to read.
const HELP_COLUMNS_MAX: usize = 100;

/// What stands above the settings of the cluster.
const CLUSTER_HEADING: &str = "Settings of the cluster, fixed when it is founded";

/// What stands above the flags that make a replica fail.
const FAILURES_HEADING: &str = "Failures on purpose, never in earnest";

/// Without `--data`.
const DATA_DEFAULT: &str = "./kvpaxos-data";

/// What `--udp` says for no datagrams at all.
const NO_UDP: &str = "none";

/// What `--version` says and the first log line repeats: version, commit, wire versions.
pub static VERSION_TEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} commit {} wire {} peers {}",
        env!("CARGO_PKG_VERSION"),
        env!("KVPAXOS_COMMIT"),
        common::PROTOCOL_VERSION,
        crate::peers::PEER_VERSION,
    )
});

/// A cluster of one needs no address of its own.
fn lone_member() -> Member {
    Member {
        id: ReplicaId(0),
        address: "127.0.0.1:0".to_owned(),
    }
}

#[cfg(test)]
mod tests;
