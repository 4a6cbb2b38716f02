//! What is not proposed because disks are nearly full (RULES R18).
//!
//! The driver says how much its journal can still write; agreement says what a majority can. Below the reserve nothing is
//! proposed that adds to the store: what remains is for what is in flight already, and for what makes room, DELETE above
//! all. Below the rest nothing of clients is proposed any more, and what remains is for agreement itself. GET needs no
//! disk. Every replica refuses its own clients, before a copy of their write goes anywhere.

use common::{ChangeRef, Refusal};
use log::{info, warn};
use paxos::{Replica, Space};

use super::batch::{self, Item};
use super::{Node, Phase};
use crate::journal::segment_bytes_max;

/// What this replica knows of its own disk, and what it last told people.
#[derive(Debug)]
pub(super) struct DiskSpace {
    writable_bytes: u64,
    own: Space,
    of_majority: Space,
}

impl Default for DiskSpace {
    /// Until the journal has looked there is nothing to complain of.
    fn default() -> Self {
        Self {
            writable_bytes: u64::MAX,
            own: Space::Ample,
            of_majority: Space::Ample,
        }
    }
}

impl Node {
    /// The journal can write so many bytes more, what it has set aside included. `is_stalled`: something waits there that
    /// does not fit.
    pub fn note_room(&mut self, writable_bytes: u64, is_stalled: bool) {
        let before = self.disk_space.own;
        let reserve_bytes = reserve_bytes(self.settings.cluster.value_bytes_max, writable_bytes);
        let own = if is_stalled {
            Space::Spent
        } else {
            space_of(writable_bytes, before, reserve_bytes)
        };
        self.disk_space.writable_bytes = writable_bytes;
        self.disk_space.own = own;
        if let Phase::Running(replica) = &mut self.phase {
            replica.note_space(own);
        }
        let mib = writable_bytes >> 20;
        match (own < before, own) {
            (true, Space::Spent) if is_stalled => {
                warn!("the disk is full: this replica's acceptor is silent until there is room");
            }
            (true, _) => warn!(
                "the disk takes only {mib} MiB more; {} MiB are kept in reserve",
                reserve_bytes >> 20
            ),
            (false, Space::Ample) if before != own => info!("the disk takes {mib} MiB again"),
            (false, _) => {}
        }
    }

    /// Tells a replica that has just begun to run.
    pub(super) fn pass_on_space(&mut self) {
        if let Phase::Running(replica) = &mut self.phase {
            replica.note_space(self.disk_space.own);
        }
    }

    /// How much the journal can still write.
    pub(super) fn writable_bytes(&self) -> u64 {
        self.disk_space.writable_bytes
    }

    /// Whether this replica's own disk is nearly full.
    pub(super) fn is_short_of_space(&self) -> bool {
        self.disk_space.own < Space::Ample
    }

    /// What may be proposed, as far as a leader is heard that could know.
    pub(super) fn space(&self) -> Space {
        let heard = self.replica().filter(|replica| replica.leader().is_some());
        heard.map_or(Space::Ample, Replica::space)
    }

    /// Why a client's change is not taken now, if it is not.
    pub(super) fn refusal_for_space(&self, change: Option<ChangeRef<'_>>) -> Option<Refusal> {
        let space = self.space();
        (!takes(space, change)).then_some(refusal(space))
    }

    /// Of a follower's requests those for which there is room. The others it refuses itself, as soon as it hears how
    /// things are.
    pub(super) fn without_what_lacks_space(&self, requests: Vec<u8>) -> Vec<u8> {
        match self.space() {
            Space::Ample => requests,
            space => batch::retain(&requests, |item| takes_item(space, item)),
        }
    }

    /// Refuses what waits to be handed over and finds no room. Of what was handed over before, a copy may be under way:
    /// that is not refused, and not handed over again.
    pub(super) fn refuse_for_space(&mut self) {
        let space = self.space();
        if space == Space::Ample {
            return;
        }
        let takes = |item: &[u8]| {
            let item = batch::Items::new(item).next();
            item.is_none_or(|item| item.is_ok_and(|item| takes_item(space, &item)))
        };
        for request in self.held.turn_away(self.now, takes) {
            self.give_up(&request, &refusal(space));
        }
    }

    /// Tells people when clients are refused, and when they are not any more.
    pub(super) fn tick_disk_space(&mut self) {
        let space = self.space();
        let before = std::mem::replace(&mut self.disk_space.of_majority, space);
        if space != before {
            match space {
                Space::Ample => info!("the disks of a majority have room again: all is served"),
                Space::Reserve | Space::Spent => {
                    warn!("writes are refused from now on: {}", refusal(space));
                }
            }
        }
    }

