//! Reading snapshots: verifying every byte, recomputing the state's hash, and falling back to the older one.
//!
//! Safe on arbitrary bytes: nothing is allocated beyond the length of the file, and nothing counts before the footer has
//! confirmed it. Nothing is written.

use paxos::Slot;
use xxhash_rust::xxh3::Xxh3;

use super::SnapshotError;
use super::files::{self, Kept};
use super::format::{
    BadHead, CHUNK_HEADER_BYTES, ChunkHeader, ChunkKind, FORMAT_VERSION, PRELUDE_BYTES, Prelude,
    decode_footer,
};
use crate::journal::Disk;
use crate::node::image::{Part, Parts, Tally};
use crate::node::state::State;
use crate::node::{PieceKind, SnapshotHead};

/// The state that a snapshot held.
#[derive(Debug)]
pub struct Restored {
    pub(crate) head: SnapshotHead,
    pub(crate) state: State,
}

impl Restored {
    /// Everything below it is in the state.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.head.slot
    }

    /// What the snapshot says beside the entries and sessions.
    #[must_use]
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }
}

/// What a directory had.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest whole snapshot; none in a young store.
    pub restored: Option<Restored>,
    /// What may count as kept, oldest first.
    pub kept: Vec<Kept>,
    /// Snapshots that were passed over, one sentence each, for the log.
    pub damage: Vec<String>,
}

impl Loaded {
    /// The slots of what is kept, oldest first.
    #[must_use]
    pub fn kept_slots(&self) -> Vec<Slot> {
        self.kept.iter().map(|kept| kept.slot).collect()
    }
}

/// Reads the newest whole snapshot of `cluster`; what is damaged or another cluster's is passed over.
///
/// # Errors
/// [`SnapshotError::NewerVersion`] and [`SnapshotError::Disk`]; nothing was changed.
pub fn load(disk: &dyn Disk, cluster: u64) -> Result<Loaded, SnapshotError> {
    let mut loaded = Loaded {
        kept: files::all(disk)?,
        ..Loaded::default()
    };
    while let Some(newest) = loaded.kept.last() {
        match restore(disk, newest, cluster) {
            Ok(restored) => {
                loaded.restored = Some(restored);
                break;
            }
            Err(error @ SnapshotError::Damaged { .. }) => {
                loaded.damage.push(error.to_string());
                loaded.kept.pop();
            }
            Err(error) => return Err(error),
        }
    }
    files::drop_surplus(&mut loaded.kept);
    Ok(loaded)
}

/// The state that a file of that name holds, which is to be a snapshot of `cluster`.
pub(super) fn restore(
    disk: &dyn Disk,
    kept: &Kept,
    cluster: u64,
) -> Result<Restored, SnapshotError> {
    let mut reading = Reading::open(disk, &kept.name)?;
    let head = reading.head.clone();
    if head.cluster != cluster || head.slot != kept.slot {
        let why = format!("it is of cluster {:016x}, slot {}", head.cluster, head.slot);
        return Err(SnapshotError::damaged(&kept.name, why));
    }
    let mut state = State::from_head(&head);
    while reading.next_chunk(&mut |part| state.restore(part))? {}
    Ok(Restored { head, state })
}

/// How much of the beginning of a file verifies, head and chunks, as a snapshot of `slot`.
pub(super) fn verified_prefix(
    disk: &dyn Disk,
    name: &str,
    slot: Slot,
) -> Result<u64, SnapshotError> {
    let mut reading = match Reading::open(disk, name) {
        Ok(reading) if reading.head.slot == slot => reading,
        // The file was room that was kept, and what was in it has not been overwritten.
        Ok(_) => return Ok(0),
        // What a transfer brought of another version is no beginning of a snapshot either.
        Err(SnapshotError::Damaged { .. } | SnapshotError::NewerVersion { .. }) => return Ok(0),
        Err(error) => return Err(error),
    };
    loop {
        match reading.next_chunk(&mut |_| {}) {
            Ok(true) => {}
            Ok(false) | Err(SnapshotError::Damaged { .. }) => return Ok(reading.verified_bytes),
            Err(error) => return Err(error),
        }
    }
}

/// A file that is being read from its beginning to its end.
struct Reading<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    bytes: u64,
    head: SnapshotHead,
    /// So much of the file has been read and verifies.
    verified_bytes: u64,
    chunks: u32,
    /// No piece of this kind may come any more: entries come before sessions.
    is_past_entries: bool,
    tally: Tally,
    whole: Xxh3,
}

