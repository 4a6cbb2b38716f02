//! What a replica's directory as a whole means: a new replica, one that comes back, or one that lost its memory.
//!
//! | identity | journal | |
//! |---|---|---|
//! | absent | absent, or without a record | a new replica: a journal is made, then the identity that trusts it |
//! | absent | with records | refused: somebody's past is here, and nobody knows whose |
//! | whole | whole, of the same incarnation | replayed, above what the snapshot covers |
//! | whole | whole, but commands are trimmed away that no readable snapshot covers | blank, as below |
//! | whole | anything else | blank: the incarnation is given up, the segments are moved aside |
//! | damaged | any | a new replica, as in a directory that was wiped; the files are moved aside |
//!
//! Snapshots go with the identity: without one they are somebody's past like a journal with records, with a damaged one
//! they are moved aside too. A journal that is lost takes no snapshot with it: what it held is chosen, and of use to a
//! learner.
//!
//! The order of steps is such that no crash between them brings an incarnation that was given up back to life (RULES
//! R1). Files are moved aside, never deleted: a person may want to look at them.

use std::sync::Arc;

use paxos::{DurableState, Incarnation, Record, ReplicaId, Slot};
use thiserror::Error;

use super::coverage::Coverage;
use super::disk::Disk;
use super::error::{Damage, DiskAction, JournalError};
use super::open::{Opened, TornTail, is_fresh, segment_names};
use super::segment::Owner;
use super::writer::{Journal, JournalSettings};
use crate::identity::{FoundingRecord, Identity, IdentityError};
use crate::snapshot::is_snapshot_name;

/// What a server keeps between its lives.
#[derive(Debug)]
pub struct Storage {
    /// Who it is. The driver stores it again when it is founded.
    pub identity: Identity,
    /// Where it persists what it promises.
    pub journal: Journal,
    /// Why a founded replica has lost its acceptor's memory, as a sentence that names file and place. Whether it has a
    /// vote nevertheless is what the log says (RULES R1). `None` if the memory is whole, or never held anything.
    pub blank: Option<String>,
    /// What was damaged and moved aside at this opening, as a sentence for the log. What was replayed then came from a
    /// journal that is no longer this replica's, and is to be forgotten.
    pub damage: Option<String>,
    /// A torn tail that was cut, for the log.
    pub torn: Option<TornTail>,
}

/// Who is to live in the directory.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// All members of the cluster, in order of ids.
    pub members: Vec<ReplicaId>,
    /// How the journal is laid out.
    pub journal: JournalSettings,
}

/// Why a directory cannot be used. In all these cases no file of the replica was changed.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The member list is without this replica.
    #[error("{replica} is not in the member list {}", list_ids(.members))]
    NotAMember {
        /// Who asks.
        replica: ReplicaId,
        /// The list that was given.
        members: Vec<ReplicaId>,
    },
    /// The identity is another replica's.
    #[error("the files belong to {found}, this is {expected}")]
    OtherReplica {
        /// Whose they are.
        found: ReplicaId,
        /// Who asks.
        expected: ReplicaId,
    },
    /// The cluster was founded with other members.
    #[error(
        "the files belong to cluster {cluster:016x} of {}, the member list is {}",
        list_ids(.found), list_ids(.given)
    )]
    OtherCluster {
        /// The cluster's id.
        cluster: u64,
        /// Its members.
        found: Vec<ReplicaId>,
        /// The list that was given.
        given: Vec<ReplicaId>,
    },
    /// There is a journal with a past, or a snapshot, and no identity beside it.
    #[error(
        "there is a journal with records, or a snapshot, and no identity file: put the identity back, or move all files away to begin \
         as a blank replica"
    )]
    JournalWithoutIdentity,
    /// The only replica of a cluster has nobody to learn from (RULES R3).
    #[error(
        "this is the only replica, and what it answered may be in the damaged part ({damage}): it does not start; \
         restore the files from a copy, or move all of them away to begin with an empty store"
    )]
    OnlyReplicaDamaged {
        /// What is damaged.
        damage: Damage,
    },
    /// The identity cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Storage {
    /// Opens a directory that has no snapshot: see [`Storage::open_above`].
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open(
        disk: &Arc<dyn Disk>,
        settings: &StorageSettings,
        draw: &mut dyn FnMut() -> u64,
        replay: &mut dyn FnMut(DurableState, Vec<Record>),
    ) -> Result<Self, StorageError> {
        Self::open_above(Slot(0), disk, settings, draw, replay)
    }

    /// Opens a directory, which nobody else uses, and of which a snapshot was read that covers every slot below `base`.
    /// Each batch of the journal is given to `replay` in order, up to the first that lacks a command at or above `base`.
    /// `draw` gives 64 random bits at a time.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub fn open_above(
        base: Slot,
        disk: &Arc<dyn Disk>,
        settings: &StorageSettings,
        draw: &mut dyn FnMut() -> u64,
        replay: &mut dyn FnMut(DurableState, Vec<Record>),
    ) -> Result<Self, StorageError> {
        Opening {
            base,
            disk,
            settings,
            draw,
        }
        .open(replay)
    }
}