    /// For the status report; empty while there is nothing to say.
    pub(super) fn disk_space_remark(&self) -> String {
        let DiskSpace {
            writable_bytes,
            own,
            ..
        } = self.disk_space;
        let space = self.space();
        let mut remark = match own {
            Space::Ample => String::new(),
            Space::Reserve | Space::Spent => {
                format!("its disk takes only {} MiB more", writable_bytes >> 20)
            }
        };
        if space != Space::Ample {
            let comma = if remark.is_empty() { "" } else { "; " };
            remark = format!("{remark}{comma}{}", refusal(space));
        }
        remark
    }
}

/// Whether there is room for a change, or, with `None`, for anything else that a client may put into the log.
fn takes(space: Space, change: Option<ChangeRef<'_>>) -> bool {
    match space {
        Space::Ample => true,
        Space::Reserve => !matches!(
            change,
            Some(ChangeRef::Put { .. } | ChangeRef::Append { .. })
        ),
        Space::Spent => false,
    }
}

fn takes_item(space: Space, item: &Item<'_>) -> bool {
    match item {
        Item::Write(write) => takes(space, Some(write.change)),
        Item::OpenSession { .. } | Item::Read { .. } => takes(space, None),
        Item::Hash { .. } => true,
    }
}

fn refusal(space: Space) -> Refusal {
    Refusal::DiskFull {
        refuses_deletes: space == Space::Spent,
    }
}

/// How much a disk takes that takes so many bytes. It has to gain some before it counts as more than it was, so that a
/// disk at the edge does not go back and forth.
fn space_of(writable_bytes: u64, before: Space, reserve_bytes: u64) -> Space {
    let margin = |space| if before < space { MARGIN_BYTES } else { 0 };
    if writable_bytes >= reserve_bytes + margin(Space::Ample) {
        Space::Ample
    } else if writable_bytes >= REST_BYTES + margin(Space::Reserve) {
        Space::Reserve
    } else {
        Space::Spent
    }
}

/// What is kept for what is in flight when the last PUT is proposed, with what is proposed before all have heard of it,
/// and for two segments, because the journal takes space by segments, which are shorter on a small disk. The next snapshot
/// has a file of its own already.
fn reserve_bytes(value_bytes_max: u32, writable_bytes: u64) -> u64 {
    IN_FLIGHT_BYTES + u64::from(value_bytes_max) + 2 * segment_bytes_max(writable_bytes)
}

/// The window in bytes, and as much again for what is proposed within one heartbeat.
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// What DELETE leaves: the no-ops of eight new leaders, a window each in blocks of 4 KiB, rejoins and log time.
const REST_BYTES: u64 = 2 << 20;

const MARGIN_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_at_the_edge_does_not_go_back_and_forth() {
        let reserve = reserve_bytes(8 << 20, 1 << 40);
        assert_eq!(reserve, 56 << 20);
        assert_eq!(space_of(reserve, Space::Ample, reserve), Space::Ample);
        assert_eq!(space_of(reserve - 1, Space::Ample, reserve), Space::Reserve);
        assert_eq!(space_of(reserve, Space::Reserve, reserve), Space::Reserve);
        let more = reserve + MARGIN_BYTES;
        assert_eq!(space_of(more, Space::Reserve, reserve), Space::Ample);
        assert_eq!(space_of(REST_BYTES, Space::Spent, reserve), Space::Spent);
        assert_eq!(space_of(0, Space::Ample, reserve), Space::Spent);
    }

    #[test]
    fn a_small_disk_keeps_less_in_reserve() {
        let space = |mib: u64| {
            let writable_bytes = mib << 20;
            let reserve = reserve_bytes(8 << 20, writable_bytes);
            space_of(writable_bytes, Space::Ample, reserve)
        };
        assert_eq!(space(90), Space::Ample);
        assert_eq!(space(33), Space::Ample);
        assert_eq!(space(31), Space::Reserve);
    }

    #[test]
    fn what_makes_room_is_taken_longest() {
        let put = ChangeRef::Put {
            key: b"k",
            value: b"v",
        };
        let delete = ChangeRef::Delete { key: b"k" };
        let taken = |space| [Some(put), Some(delete), None].map(|change| takes(space, change));
        assert_eq!(taken(Space::Ample), [true, true, true]);
        assert_eq!(taken(Space::Reserve), [false, true, true]);
        assert_eq!(taken(Space::Spent), [false, false, false]);
    }
}
