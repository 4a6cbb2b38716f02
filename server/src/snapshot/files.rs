//! The names of snapshot files, which of them are kept, and reading one that is to be sent.
//!
//! ```text
//! snapshot-00000000000000000123-0.snap   of slot 123; a second one of the same slot ends in -1
//! snapshot.tmp                           being written
//! incoming-00000000000000000123.tmp      being received
//! ```

use std::io;

use paxos::Slot;

use super::SnapshotError;
use crate::journal::Disk;

/// A snapshot that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Everything below it is in the snapshot.
    pub slot: Slot,
    /// How long the file is.
    pub bytes: u64,
    /// The name of the file.
    pub(super) name: String,
}

/// The newest snapshot there is, for sending. It was verified when it was made; the receiver verifies it again.
///
/// # Errors
/// When the directory cannot be read.
pub fn newest(disk: &dyn Disk) -> Result<Option<Kept>, SnapshotError> {
    Ok(all(disk)?.pop())
}

/// At most `bytes_max` bytes of the snapshot of `slot` from `offset` on: fewer at its end. `None` when that snapshot is
/// not kept any more.
///
/// # Errors
/// When it cannot be read.
pub fn read_piece(
    disk: &dyn Disk,
    slot: Slot,
    offset: u64,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, SnapshotError> {
    let names = list(disk)?;
    let Some(name) = names.iter().find(|name| slot_of(name) == Some(slot)) else {
        return Ok(None);
    };
    match disk.read_at(name, offset, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SnapshotError::disk("read", name)(error)),
    }
}

/// All snapshots, oldest first.
pub(super) fn all(disk: &dyn Disk) -> Result<Vec<Kept>, SnapshotError> {
    let mut names = list(disk)?;
    names.sort_unstable();
    let mut all = Vec::new();
    for name in names {
        if let Some(slot) = slot_of(&name) {
            let bytes = disk
                .length(&name)
                .map_err(SnapshotError::disk("read", &name))?;
            all.push(Kept { slot, bytes, name });
        }
    }
    Ok(all)
}

/// Gives the finished file `temporary` its name, and removes every snapshot but it and the newest of `kept`, which is
/// oldest first. What is kept then stands in `kept`. Durable when this returns.
pub(super) fn keep(
    disk: &dyn Disk,
    temporary: &str,
    slot: Slot,
    kept: &mut Vec<Kept>,
) -> Result<(), SnapshotError> {
    let bytes = disk
        .length(temporary)
        .map_err(SnapshotError::disk("read", temporary))?;
    // A third of one slot takes the name of the first: its bytes are the same.
    let copy = usize::from(
        kept.last()
            .is_some_and(|newest| newest.name == name_of(slot, 0)),
    );
    let name = name_of(slot, copy);
    disk.rename(temporary, &name)
        .map_err(SnapshotError::disk("rename", temporary))?;
    disk.sync_directory()
        .map_err(SnapshotError::disk("sync the directory of", &name))?;
    kept.retain(|one| one.name != name);
    kept.push(Kept { slot, bytes, name });
    kept.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    kept.drain(..surplus);
    for name in list(disk)? {
        if slot_of(&name).is_some() && kept.iter().all(|one| one.name != name) {
            disk.remove(&name)
                .map_err(SnapshotError::disk("remove", &name))?;
        }
    }
    Ok(())
}

pub(super) fn list(disk: &dyn Disk) -> Result<Vec<String>, SnapshotError> {
    disk.list().map_err(SnapshotError::disk(
        "list the directory of",
        "the snapshots",
    ))
}

fn name_of(slot: Slot, copy: usize) -> String {
    format!("snapshot-{:020}-{copy}.snap", slot.0)
}

/// Whether a file is a snapshot by its name.
#[must_use]
pub fn is_snapshot_name(name: &str) -> bool {
    slot_of(name).is_some()
}

/// The slot in the name of a snapshot; `None` for other names.
pub(super) fn slot_of(name: &str) -> Option<Slot> {
    let (slot, copy) = name
        .strip_prefix("snapshot-")?
        .strip_suffix(".snap")?
        .split_once('-')?;
    let (slot, copy) = (Slot(slot.parse().ok()?), copy.parse().ok()?);
    (name_of(slot, copy) == name && copy < KEPT_MAX).then_some(slot)
}

/// How a snapshot is called while it is written. There is one at a time, and what an earlier process left is overwritten.
pub(super) const TEMPORARY_NAME: &str = "snapshot.tmp";

pub(super) fn incoming_name(slot: Slot) -> String {
    format!("incoming-{:020}.tmp", slot.0)
}

/// The slot in the name of a snapshot that is being received; `None` for other names.
pub(super) fn incoming_slot_of(name: &str) -> Option<Slot> {
    let slot = name.strip_prefix("incoming-")?.strip_suffix(".tmp")?;
    let slot = Slot(slot.parse().ok()?);
    (incoming_name(slot) == name).then_some(slot)
}

/// How many snapshots are kept: see the module's text.
pub(super) const KEPT_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_snapshots_have_slots() {
        assert_eq!(slot_of(&name_of(Slot(7), 1)), Some(Slot(7)));
        assert_eq!(slot_of(&name_of(Slot(u64::MAX), 0)), Some(Slot(u64::MAX)));
        for name in ["snapshot-7-0.snap", "snapshot.tmp", "identity"] {
            assert_eq!(slot_of(name), None, "{name}");
        }
        assert_eq!(slot_of(&name_of(Slot(7), 2)), None);
        assert_eq!(incoming_slot_of(&incoming_name(Slot(7))), Some(Slot(7)));
        assert_eq!(incoming_slot_of("incoming-7.tmp"), None);
        assert!(name_of(Slot(9), 1) < name_of(Slot(10), 0));
    }
}
