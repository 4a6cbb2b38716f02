//! Who this replica is: its id, its incarnation, and the cluster that it was founded into.
//!
//! It is kept in one small file, which is replaced as a whole: a crash leaves the old one or the new one.
//! ```text
//! 0   magic        "KVPXIDEN"
//! 8   version      4 bytes
//! 12  length       4 bytes: of the whole file
//! 16  checksum     8 bytes: XXH3 of what follows, seeded with version and length
//! 24  replica      1 byte
//! 25  incarnation  8 bytes
//! 33  founded      1 byte: 0, or 1 and then
//!     cluster      8 bytes
//!     settings     value bytes, sessions, session expiry, hash interval: 4 bytes each; store bytes 8; window 4
//!     members      1 byte: how many; then of each its replica 1, incarnation 8 bytes
//! ```
//! Integers are little-endian. The first 24 bytes mean the same in every version, so that a newer one is told apart
//! from damage.

use std::fmt;
use std::io;

use byteorder::{LittleEndian, ReadBytesExt, WriteBytesExt};
use paxos::{Incarnation, ReplicaId};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::journal::{Disk, is_disk_full};

/// What the directory says of its owner. Written once when the directory is new, and once more at the founding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which replica these files belong to.
    pub replica: ReplicaId,
    /// The life of its acceptor memory (RULES R1).
    pub incarnation: Incarnation,
    /// The cluster, once it is founded.
    pub founding: Option<FoundingRecord>,
}

impl Identity {
    /// Reads the identity; `None` if there is none.
    ///
    /// # Errors
    /// When the file is damaged, of a newer version, or cannot be read.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, IdentityError> {
        match disk.read(FILE_NAME, FILE_BYTES_MAX) {
            Ok(bytes) => decode(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if is_damage(&error) => Err(damaged(format!("cannot be read: {error}"))),
            Err(source) => Err(IdentityError::Read { source }),
        }
    }

    /// Writes the identity in the place of the one that is there, if any. It is durable when this returns; on failure
    /// the one before it is still there, or this one.
    ///
    /// # Errors
    /// When the disk fails, or is full: see [`IdentityError::is_disk_full`].
    pub fn store(&self, disk: &dyn Disk) -> Result<(), IdentityError> {
        disk.write_new(TEMPORARY_NAME, &encode(self))
            .inspect_err(|_| {
                // A part of it would take room from what is tried next.
                let _ = disk.remove(TEMPORARY_NAME);
            })
            .and_then(|()| disk.rename(TEMPORARY_NAME, FILE_NAME))
            .and_then(|()| disk.sync_directory())
            .map_err(|source| IdentityError::Write { source })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} incarnation {}", self.replica, self.incarnation)?;
        match &self.founding {
            Some(founding) => write!(f, " of {founding}"),
            None => f.write_str(", of no cluster yet"),
        }
    }
}

/// Why an identity could not be loaded or stored.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// It is not what any release wrote. The memory of the acceptor cannot be trusted without it.
    #[error("{file}: {why}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// It was written by a later release.
    #[error("the identity file has format version {found}, this release reads up to {VERSION}")]
    NewerVersion {
        /// Its version.
        found: u32,
    },
    /// It may not be read.
    #[error("cannot read the identity file: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// It could not be made durable.
    #[error("cannot write the identity file: {source}")]
    Write {
        /// What the system said.
        source: io::Error,
    },
}

impl IdentityError {
    /// Whether somebody has but to make room: then it can be stored again.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Write { source } if is_disk_full(source))
    }
}

/// What founds a cluster: the configuration from slot 0 (RULES R11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundingRecord {
    /// 64 random bits, never 0.
    pub cluster: u64,
    /// Every member and the incarnation under which it votes, in order of ids.
    pub members: Vec<(ReplicaId, Incarnation)>,
    /// What apply depends on.
    pub settings: ClusterSettings,
}

impl fmt::Display for FoundingRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {:016x} (", self.cluster)?;
        for (place, (replica, incarnation)) in self.members.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{replica}:{incarnation}")?;
        }
        f.write_str(")")
    }
}

/// What belongs to the cluster rather than to a server, because applying a command depends on it (SPEC C5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The longest value, in bytes.
    pub value_bytes_max: u32,
    /// How many sessions there may be.
    pub sessions_max: u32,
    /// After how many seconds of log time an idle session is forgotten.
    pub session_expiry_s: u32,
    /// Every how many slots the state hash is noted.
    pub hash_interval: u32,
    /// How many bytes of keys and values the store may hold.
    pub store_bytes_max: u64,
    /// How many slots may be in flight; also the distance after which a change of the voters is in force (RULES R1).
    pub window: u32,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            value_bytes_max: 8 << 20,
            sessions_max: 1_000_000,
            session_expiry_s: 3_600,
            hash_interval: 1_024,
            store_bytes_max: 4 << 30,
            window: 64,
        }
    }
}

