//! Snapshots that travel between replicas: who asks whom for what, and what becomes of what came (SPEC D4, RULES R22).
//!
//! The receiver leads. It asks one peer for one piece, writes that, and asks for the next, so that at most one piece per
//! peer is under way and heartbeats never queue behind more. An answer that does not come is asked for again, a peer that
//! does not answer is given up for the next one; what was received stays on the disk, and a transfer goes on from there
//! after a crash too, or from another peer that has a snapshot of the same slot. The sender takes a snapshot for the
//! purpose if it has none that serves, and keeps the log above it for a while.
//!
//! Files are read and written by whoever drives the node, off its thread.

use std::collections::BTreeMap;

use log::{info, warn};
use paxos::{Agent, ReplicaId, Slot, SnapshotWanted};

use super::held::RequestKey;
use super::state::refusal_or_answer;
use super::{Node, Phase};
use crate::peers::PeerMessage;
use crate::snapshot::Restored;

/// What the driver is to do for snapshots that travel, in order. It says how that went by [`Node::transfer_progress`].
#[derive(Debug)]
pub enum TransferStep {
    /// Read a piece of a snapshot that is kept.
    Read {
        /// For whom.
        to: ReplicaId,
        /// Which snapshot.
        slot: Slot,
        /// From where on.
        offset: u64,
    },
    /// Write a piece of a snapshot that comes from another replica. The first piece of a slot begins a file, or goes on
    /// with one that an earlier process left.
    Take {
        /// Of which slot.
        slot: Slot,
        /// Where it stands.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
    },
    /// All pieces are there: verify them, and make them a snapshot.
    Finish {
        /// Of which slot.
        slot: Slot,
        /// The id of the cluster whose state it must be.
        cluster: u64,
    },
    /// What came is of no use any more: the log was quicker.
    GiveUp,
    /// Keep room for a snapshot of so many bytes, so that the next one can be written on a full disk (RULES R18).
    Reserve {
        /// How many.
        bytes: u64,
    },
    /// Remove the snapshots that are kept: without a disk they were for a transfer alone, which has ended.
    DropKept,
}

/// What became of a [`TransferStep`].
#[derive(Debug)]
pub enum TransferProgress {
    /// A piece was read.
    Read {
        /// For whom.
        to: ReplicaId,
        /// Of which snapshot.
        slot: Slot,
        /// Where it stands.
        offset: u64,
        /// How long the snapshot is, and the piece; `None` when there is no such snapshot any more.
        piece: Option<(u64, Vec<u8>)>,
    },
    /// A piece was written, or was there already.
    Taken {
        /// Of which slot.
        slot: Slot,
        /// What is there: everything below it.
        offset: u64,
    },
    /// The snapshot is durable.
    Received {
        /// What it holds.
        restored: Box<Restored>,
        /// The snapshots that are kept, oldest first.
        kept: Vec<Slot>,
    },
    /// What was received does not count, for the reason given.
    Failed(String),
}

/// The transfers of this replica, to it and from it.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    receiving: Option<Receiving>,
    /// After a failure the next transfer begins no earlier.
    retry_tick: u64,
    sending: BTreeMap<ReplicaId, Sending>,
}

/// A snapshot on its way to this replica.
#[derive(Debug)]
struct Receiving {
    source: ReplicaId,
    /// Of which slot; unknown before the first piece came.
    slot: Option<Slot>,
    /// What is there: everything below it.
    offset: u64,
    total_bytes: u64,
    stage: Stage,
    /// Questions without an answer, of the present source.
    unanswered: u32,
    /// How often the present source said that it is not ready.
    waits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A piece was asked for; to be asked for again at this tick.
    Asked(u64),
    /// A piece is being written.
    Writing,
    /// All is being verified.
    Finishing,
}

/// A snapshot on its way to a peer.
#[derive(Debug)]
struct Sending {
    slot: Slot,
    /// When the peer last asked.
    asked_tick: u64,
    /// A piece is being read.
    is_reading: bool,
}

impl Transfers {
    /// Whether what was received is being verified: no snapshot of this replica's own may come between.
    pub(super) fn is_finishing(&self) -> bool {
        let receiving = self.receiving.as_ref();
        receiving.is_some_and(|receiving| receiving.stage == Stage::Finishing)
    }

    /// Whether a snapshot is on its way to this replica.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving.is_some()
    }

    /// Whether a peer is being sent a snapshot.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_empty()
    }

    /// Whether a peer is being sent the snapshot of `slot`.
    pub(super) fn sends(&self, slot: Slot) -> bool {
        self.sending.values().any(|sending| sending.slot == slot)
    }

    /// The log from this slot on is wanted by those who are being sent a snapshot.
    fn held_from(&self) -> Option<Slot> {
        self.sending.values().map(|sending| sending.slot).min()
    }

    /// Gives up those who no longer ask.
    fn end_silent(&mut self, now: u64) {
        self.sending
            .retain(|_, sending| now < sending.asked_tick + SENDING_TICKS);
    }
}

