//! The replicated state: what the log's commands, applied in order, make of an empty store.
//!
//! Apply is deterministic: every replica that applied the same slots has the same state, to the last byte. Whatever can
//! go wrong here goes wrong on all replicas alike and is an answer; a command that cannot be read means that agreement
//! or the disk is broken, and stops the process.

use common::{ChangeRef, Limit, Outcome, Refusal, SessionId, WriteRef};
use paxos::{Command, Configuration, Slot};

use super::batch::{self, Item};
use super::hash::digest;
use super::image::{Part, Piece, PieceKind, SnapshotHead};
use super::sessions::{Ran, Sessions, Verdict, WriteName};
use super::state_hashes::Checks;
use super::store::Store;
use crate::identity::ClusterSettings;

/// Store, sessions, and the counters beside them.
#[derive(Debug)]
pub(crate) struct State {
    settings: ClusterSettings,
    pub(crate) store: Store,
    pub(crate) sessions: Sessions,
    /// How many changes have been applied.
    revision: u64,
    /// The cluster's time, as leaders stamped it; never falls.
    log_time_ms: u64,
    /// Every slot below it is applied.
    applied: Slot,
    /// The last slot that is a multiple of the hash interval, and the hash of the state there.
    noted: (Slot, u128),
    /// What was noted lately, held against what the log says. Each replica's own, and no part of the state.
    pub(crate) checks: Checks,
    /// How far the snapshot that is being taken has come.
    taking: Option<Taking>,
}

#[derive(Clone, Copy, Debug)]
enum Taking {
    Pieces(PieceKind),
    /// All pieces were handed out.
    Done,
}

/// What applying an item came to, for the replica that holds the request.
#[derive(Debug)]
pub(crate) enum Effect {
    SessionOpened {
        nonce: u64,
        outcome: Outcome,
    },
    Write {
        session: SessionId,
        sequence: u64,
        result: WriteResult,
    },
    Read {
        replica: u8,
        ticket: u64,
    },
}

/// What applying a write came to.
#[derive(Debug)]
pub(crate) enum WriteResult {
    /// It has this answer, now or since earlier.
    Answered(Outcome),
    /// The write before it is missing: to be proposed again.
    NotYet,
}