struct Opening<'a> {
    base: Slot,
    disk: &'a Arc<dyn Disk>,
    settings: &'a StorageSettings,
    draw: &'a mut dyn FnMut() -> u64,
}

impl Opening<'_> {
    fn open(
        mut self,
        replay: &mut dyn FnMut(DurableState, Vec<Record>),
    ) -> Result<Storage, StorageError> {
        let StorageSettings {
            replica, members, ..
        } = self.settings;
        if !members.contains(replica) {
            return Err(StorageError::NotAMember {
                replica: *replica,
                members: members.clone(),
            });
        }
        match Identity::load(&**self.disk) {
            Ok(None) => self.begin(),
            Ok(Some(identity)) => {
                self.check(&identity)?;
                self.recover(identity, replay)
            }
            Err(IdentityError::Damaged { file, why }) => self.replace_identity(&Damage {
                file,
                offset: 0,
                why,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// A new replica. A crash before the identity is durable leaves a journal without a record.
    fn begin(&mut self) -> Result<Storage, StorageError> {
        let identity = self.new_identity(None);
        let has_snapshot = self.names()?.iter().any(|name| is_snapshot_name(name));
        if has_snapshot || !is_fresh(&**self.disk, owner(&identity))? {
            return Err(StorageError::JournalWithoutIdentity);
        }
        for name in segment_names(&**self.disk)? {
            self.disk
                .remove(&name)
                .map_err(|source| JournalError::disk(DiskAction::Remove, &name, source))?;
        }
        self.sync_directory()?;
        let journal = self.create_journal(&identity)?;
        identity.store(&**self.disk)?;
        Ok(Storage {
            identity,
            journal,
            blank: None,
            damage: None,
            torn: None,
        })
    }

    fn check(&self, identity: &Identity) -> Result<(), StorageError> {
        if identity.replica != self.settings.replica {
            return Err(StorageError::OtherReplica {
                found: identity.replica,
                expected: self.settings.replica,
            });
        }
        let Some(founding) = &identity.founding else {
            return Ok(());
        };
        let found: Vec<ReplicaId> = founding.members.iter().map(|member| member.0).collect();
        if found == self.settings.members {
            return Ok(());
        }
        Err(StorageError::OtherCluster {
            cluster: founding.cluster,
            found,
            given: self.settings.members.clone(),
        })
    }

    fn recover(
        &mut self,
        identity: Identity,
        replay: &mut dyn FnMut(DurableState, Vec<Record>),
    ) -> Result<Storage, StorageError> {
        let disk = Arc::clone(self.disk);
        let mut coverage = Coverage::above(self.base);
        let opened = Journal::open(
            disk,
            self.settings.journal,
            owner(&identity),
            (self.draw)(),
            &mut |state, records| {
                if coverage.note(&state, &records) {
                    replay(state, records);
                }
            },
        )?;
        if let (Some(slot), Opened::Whole { .. }) = (coverage.missing(), &opened) {
            return self.become_blank(identity, &self.uncovered(slot));
        }
        match opened {
            Opened::Whole { journal, torn } => Ok(Storage {
                blank: why_not_in_force(&identity),
                identity,
                journal: *journal,
                damage: None,
                torn,
            }),
            Opened::Damaged(damage) => self.become_blank(identity, &damage),
        }
    }

    /// The journal begins behind a command that is chosen and that no snapshot covers.
    fn uncovered(&self, slot: Slot) -> Damage {
        Damage {
            file: "the journal".to_owned(),
            offset: 0,
            why: format!(
                "it has no command for slot {slot}, and the newest readable snapshot is of slot {}",
                self.base
            ),
        }
    }

    /// Gives up the incarnation, moves the segments aside, and begins another journal.
    fn become_blank(&mut self, before: Identity, damage: &Damage) -> Result<Storage, StorageError> {
        self.refuse_if_alone(damage)?;
        let identity = self.new_identity(before.founding);
        // From here on nobody votes as the old incarnation, wherever a crash comes.
        identity.store(&**self.disk)?;
        let suffix = self.damaged_suffix()?;
        self.move_segments_aside(&suffix)?;
        let journal = self.create_journal(&identity)?;
        let damage = self.sentence(&identity, damage, &suffix);
        Ok(Storage {
            blank: identity.founding.is_some().then(|| damage.clone()),
            damage: Some(damage),
            identity,
            journal,
            torn: None,
        })
    }

    /// Begins like a new replica. The damaged identity goes last, so that no journal is ever found without one.
    fn replace_identity(&mut self, damage: &Damage) -> Result<Storage, StorageError> {
        self.refuse_if_alone(damage)?;
        let suffix = self.damaged_suffix()?;
        self.move_segments_aside(&suffix)?;
        for name in self.names()? {
            if is_snapshot_name(&name) {
                self.move_aside(&name, &suffix)?;
            }
        }
        self.sync_directory()?;
        self.move_aside(&damage.file, &suffix)?;
        self.sync_directory()?;
        let begun = self.begin()?;
        let damage = self.sentence(&begun.identity, damage, &suffix);
        Ok(Storage {
            damage: Some(damage),
            ..begun
        })
    }

    fn refuse_if_alone(&self, damage: &Damage) -> Result<(), StorageError> {
        if self.settings.members.len() > 1 {
            return Ok(());
        }
        Err(StorageError::OnlyReplicaDamaged {
            damage: damage.clone(),
        })
    }

    fn sentence(&self, identity: &Identity, damage: &Damage, suffix: &str) -> String {
        format!(
            "the memory of the acceptor is lost ({damage}): its files were moved aside as *{suffix}, and {} begins \
             incarnation {}",
            identity.replica, identity.incarnation
        )
    }

    /// A suffix that no file has, so that earlier damage is kept as well.
    fn damaged_suffix(&self) -> Result<String, JournalError> {
        let names = self.names()?;
        let mut count = 1_u64;
        loop {
            let suffix = format!(".damaged-{count}");
            if !names.iter().any(|name| name.ends_with(&suffix)) {
                return Ok(suffix);
            }
            count += 1;
        }
    }

    fn names(&self) -> Result<Vec<String>, JournalError> {
        self.disk
            .list()
            .map_err(|source| JournalError::disk(DiskAction::List, "the journal", source))
    }

    fn move_segments_aside(&self, suffix: &str) -> Result<(), StorageError> {
        for name in segment_names(&**self.disk)? {
            self.move_aside(&name, suffix)?;
        }
        Ok(self.sync_directory()?)
    }

    fn move_aside(&self, name: &str, suffix: &str) -> Result<(), JournalError> {
        self.disk
            .rename(name, &format!("{name}{suffix}"))
            .map_err(|source| JournalError::disk(DiskAction::Rename, name, source))
    }

    fn sync_directory(&self) -> Result<(), JournalError> {
        self.disk
            .sync_directory()
            .map_err(|source| JournalError::disk(DiskAction::SyncDirectory, "the journal", source))
    }

    fn create_journal(&mut self, identity: &Identity) -> Result<Journal, JournalError> {
        let disk = Arc::clone(self.disk);
        Journal::create(disk, self.settings.journal, owner(identity), (self.draw)())
    }

    fn new_identity(&mut self, founding: Option<FoundingRecord>) -> Identity {
        Identity {
            replica: self.settings.replica,
            incarnation: Incarnation((self.draw)()),
            founding,
        }
    }
}

fn owner(identity: &Identity) -> Owner {
    Owner {
        replica: identity.replica,
        incarnation: identity.incarnation,
    }
}

/// Why a replica whose journal is whole may have no vote nevertheless: its memory was lost in an earlier life of the
/// process, and the founding record names an incarnation that is gone. The log may have named the present one since.
fn why_not_in_force(identity: &Identity) -> Option<String> {
    let founding = identity.founding.as_ref()?;
    let named = founding
        .members
        .iter()
        .find(|member| member.0 == identity.replica)?;
    (named.1 != identity.incarnation).then(|| {
        format!(
            "the memory of the acceptor was lost earlier: {} is incarnation {}, and the cluster was founded with {}",
            identity.replica, identity.incarnation, named.1
        )
    })
}

fn list_ids(ids: &[ReplicaId]) -> String {
    let ids: Vec<String> = ids.iter().map(ReplicaId::to_string).collect();
    ids.join(",")
}