impl Receiving {
    fn of(source: ReplicaId) -> Self {
        Self {
            source,
            slot: None,
            offset: 0,
            total_bytes: 0,
            stage: Stage::Asked(0),
            unanswered: 0,
            waits: 0,
        }
    }

    /// Another peer is asked for the rest, if there is another.
    fn turn_to_next(&mut self, peers: &[ReplicaId]) {
        let next = peers.iter().find(|peer| **peer > self.source);
        self.source = next
            .or_else(|| peers.first())
            .copied()
            .unwrap_or(self.source);
        self.unanswered = 0;
        self.waits = 0;
    }
}

impl Node {
    /// Asks for what this replica needs, again if need be; gives up peers that no longer ask.
    pub(super) fn tick_transfers(&mut self) {
        let Phase::Running(replica) = &mut self.phase else {
            return;
        };
        self.transfers.end_silent(self.now);
        replica.hold_log(self.transfers.held_from());
        if replica.away() == Some(Agent::Learner) {
            return;
        }
        let wanted = replica.snapshot_wanted().map(|wanted| SnapshotWanted {
            peers: self.hearing.heard_of(wanted.peers, self.now),
            ..wanted
        });
        match (&mut self.transfers.receiving, wanted) {
            (None, Some(wanted)) if self.now >= self.transfers.retry_tick => {
                let place = self.now as usize % wanted.peers.len();
                let source = wanted.peers[place];
                info!(
                    "slot {} and others are forgotten by all: a snapshot is asked of {source}",
                    wanted.from_slot
                );
                self.transfers.receiving = Some(Receiving::of(source));
                self.ask_for_piece(wanted.from_slot);
            }
            (Some(receiving), wanted) => match (receiving.stage, wanted) {
                (Stage::Asked(_), None) => {
                    self.transfers.receiving = None;
                    self.out.transfers.push(TransferStep::GiveUp);
                }
                (Stage::Asked(tick), Some(wanted)) if self.now >= tick => {
                    self.ask_again(&wanted);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn ask_again(&mut self, wanted: &SnapshotWanted) {
        let Some(receiving) = &mut self.transfers.receiving else {
            return;
        };
        receiving.unanswered += 1;
        let is_gone = !wanted.peers.contains(&receiving.source);
        if is_gone || receiving.unanswered > UNANSWERED_MAX || receiving.waits > WAITS_MAX {
            receiving.turn_to_next(&wanted.peers);
        }
        self.ask_for_piece(wanted.from_slot);
    }

    fn ask_for_piece(&mut self, from_slot: Slot) {
        let Some(receiving) = &mut self.transfers.receiving else {
            return;
        };
        receiving.stage = Stage::Asked(self.now + ANSWER_TICKS);
        let request = PeerMessage::SnapshotRequest {
            from_slot,
            slot: receiving.slot.unwrap_or_default(),
            offset: receiving.offset,
        };
        self.out.send.push((receiving.source, request));
    }

    /// A peer needs a snapshot: the one that it is receiving, if it is still of use, or the newest.
    pub(super) fn serve_snapshot(
        &mut self,
        to: ReplicaId,
        from_slot: Slot,
        asked: Slot,
        offset: u64,
    ) {
        let Phase::Running(replica) = &self.phase else {
            return;
        };
        let is_reading = |sending: &Sending| sending.is_reading;
        if self.transfers.sending.get(&to).is_some_and(is_reading) {
            return;
        }
        let least = replica.trimmed_watermark().max(from_slot.next());
        let serves = |slot: &Slot| *slot >= least;
        let kept = self.snapshots.slots();
        let found = if kept.contains(&asked) && serves(&asked) {
            Some((asked, offset))
        } else {
            kept.last().copied().filter(serves).map(|slot| (slot, 0))
        };
        let (slot, is_reading) = match found {
            Some((slot, offset)) => {
                let read = TransferStep::Read { to, slot, offset };
                self.out.transfers.push(read);
                (slot, true)
            }
            None if self.state.applied() < least => return,
            None => {
                let Some(slot) = self.take_snapshot() else {
                    return;
                };
                self.out.send.push((to, PeerMessage::SnapshotPending));
                (slot, false)
            }
        };
        let sending = Sending {
            slot,
            asked_tick: self.now,
            is_reading,
        };
        self.transfers.sending.insert(to, sending);
        if let Phase::Running(replica) = &mut self.phase {
            replica.hold_log(self.transfers.held_from());
        }
    }

    /// The source has no snapshot ready, and is taking one.
    pub(super) fn wait_for_snapshot(&mut self, from: ReplicaId) {
        if let Some(receiving) = &mut self.transfers.receiving
            && receiving.source == from
            && matches!(receiving.stage, Stage::Asked(_))
        {
            receiving.unanswered = 0;
            receiving.waits += 1;
            receiving.stage = Stage::Asked(self.now + WAIT_TICKS);
        }
    }

    /// A piece came. Only the one that was asked for counts, or the first of another snapshot.
    pub(super) fn take_piece(
        &mut self,
        from: ReplicaId,
        slot: Slot,
        total_bytes: u64,
        offset: u64,
        bytes: Vec<u8>,
    ) {
        let applied = self.state.applied();
        let Some(receiving) = &mut self.transfers.receiving else {
            return;
        };
        let is_asked = receiving.source == from && matches!(receiving.stage, Stage::Asked(_));
        let is_next = receiving.slot == Some(slot) && receiving.offset == offset;
        let is_other = receiving.slot != Some(slot) && offset == 0 && slot > applied;
        if !is_asked || bytes.is_empty() || !(is_next || is_other) {
            return;
        }
        receiving.slot = Some(slot);
        receiving.offset = offset;
        receiving.total_bytes = total_bytes;
        receiving.unanswered = 0;
        receiving.waits = 0;
        receiving.stage = Stage::Writing;
        self.out.transfers.push(TransferStep::Take {
            slot,
            offset,
            bytes,
        });
    }

    /// A [`TransferStep`] was done, or could not be.
    pub fn transfer_progress(&mut self, progress: TransferProgress) {
        match progress {
            TransferProgress::Read {
                to,
                slot,
                offset,
                piece,
            } => self.send_piece(to, slot, offset, piece),
            TransferProgress::Taken { slot, offset } => self.go_on_receiving(slot, offset),
            TransferProgress::Received { restored, kept } => {
                self.transfers.receiving = None;
                self.snapshots.replace_kept(&kept);
                self.install(*restored);
                self.trim_journal();
            }
            TransferProgress::Failed(why) => {
                warn!("no snapshot was received: {why}");
                self.transfers.receiving = None;
                self.transfers.retry_tick = self.now + RETRY_TICKS;
            }
        }
    }

    fn send_piece(
        &mut self,
        to: ReplicaId,
        slot: Slot,
        offset: u64,
        piece: Option<(u64, Vec<u8>)>,
    ) {
        if let Some(sending) = self.transfers.sending.get_mut(&to) {
            sending.is_reading = false;
        }
        let Some((total_bytes, bytes)) = piece else {
            return;
        };
        let chunk = PeerMessage::SnapshotPiece {
            slot,
            total_bytes,
            offset,
            bytes,
        };
        self.out.send.push((to, chunk));
    }

    fn go_on_receiving(&mut self, slot: Slot, offset: u64) {
        let Some(receiving) = &mut self.transfers.receiving else {
            return;
        };
        if receiving.slot != Some(slot) || receiving.stage != Stage::Writing {
            return;
        }
        receiving.offset = offset;
        if offset < receiving.total_bytes {
            self.ask_for_piece(self.state.applied());
            return;
        }
        let Some(founding) = &self.identity.founding else {
            return;
        };
        receiving.stage = Stage::Finishing;
        let cluster = founding.cluster;
        self.out
            .transfers
            .push(TransferStep::Finish { slot, cluster });
        self.give_up_snapshot();
    }

    /// The snapshot is durable: its state takes the place of this replica's, unless the log was quicker. What clients
    /// wait for is looked at again: much of it was answered in slots that this replica never saw (RULES R14).
    fn install(&mut self, restored: Restored) {
        let Phase::Running(replica) = &mut self.phase else {
            return;
        };
        let slot = restored.head.slot;
        if !replica.install(slot, &restored.head.configuration) {
            info!("a snapshot of slot {slot} came, and the log was quicker");
            return;
        }
        self.state = restored.state;
        self.applied_tick = self.now;
        if self.state.log_time_ms() > self.stamped.1 {
            self.stamped = (self.now, self.state.log_time_ms());
        }
        info!(
            "a snapshot of slot {slot} is installed, of {} keys",
            self.state.store.len()
        );
        self.answer_from_table();
        self.held.hand_over_again();
    }

    /// Answers every held write of which the session table says something final.
    fn answer_from_table(&mut self) {
        for (session, sequence) in self.held.writes() {
            let revision = self.state.revision();
            let verdict = self
                .state
                .sessions
                .final_verdict(session, sequence, revision);
            let Some(verdict) = verdict else {
                continue;
            };
            if let Some(request) = self.held.take(RequestKey::Write { session, sequence }) {
                self.answer_waiters(&request, &refusal_or_answer(verdict));
            }
        }
    }
}

/// A piece comes within milliseconds where the network works; after half a second it is asked for again.
const ANSWER_TICKS: u64 = 50;

/// How long the receiver waits before it asks again a peer that is taking a snapshot.
const WAIT_TICKS: u64 = 10;

/// A peer that left so many questions without an answer is given up for the next.
const UNANSWERED_MAX: u32 = 2;

/// So often a peer may say that it is not ready: for two minutes, in which a snapshot of the largest store is taken.
const WAITS_MAX: u32 = 1_200;

/// After a failure, on a full disk for example, the next attempt is made a second later.
const RETRY_TICKS: u64 = 100;

/// A peer that has not asked for this long is sent nothing any more, and its part of the log is not kept: long enough to
/// write the last piece, verify the whole, and ask for the log.
const SENDING_TICKS: u64 = 1_000;