impl State {
    /// Before any slot.
    pub(crate) fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            store: Store::default(),
            sessions: Sessions::default(),
            revision: 0,
            log_time_ms: 0,
            applied: Slot(0),
            noted: (Slot(0), 0),
            checks: Checks::default(),
            taking: None,
        }
    }

    /// What the head of a snapshot says. The entries and sessions are still to be [restored](Self::restore).
    pub(crate) fn from_head(head: &SnapshotHead) -> Self {
        Self {
            settings: head.settings,
            store: Store::default(),
            sessions: Sessions::default(),
            revision: head.revision,
            log_time_ms: head.log_time_ms,
            applied: head.slot,
            noted: head.noted,
            checks: Checks::default(),
            taking: None,
        }
    }

    /// Takes in one entry or session of a snapshot.
    pub(crate) fn restore(&mut self, part: &Part<'_>) {
        match part {
            Part::Entry {
                key,
                value,
                revision,
            } => self.store.put(key, value, *revision),
            Part::Session(session) => self.sessions.restore(session),
        }
    }

    /// Begins a snapshot of the state as it stands: whatever is applied meanwhile, the pieces are of this slot (RULES
    /// R22). One that was being taken is given up. The head comes with the hash of the state.
    ///
    /// The configuration is cut to what was chosen below the slot, so that the snapshot of a slot has the same bytes on
    /// every replica.
    pub(crate) fn begin_snapshot(
        &mut self,
        cluster: u64,
        configuration: &Configuration,
    ) -> (SnapshotHead, u128) {
        self.store.begin_walk();
        self.sessions.begin_walk();
        self.taking = Some(Taking::Pieces(PieceKind::Entries));
        let in_force_by = self.applied.plus(u64::from(self.settings.window));
        let lives = configuration
            .lives()
            .filter(|(_, from_slot, _)| *from_slot == Slot(0) || *from_slot < in_force_by);
        let head = SnapshotHead {
            cluster,
            slot: self.applied,
            revision: self.revision,
            log_time_ms: self.log_time_ms,
            noted: self.noted,
            settings: self.settings,
            configuration: Configuration::from_lives(lives)
                .expect("every member has its life from slot 0 on"),
            keys: self.store.len() as u64,
            sessions: self.sessions.len() as u64,
        };
        (head, self.hash())
    }

    /// The next piece of the snapshot, of at most `bytes_max` bytes unless its one entry is longer; perhaps an empty
    /// one. `None` when there are no more.
    pub(crate) fn snapshot_step(&mut self, bytes_max: usize) -> Option<Piece> {
        let Taking::Pieces(kind) = self.taking? else {
            return None;
        };
        let mut bytes = Vec::with_capacity(bytes_max);
        match kind {
            PieceKind::Entries => {
                if self.store.step(bytes_max, &mut bytes) {
                    self.store.end_walk();
                    self.taking = Some(Taking::Pieces(PieceKind::Sessions));
                }
            }
            PieceKind::Sessions => {
                if self.sessions.step(bytes_max, &mut bytes) {
                    self.sessions.end_walk();
                    self.taking = Some(Taking::Done);
                }
            }
        }
        Some(Piece { kind, bytes })
    }

    /// Whether a snapshot of this state was begun and has not ended.
    pub(crate) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// About how many bytes a snapshot of the state has.
    pub(crate) fn image_bytes(&self) -> u64 {
        let entries = ENTRY_FIELDS_BYTES * self.store.len() as u64;
        let sessions = SESSION_IMAGE_BYTES * self.sessions.len() as u64;
        self.store.bytes() + entries + sessions
    }

    /// Ends the snapshot that is being taken, finished or not.
    pub(crate) fn end_snapshot(&mut self) {
        self.store.end_walk();
        self.sessions.end_walk();
        self.taking = None;
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn log_time_ms(&self) -> u64 {
        self.log_time_ms
    }

    pub(crate) fn applied(&self) -> Slot {
        self.applied
    }

    pub(crate) fn noted_hash(&self) -> (Slot, u128) {
        self.noted
    }

    /// The hash of the state as it stands.
    pub(crate) fn hash(&self) -> u128 {
        let sum = self.store.hash().wrapping_add(self.sessions.hash());
        hash_of_parts(sum, self.revision, self.log_time_ms)
    }

    /// Applies the command of the next slot; `effect` hears of each item in order.
    ///
    /// # Panics
    /// When the slot is not the next one, or the command cannot be read.
    pub(crate) fn apply(&mut self, slot: Slot, command: &Command, mut effect: impl FnMut(Effect)) {
        assert!(
            slot == self.applied,
            "slot {slot} is to be applied after {}",
            self.applied
        );
        if let Command::Opaque(bytes) = command {
            let (log_time_ms, items) = batch::open(bytes)
                .unwrap_or_else(|error| panic!("the command in slot {slot} {error}"));
            self.log_time_ms = self.log_time_ms.max(log_time_ms);
            self.sessions
                .expire(self.log_time_s(), self.settings.session_expiry_s);
            for item in items {
                let item = item.unwrap_or_else(|error| panic!("an item in slot {slot} {error}"));
                if let Some(came_to) = self.apply_item(&item) {
                    effect(came_to);
                }
            }
        }
        self.applied = slot.next();
        if self
            .applied
            .0
            .is_multiple_of(u64::from(self.settings.hash_interval))
        {
            self.noted = (self.applied, self.hash());
            self.checks.note(self.noted.0, self.noted.1);
        }
    }

    fn apply_item(&mut self, item: &Item<'_>) -> Option<Effect> {
        Some(match item {
            Item::OpenSession { nonce } => Effect::SessionOpened {
                nonce: *nonce,
                outcome: self.open_session(*nonce),
            },
            Item::Write(write) => Effect::Write {
                session: write.session,
                sequence: write.sequence,
                result: self.apply_write(write),
            },
            Item::Read { replica, ticket } => Effect::Read {
                replica: *replica,
                ticket: *ticket,
            },
            Item::Hash { slot, agreed } => {
                self.checks.check(Slot(*slot), *agreed);
                return None;
            }
        })
    }

    /// At the limit only a session that is idle for long makes room (RULES R24).
    fn open_session(&mut self, nonce: u64) -> Outcome {
        let now_s = self.log_time_s();
        let is_full = self.sessions.len() >= self.settings.sessions_max as usize;
        if is_full && !self.sessions.make_room(now_s) {
            return Outcome::Refused(Refusal::Busy {
                limit: Limit::Sessions,
            });
        }
        self.revision += 1;
        let session = self.sessions.open(self.revision, nonce, now_s);
        Outcome::SessionOpened {
            session,
            expiry_s: self.settings.session_expiry_s,
        }
    }

    /// The log time by which sessions are judged: it outlasts a century.
    fn log_time_s(&self) -> u32 {
        u32::try_from(self.log_time_ms / 1_000).unwrap_or(u32::MAX)
    }

    fn apply_write(&mut self, write: &WriteRef<'_>) -> WriteResult {
        let name = WriteName {
            session: write.session,
            sequence: write.sequence,
            floor: write.floor,
            after: write.after,
        };
        match self.sessions.judge(name, self.log_time_s()) {
            Verdict::Run => {
                let ran = self.run(write.change);
                self.sessions.record(name, ran);
                WriteResult::Answered(ran.outcome())
            }
            Verdict::NotYet => WriteResult::NotYet,
            verdict => WriteResult::Answered(refusal_or_answer(verdict)),
        }
    }

    fn run(&mut self, change: ChangeRef<'_>) -> Ran {
        if let Some(refused) = self.refuse(change) {
            return refused;
        }
        match change {
            ChangeRef::Put { key, value } => {
                self.revision += 1;
                self.store.put(key, value, self.revision);
                Ran::Put {
                    revision: self.revision,
                }
            }
            ChangeRef::Append { key, value } => {
                self.revision += 1;
                let length = self.store.append(key, value, self.revision);
                Ran::Appended {
                    revision: self.revision,
                    length,
                }
            }
            ChangeRef::Delete { key } => {
                let existed = self.store.delete(key);
                self.revision += u64::from(existed);
                Ran::Deleted {
                    revision: self.revision,
                    existed,
                }
            }
        }
    }

    /// The limits that depend on what is stored. They belong to the cluster, so all replicas refuse alike (SPEC C5).
    fn refuse(&self, change: ChangeRef<'_>) -> Option<Ran> {
        let entry = self.store.entry(change.key());
        let old_bytes = entry.map_or(0, |entry| entry.value.len() as u64);
        let new_bytes = match change {
            ChangeRef::Put { value, .. } => value.len() as u64,
            ChangeRef::Append { value, .. } => old_bytes + value.len() as u64,
            ChangeRef::Delete { .. } => return None,
        };
        let bytes_max = u64::from(self.settings.value_bytes_max);
        if new_bytes > bytes_max {
            return Some(Ran::TooLarge {
                bytes: new_bytes,
                bytes_max,
            });
        }
        let key_bytes = if entry.is_some() {
            0
        } else {
            change.key().len() as u64
        };
        let store_bytes = self.store.bytes() - old_bytes + new_bytes + key_bytes;
        let bytes_max = self.settings.store_bytes_max;
        let grows = store_bytes > self.store.bytes();
        (grows && store_bytes > bytes_max).then_some(Ran::StoreFull { bytes_max })
    }
}

/// The hash of a state whose entries and sessions have digests of this sum.
pub(super) fn hash_of_parts(sum: u128, revision: u64, log_time_ms: u64) -> u128 {
    sum.wrapping_add(digest(&[4, revision, log_time_ms]))
}

/// What a client is told of a write that does not run now.
pub(crate) fn refusal_or_answer(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Known(ran) => ran.outcome(),
        Verdict::Expired => Outcome::Refused(Refusal::SessionExpired),
        Verdict::Closed => Outcome::Refused(Refusal::Closed),
        Verdict::TooManyOutstanding => Outcome::Refused(Refusal::TooManyOutstanding {
            width: super::sessions::SESSION_WIDTH,
        }),
        Verdict::Run | Verdict::NotYet => unreachable!("{verdict:?} is nothing to tell a client"),
    }
}

/// What an entry takes in a snapshot beside key and value.
const ENTRY_FIELDS_BYTES: u64 = 14;
/// What a session with one answer takes there.
const SESSION_IMAGE_BYTES: u64 = 51;