impl<'a> Reading<'a> {
    fn open(disk: &'a dyn Disk, name: &'a str) -> Result<Self, SnapshotError> {
        let bytes = disk
            .length(name)
            .map_err(SnapshotError::disk("read", name))?;
        let bad_head = |bad| match bad {
            BadHead::NewerVersion(found) => SnapshotError::NewerVersion {
                file: name.to_owned(),
                found,
                newest: FORMAT_VERSION,
            },
            BadHead::Damaged => SnapshotError::damaged(name, "it does not begin like a snapshot"),
        };
        let prelude = read(disk, name, 0, PRELUDE_BYTES)?;
        let announced = Prelude::decode(&prelude).map_err(bad_head)?;
        let body = read(disk, name, PRELUDE_BYTES as u64, announced.body_bytes)?;
        let head = announced.head(&body).map_err(bad_head)?;
        let mut whole = Xxh3::new();
        whole.update(&prelude);
        whole.update(&body);
        Ok(Self {
            disk,
            name,
            bytes,
            head,
            verified_bytes: (prelude.len() + body.len()) as u64,
            chunks: 0,
            is_past_entries: false,
            tally: Tally::default(),
            whole,
        })
    }

    /// Verifies the next chunk and gives its parts to `each`. `false` when that was the footer and the file is whole.
    fn next_chunk(&mut self, each: &mut dyn FnMut(&Part<'_>)) -> Result<bool, SnapshotError> {
        let at = self.verified_bytes;
        let encoded = read(self.disk, self.name, at, CHUNK_HEADER_BYTES)?;
        let header =
            ChunkHeader::decode(&encoded).map_err(|_| self.damaged("it ends before its footer"))?;
        let bytes_left = self.bytes.saturating_sub(at + CHUNK_HEADER_BYTES as u64);
        if header.length() as u64 > bytes_left {
            return Err(self.damaged("it ends before its footer"));
        }
        let from = at + CHUNK_HEADER_BYTES as u64;
        let bytes = read(self.disk, self.name, from, header.length())?;
        let kind = header
            .verify(self.chunks, &bytes)
            .ok_or_else(|| self.damaged("a chunk does not verify"))?;
        let end = from + bytes.len() as u64;
        match kind {
            ChunkKind::Footer => {
                self.check_footer(&bytes, end)?;
                return Ok(false);
            }
            ChunkKind::Parts(kind) => self.take_parts(kind, &bytes, each)?,
        }
        self.whole.update(&encoded);
        self.whole.update(&bytes);
        self.chunks += 1;
        self.verified_bytes = end;
        Ok(true)
    }

    fn take_parts(
        &mut self,
        kind: PieceKind,
        bytes: &[u8],
        each: &mut dyn FnMut(&Part<'_>),
    ) -> Result<(), SnapshotError> {
        self.is_past_entries |= kind == PieceKind::Sessions;
        if self.is_past_entries && kind == PieceKind::Entries {
            return Err(self.damaged("entries behind sessions"));
        }
        for part in Parts::new(kind, bytes) {
            let (_, part) = part.map_err(|error| self.damaged(&format!("a chunk {error}")))?;
            self.tally.add(&part);
            each(&part);
        }
        Ok(())
    }

    fn check_footer(&self, bytes: &[u8], end: u64) -> Result<(), SnapshotError> {
        let (hash, checksum) =
            decode_footer(bytes).ok_or_else(|| self.damaged("its footer cannot be read"))?;
        if checksum != self.whole.digest() || end != self.bytes {
            return Err(self.damaged("it does not have the checksum that it names"));
        }
        if !self.tally.is_complete(&self.head) || hash != self.tally.hash(&self.head) {
            return Err(self.damaged("it does not hold the state whose hash it names"));
        }
        Ok(())
    }

    fn damaged(&self, why: &str) -> SnapshotError {
        SnapshotError::damaged(
            self.name,
            format!("{why} (behind byte {})", self.verified_bytes),
        )
    }
}

/// A file that is there and cannot be read is damaged; one that may not be read is for a person to mend.
fn read(disk: &dyn Disk, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, SnapshotError> {
    disk.read_at(name, offset, bytes)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => SnapshotError::disk("read", name)(error),
            _ => SnapshotError::damaged(name, format!("it cannot be read: {error}")),
        })
}
