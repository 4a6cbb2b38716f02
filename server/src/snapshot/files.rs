//! The names of snapshot files, which of them are kept, and reading one that is to be sent.
//!
//! ```text
//! snapshot-00000000000000000123-0.snap   of slot 123; a second one of the same slot ends in -1
//! received-00000000000000000123.snap     from another replica: the log between older ones and it is not here
//! snapshot.tmp                           being written
//! incoming-00000000000000000123.tmp      being received
//! snapshot-0.reserve, snapshot-1.reserve room for the next two, written or received; what is in it is arbitrary
//! ```

use std::io;

use paxos::Slot;

use super::{SnapshotError, reserve};
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

/// Gives up what an earlier process was writing, `kept` being the snapshots. What it was receiving stays, if it is newer
/// than these, since the transfer may go on.
///
/// # Errors
/// When the directory cannot be read.
pub fn give_up_leftovers(disk: &dyn Disk, kept: &[Kept]) -> Result<(), SnapshotError> {
    for name in list(disk)? {
        let slot = incoming_slot_of(&name);
        let is_old = slot.is_some_and(|slot| kept.last().is_some_and(|kept| slot <= kept.slot));
        if is_old || name == TEMPORARY_NAME {
            reserve::give_up(disk, &name);
        }
    }
    Ok(())
}

/// All snapshots, oldest first.
pub(super) fn all(disk: &dyn Disk) -> Result<Vec<Kept>, SnapshotError> {
    let mut all = Vec::new();
    for name in list(disk)? {
        if let Some(slot) = slot_of(&name) {
            let bytes = disk
                .length(&name)
                .map_err(SnapshotError::disk("read", &name))?;
            all.push(Kept { slot, bytes, name });
        }
    }
    sort(&mut all);
    Ok(all)
}

/// Drops what does not count as kept, from snapshots that stand oldest first: all but the newest two, and what is older
/// than one that came from another replica.
pub(super) fn drop_surplus(kept: &mut Vec<Kept>) {
    let received = kept.iter().rposition(|one| one.name.starts_with(RECEIVED));
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    kept.drain(..surplus.max(received.unwrap_or(0)));
}

/// Removes all that are kept. One that cannot be removed counts no more than the others.
pub fn drop_all(disk: &dyn Disk, kept: &mut Vec<Kept>) {
    for one in kept.drain(..) {
        let _ = disk.remove(&one.name);
    }
}

fn sort(kept: &mut [Kept]) {
    kept.sort_unstable_by(|one, other| (one.slot, &one.name).cmp(&(other.slot, &other.name)));
}

/// Gives the finished file `temporary` the name of a snapshot of this replica's own state: see [`keep`].
pub(super) fn keep_own(
    disk: &dyn Disk,
    temporary: &str,
    slot: Slot,
    kept: &mut Vec<Kept>,
) -> Result<(), SnapshotError> {
    // A third of one slot takes the name of the first: its bytes are the same.
    let copy = usize::from(
        kept.last()
            .is_some_and(|newest| newest.name == own_name(slot, 0)),
    );
    keep(disk, temporary, slot, own_name(slot, copy), kept)
}

/// Gives the finished file `temporary` the name of a snapshot that came from another replica: see [`keep`].
pub(super) fn keep_received(
    disk: &dyn Disk,
    temporary: &str,
    slot: Slot,
    kept: &mut Vec<Kept>,
) -> Result<(), SnapshotError> {
    keep(disk, temporary, slot, received_name(slot), kept)
}

/// Gives a finished file its name, and removes every snapshot that does not count any more. What does then stands in
/// `kept`, oldest first. Durable when this returns.
fn keep(
    disk: &dyn Disk,
    temporary: &str,
    slot: Slot,
    name: String,
    kept: &mut Vec<Kept>,
) -> Result<(), SnapshotError> {
    let bytes = disk
        .length(temporary)
        .map_err(SnapshotError::disk("read", temporary))?;
    disk.rename(temporary, &name)
        .map_err(SnapshotError::disk("rename", temporary))?;
    disk.sync_directory()
        .map_err(SnapshotError::disk("sync the directory of", &name))?;
    kept.retain(|one| one.name != name);
    kept.push(Kept { slot, bytes, name });
    sort(kept);
    drop_surplus(kept);
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

fn own_name(slot: Slot, copy: usize) -> String {
    format!("snapshot-{:020}-{copy}.snap", slot.0)
}

fn received_name(slot: Slot) -> String {
    format!("{RECEIVED}{:020}.snap", slot.0)
}

/// Whether a file is a snapshot by its name.
#[must_use]
pub fn is_snapshot_name(name: &str) -> bool {
    slot_of(name).is_some()
}

/// The slot in the name of a snapshot; `None` for other names.
pub(super) fn slot_of(name: &str) -> Option<Slot> {
    let slot = name
        .strip_prefix("snapshot-")
        .or_else(|| name.strip_prefix(RECEIVED))?
        .get(..20)?;
    let slot = Slot(slot.parse().ok()?);
    let is_own = (0..KEPT_MAX).any(|copy| own_name(slot, copy) == name);
    (is_own || received_name(slot) == name).then_some(slot)
}

const RECEIVED: &str = "received-";

/// How a snapshot is called while it is written. There is one at a time, and what an earlier one left is overwritten.
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
        assert_eq!(slot_of(&own_name(Slot(7), 1)), Some(Slot(7)));
        assert_eq!(slot_of(&own_name(Slot(u64::MAX), 0)), Some(Slot(u64::MAX)));
        assert_eq!(slot_of(&received_name(Slot(7))), Some(Slot(7)));
        for name in ["snapshot-7-0.snap", "snapshot.tmp", "identity"] {
            assert_eq!(slot_of(name), None, "{name}");
        }
        assert_eq!(slot_of(&own_name(Slot(7), 2)), None);
        assert_eq!(incoming_slot_of(&incoming_name(Slot(7))), Some(Slot(7)));
        assert_eq!(incoming_slot_of("incoming-7.tmp"), None);
    }

    #[test]
    fn what_is_older_than_a_received_one_does_not_count() {
        let kept = |names: &[String]| -> Vec<Kept> {
            let kept = names.iter().map(|name| Kept {
                slot: slot_of(name).unwrap(),
                bytes: 1,
                name: name.clone(),
            });
            kept.collect()
        };
        let own = |slot| own_name(Slot(slot), 0);
        let mut all = kept(&[own(10), received_name(Slot(9)), own(8), own(9)]);
        sort(&mut all);
        drop_surplus(&mut all);
        assert_eq!(all, kept(&[own(9), own(10)]));
        let mut all = kept(&[own(10), received_name(Slot(10)), own(8), own(9)]);
        sort(&mut all);
        drop_surplus(&mut all);
        assert_eq!(all, kept(&[received_name(Slot(10)), own(10)]));
        let mut all = kept(&[own(8), own(9), received_name(Slot(10))]);
        drop_surplus(&mut all);
        assert_eq!(all, kept(&[received_name(Slot(10))]));
    }
}
