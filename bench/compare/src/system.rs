//! The systems that are compared.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::plan::{FULL, Setting, Work};

/// What fits a datagram of 1,200 bytes, beside key and header.
const DATAGRAM_VALUE_BYTES_MAX: u32 = 1_000;

/// One of the systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum System {
    /// etcd, five members
    Etcd,
    /// One Redis, which syncs its file before it answers
    Redis,
    /// A Redis with four replicas, all of which sync; it answers before they have anything
    RedisReplicated,
    /// Our five replicas, asked over TCP
    Kvpaxos,
    /// The same, asked in datagrams
    KvpaxosUdp,
}

impl System {
    pub(crate) const ALL: [Self; 5] = [
        Self::Etcd,
        Self::Redis,
        Self::RedisReplicated,
        Self::Kvpaxos,
        Self::KvpaxosUdp,
    ];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Redis => "redis",
            Self::RedisReplicated => "redis-replicated",
            Self::Kvpaxos => "kvpaxos",
            Self::KvpaxosUdp => "kvpaxos-udp",
        }
    }

    /// For tables and plots.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Redis => "Redis alone",
            Self::RedisReplicated => "Redis + replicas",
            Self::Kvpaxos => "kvpaxos",
            Self::KvpaxosUdp => "kvpaxos, UDP",
        }
    }

    /// How many servers it has. A Redis alone has one, however many replicas are asked for.
    pub(crate) fn servers(self, setting: &Setting) -> u32 {
        match self {
            Self::Redis => 1,
            _ => setting.replicas,
        }
    }

    /// Whether it can be had in such a form. A Redis alone is not swept over replicas that it has not, and what does not
    /// fit a datagram goes over TCP.
    pub(crate) fn takes(self, setting: &Setting) -> bool {
        match self {
            Self::Redis => setting.replicas == FULL,
            Self::KvpaxosUdp => setting.value_bytes <= DATAGRAM_VALUE_BYTES_MAX,
            Self::Etcd | Self::RedisReplicated | Self::Kvpaxos => true,
        }
    }

    /// Whether its driver can do this. etcd's client has no requests that wait for each other.
    pub(crate) fn does(self, work: &Work) -> bool {
        self != Self::Etcd || work.pipeline == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_command_line_and_the_record_have() {
        for system in System::ALL {
            let on_command_line = system.to_possible_value().unwrap();
            assert_eq!(on_command_line.get_name(), system.name());
            let in_record = serde_json::to_value(system).unwrap();
            assert_eq!(in_record, system.name());
        }
    }
}
