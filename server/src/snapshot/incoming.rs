//! A snapshot that another replica sends: a file that grows as its bytes arrive, and counts only when it is verified whole.
//!
//! A transfer can be resumed after a crash: what verifies of the file that is there need not be sent again. It may also
//! go on from another replica, because every replica's snapshot of a slot has the same bytes; where one has not, the file
//! does not verify, and the transfer begins anew.

use std::sync::Arc;

use paxos::Slot;

use super::files::{self, Kept, incoming_name, incoming_slot_of};
use super::reader::{Restored, restore, verified_prefix};
use super::{SnapshotError, reserve};
use crate::journal::{Disk, GrowingFile};

/// A snapshot on its way to this replica.
#[derive(Debug)]
pub struct Incoming {
    disk: Arc<dyn Disk>,
    slot: Slot,
    name: String,
    file: Box<dyn GrowingFile>,
    /// What has arrived, from the beginning on without a gap.
    bytes: u64,
}

impl Incoming {
    /// Begins to receive the snapshot of `slot`, or goes on where an earlier process was interrupted. What was received
    /// of other slots is given up.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`].
    pub fn open(disk: Arc<dyn Disk>, slot: Slot) -> Result<Self, SnapshotError> {
        let name = incoming_name(slot);
        let mut bytes = 0;
        for other in files::list(&*disk)? {
            match incoming_slot_of(&other) {
                Some(found) if found == slot => bytes = verified_prefix(&*disk, &name, slot)?,
                Some(_) => reserve::give_up(&*disk, &other),
                None => {}
            }
        }
        let file = reserve::open(&*disk, &name, bytes)?;
        Ok(Self {
            disk,
            slot,
            name,
            file,
            bytes,
        })
    }

    /// Of which slot it is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// What is to be sent next: everything from this offset on.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.bytes
    }

    /// Takes bytes that stand at `offset`. Those that are here already are passed over; bytes behind a gap are not
    /// taken, and are to be asked for again. Returns the [offset](Self::offset) from then on.
    ///
    /// # Errors
    /// [`SnapshotError::Disk`]: the transfer is to be given up, and opened again.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, SnapshotError> {
        let repeated = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        if offset > self.bytes || repeated >= bytes.len() {
            return Ok(self.bytes);
        }
        let fresh = &bytes[repeated..];
        self.file
            .append(fresh)
            .map_err(SnapshotError::disk("write", &self.name))?;
        self.bytes += fresh.len() as u64;
        Ok(self.bytes)
    }

    /// Gives the transfer up.
    pub fn give_up(self) {
        reserve::give_up(&*self.disk, &self.name);
    }

    /// Everything has arrived: verifies it, gives it its name, and removes all others, because the log between them and it
    /// is not here; `kept` is then this one alone. The snapshot is durable when this returns, and its state is handed back.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`]: it is no whole snapshot of this slot and cluster, and was given up: to be asked for
    /// from the beginning. [`SnapshotError::NewerVersion`] likewise. [`SnapshotError::Disk`]: it does not count, or not
    /// for certain.
    pub fn finish(mut self, cluster: u64, kept: &mut Vec<Kept>) -> Result<Restored, SnapshotError> {
        let finished = self.verify_and_keep(cluster, kept);
        if finished.is_err() {
            self.give_up();
        }
        finished
    }

    fn verify_and_keep(
        &mut self,
        cluster: u64,
        kept: &mut Vec<Kept>,
    ) -> Result<Restored, SnapshotError> {
        self.file
            .finish()
            .map_err(SnapshotError::disk("sync", &self.name))?;
        let received = Kept {
            slot: self.slot,
            bytes: self.bytes,
            name: self.name.clone(),
        };
        let restored = restore(&*self.disk, &received, cluster)?;
        files::keep_received(&*self.disk, &self.name, self.slot, kept)?;
        Ok(restored)
    }
}