const FILE_NAME: &str = "identity";
const TEMPORARY_NAME: &str = "identity.tmp";
const MAGIC: &[u8; 8] = b"KVPXIDEN";
const VERSION: u32 = 1;
const PRELUDE_BYTES: usize = 24;

/// A file with the most members is a tenth of this.
const FILE_BYTES_MAX: u64 = 64 << 10;

fn encode(identity: &Identity) -> Vec<u8> {
    let mut body = Vec::new();
    write_body(identity, &mut body).expect("a vector takes every byte");
    let length = u32::try_from(PRELUDE_BYTES + body.len()).expect("at most 256 members");
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(checksum(VERSION, length, &body).to_le_bytes());
    file.extend(body);
    file
}

fn write_body(identity: &Identity, out: &mut Vec<u8>) -> io::Result<()> {
    out.write_u8(identity.replica.0)?;
    out.write_u64::<LittleEndian>(identity.incarnation.0)?;
    out.write_u8(identity.founding.is_some().into())?;
    let Some(founding) = &identity.founding else {
        return Ok(());
    };
    let settings = &founding.settings;
    out.write_u64::<LittleEndian>(founding.cluster)?;
    out.write_u32::<LittleEndian>(settings.value_bytes_max)?;
    out.write_u32::<LittleEndian>(settings.sessions_max)?;
    out.write_u32::<LittleEndian>(settings.session_expiry_s)?;
    out.write_u32::<LittleEndian>(settings.hash_interval)?;
    out.write_u64::<LittleEndian>(settings.store_bytes_max)?;
    out.write_u32::<LittleEndian>(settings.window)?;
    out.write_u8(u8::try_from(founding.members.len()).expect("a cluster has at most 255 members"))?;
    for (replica, incarnation) in &founding.members {
        out.write_u8(replica.0)?;
        out.write_u64::<LittleEndian>(incarnation.0)?;
    }
    Ok(())
}

fn decode(file: &[u8]) -> Result<Identity, IdentityError> {
    let (version, body) = decode_prelude(file).map_err(|why| damaged(why.to_owned()))?;
    if version > VERSION {
        return Err(IdentityError::NewerVersion { found: version });
    }
    let mut rest = body;
    match read_body(&mut rest) {
        Ok(identity) if rest.is_empty() && version == VERSION => Ok(identity),
        _ => Err(damaged("holds what no release wrote".to_owned())),
    }
}

fn decode_prelude(file: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    let (prelude, body) = file.split_at_checked(PRELUDE_BYTES).ok_or("is too short")?;
    let (magic, mut numbers) = prelude.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("does not begin like an identity file");
    }
    let numbers = &mut numbers;
    let version = numbers.read_u32::<LittleEndian>().unwrap_or(0);
    let length = numbers.read_u32::<LittleEndian>().unwrap_or(0);
    let expected = numbers.read_u64::<LittleEndian>().unwrap_or(0);
    if usize::try_from(length) != Ok(file.len()) || checksum(version, length, body) != expected {
        return Err("does not have the checksum that it names");
    }
    Ok((version, body))
}

fn read_body(body: &mut &[u8]) -> io::Result<Identity> {
    Ok(Identity {
        replica: ReplicaId(body.read_u8()?),
        incarnation: Incarnation(body.read_u64::<LittleEndian>()?),
        founding: match body.read_u8()? {
            0 => None,
            1 => Some(read_founding(body)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        },
    })
}

fn read_founding(body: &mut &[u8]) -> io::Result<FoundingRecord> {
    let cluster = body.read_u64::<LittleEndian>()?;
    let settings = ClusterSettings {
        value_bytes_max: body.read_u32::<LittleEndian>()?,
        sessions_max: body.read_u32::<LittleEndian>()?,
        session_expiry_s: body.read_u32::<LittleEndian>()?,
        hash_interval: body.read_u32::<LittleEndian>()?,
        store_bytes_max: body.read_u64::<LittleEndian>()?,
        window: body.read_u32::<LittleEndian>()?,
    };
    let mut members = Vec::new();
    for _ in 0..body.read_u8()? {
        let replica = ReplicaId(body.read_u8()?);
        members.push((replica, Incarnation(body.read_u64::<LittleEndian>()?)));
    }
    Ok(FoundingRecord {
        cluster,
        members,
        settings,
    })
}

fn checksum(version: u32, length: u32, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(version) << 32 | u64::from(length))
}

/// A file that is there and cannot be read is damaged; one that may not be read is for a person to mend.
fn is_damage(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::PermissionDenied
}

fn damaged(why: String) -> IdentityError {
    IdentityError::Damaged {
        file: FILE_NAME.to_owned(),
        why,
    }
}
