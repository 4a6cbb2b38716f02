//! How a link opens: the replica that dialed sends its greeting, the other one answers with its own, and each of the
//! two decides whether it wants to talk to the other.
//!
//! ```text
//! 40 "KVPP" version:u16 cluster:u64 replica:u8 incarnation:u64 birth:u64 settings
//!    seen_incarnation:u64 seen_serial:u64
//! ```
//! Fields after these are ignored if the version is above ours. A stranger hears nothing from us.

use common::frame::append_frame;
use common::wire::FieldReader;
use common::{DecodeError, PEER_MAGIC};
use paxos::{Incarnation, ReplicaId};
use thiserror::Error;

use super::fields::Field;
use crate::identity::ClusterSettings;
use crate::settings::differences;

/// The version of the protocol between replicas described by this module and the codec.
pub const PEER_VERSION: u16 = 1;

/// Bytes of the longest greeting, without its length; a later version may say more than ours.
pub(super) const GREETING_BYTES_MAX: u32 = 512;

const GREETING: u8 = 0x40;

/// Who speaks on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerGreeting {
    /// The version of the protocol between replicas.
    pub version: u16,
    /// The cluster's id; 0 before it is founded.
    pub cluster: u64,
    /// Who the sender is.
    pub replica: ReplicaId,
    /// The life of its acceptor memory.
    pub incarnation: Incarnation,
    /// Drawn at each start of the process: a link from an earlier start is dead, whatever TCP says.
    pub birth: u64,
    /// What the sender's cluster is bound to, or would be.
    pub settings: ClusterSettings,
    /// The last life of the receiver that the sender heard of; all zero for none.
    pub seen_incarnation: Incarnation,
    /// The highest journal serial that the receiver named in that life; 0 for none (RULES R19).
    pub seen_serial: u64,
}

/// Why a link is refused. The text is for the log of the one that refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GreetingError {
    /// It does not begin as a peer does.
    #[error("{0}")]
    NotAReplica(&'static str),
    /// It begins as a peer does and goes on otherwise.
    #[error("its greeting {0}")]
    Malformed(#[from] DecodeError),
    /// It speaks another version.
    #[error("it speaks version {found} of the protocol between replicas, not {PEER_VERSION}")]
    Version {
        /// Which.
        found: u16,
    },
    /// It belongs to another cluster.
    #[error("it is {replica} of cluster {found:016x}, not of {own:016x}")]
    Cluster {
        /// Who it says it is.
        replica: ReplicaId,
        /// Its cluster.
        found: u64,
        /// Ours.
        own: u64,
    },
    /// No member has this id.
    #[error("it says that it is {replica}, which is no other member of this cluster")]
    UnknownReplica {
        /// The id.
        replica: ReplicaId,
    },
    /// Another member answers at this address.
    #[error("{found} answers at the address of {dialed}")]
    WrongReplica {
        /// Who answers.
        found: ReplicaId,
        /// Whose address it is.
        dialed: ReplicaId,
    },
    /// It would apply commands differently.
    #[error("{replica} was started with other settings of the cluster: {}", differences(.found, .own))]
    Settings {
        /// Who it is.
        replica: ReplicaId,
        /// Its settings.
        found: ClusterSettings,
        /// Ours.
        own: ClusterSettings,
    },
}

impl PeerGreeting {
    /// Appends the whole frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| {
            out.push(GREETING);
            out.extend_from_slice(&PEER_MAGIC);
            self.version.put(out);
            self.cluster.put(out);
            self.replica.put(out);
            self.incarnation.put(out);
            self.birth.put(out);
            self.settings.put(out);
            self.seen_incarnation.put(out);
            self.seen_serial.put(out);
        });
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// It is no greeting, or one of another version.
    pub fn decode(payload: &[u8]) -> Result<Self, GreetingError> {
        if let Some(reason) = foreign_protocol(payload) {
            return Err(GreetingError::NotAReplica(reason));
        }
        let mut fields = FieldReader::new(&payload[1 + PEER_MAGIC.len()..]);
        let version = fields.u16("version")?;
        if version != PEER_VERSION {
            return Err(GreetingError::Version { found: version });
        }
        let greeting = Self {
            version,
            cluster: Field::take(&mut fields, "cluster")?,
            replica: Field::take(&mut fields, "replica")?,
            incarnation: Field::take(&mut fields, "incarnation")?,
            birth: Field::take(&mut fields, "birth")?,
            settings: Field::take(&mut fields, "settings")?,
            seen_incarnation: Field::take(&mut fields, "seen_incarnation")?,
            seen_serial: Field::take(&mut fields, "seen_serial")?,
        };
        fields.end()?;
        Ok(greeting)
    }

    /// Whether this replica, which would greet with `self`, talks to `other`.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn check(&self, other: &Self) -> Result<(), GreetingError> {
        let replica = other.replica;
        if self.cluster != 0 && other.cluster != 0 && self.cluster != other.cluster {
            return Err(GreetingError::Cluster {
                replica,
                found: other.cluster,
                own: self.cluster,
            });
        }
        if self.settings != other.settings {
            return Err(GreetingError::Settings {
                replica,
                found: other.settings,
                own: self.settings,
            });
        }
        Ok(())
    }
}

/// What the first frame is, if it is no peer's greeting.
fn foreign_protocol(payload: &[u8]) -> Option<&'static str> {
    if payload.get(1..5) == Some(&common::MAGIC) {
        return Some("it speaks the client protocol");
    }
    let is_peer = payload.first() == Some(&GREETING) && payload.get(1..5) == Some(&PEER_MAGIC);
    (!is_peer).then_some("it is not a replica")
}
