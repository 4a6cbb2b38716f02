//! Trimming the journal (SPEC D5): what is given up is only what was to be, whatever crash comes between any two steps, and
//! a trimmed slot is never taken for an empty one (RULES R5).

use std::io;
use std::sync::Arc;

use kvpaxos_server::identity::{ClusterSettings, FoundingRecord, Identity};
use kvpaxos_server::journal::{
    Disk, Journal, JournalError, Storage, StorageError, StorageSettings,
};
use paxos::{DurableState, Incarnation, Record, ReplicaId, Slot};

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::journal_rig::{
    OWNER, SHORT_SEGMENTS, append, create, damage_of, open, record, reopen, state_after,
};

#[test]
fn a_journal_that_is_trimmed_often_stays_short() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    for number in 0..400 {
        append(&mut journal, number, 3_000).unwrap();
        journal.sync().unwrap();
        let kept = 10;
        let slot = Slot(number.saturating_sub(kept));
        journal.trim_below(slot).unwrap().remove(&disk).unwrap();
        assert!(disk.names().len() <= 3, "{:?}", disk.names());
        assert!(journal.disk_bytes() <= 192 << 10);
    }
    let (journal, replayed) = reopen(&disk);
    assert!(replayed.len() >= 10 && replayed.len() < 60);
    assert!(journal.disk_bytes() <= 192 << 10);
}

/// RULES R4: every batch header carries the promise.
#[test]
fn trimming_forgets_no_promise() {
    let disk = FaultyDisk::new();
    create(&disk);
    let mut journal = with_closed_segments(&disk, 20);
    journal
        .trim_below(Slot(1_000))
        .unwrap()
        .remove(&disk)
        .unwrap();
    drop(journal);
    disk.crash(&mut Rng::new(1));
    let mut last = DurableState::default();
    open(&disk, &mut |state, _| last = state).unwrap();
    assert_eq!(last, state_after(20));
    assert_eq!(disk.names().len(), 1);
}

#[test]
fn a_missing_or_unreadable_segment_of_a_trimmed_journal_is_damage() {
    let disk = FaultyDisk::new();
    create(&disk);
    let mut journal = with_closed_segments(&disk, 40);
    journal.trim_below(Slot(15)).unwrap().remove(&disk).unwrap();
    drop(journal);
    let names = disk.names();
    assert!(names.len() >= 3 && names[0] != "segment-000000000001.log");
    for name in &names {
        let dropped = disk.copy();
        dropped.drop_file(name);
        assert_eq!(&damage_of(&dropped).0, name);
        let truncated = disk.copy();
        truncated.set_content(name, disk.content(name)[..8_192].to_vec());
        assert_eq!(&damage_of(&truncated).0, name);
        let spoilt = disk.copy();
        spoilt.spoil(name);
        assert_eq!(&damage_of(&spoilt).0, name);
    }
    let flipped = disk.copy();
    flipped.flip_bit(&names[0], 8 * 4_096 + 700);
    assert_eq!(damage_of(&flipped).0, names[0]);
}

/// RULES R18: space comes back only by trimming, which may not need any.
#[test]
fn a_full_disk_can_be_trimmed() {
    let disk = FaultyDisk::new();
    create(&disk);
    let mut journal = with_closed_segments(&disk, 12);
    let mut number = 12;
    loop {
        let before = disk.names().len();
        append(&mut journal, number, 3_000).unwrap();
        // The first step of a sync that needs another segment makes the file.
        disk.plan(0, Fault::Fail(io::ErrorKind::StorageFull));
        match journal.sync() {
            Err(JournalError::DiskFull { .. }) => {
                assert_eq!(disk.names().len(), before);
                break;
            }
            Err(JournalError::Disk { .. }) => {
                // A write of a batch failed: that was not what is tested here.
                disk.crash(&mut Rng::new(number));
                let (reopened, replayed) = reopen(&disk);
                journal = reopened;
                number = replayed.len() as u64;
                append(&mut journal, number, 3_000).unwrap();
                journal.sync().unwrap();
                number += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let trimmed = journal.trim_below(Slot(number)).unwrap();
    assert!(!trimmed.is_empty());
    trimmed.remove(&disk).unwrap();
    journal.sync().unwrap();
    let (_, replayed) = reopen(&disk);
    assert_eq!(replayed.last(), Some(&record(number, 3_000)));
}

/// RULES R5: without its snapshot a trimmed journal does not stand for an acceptor that never accepted.
#[test]
fn a_trimmed_journal_without_its_snapshot_makes_a_blank_replica() {
    let disk = FaultyDisk::new();
    let before = trimmed_store(&disk, 3);
    let first_kept = Slot(before.2);
    let whole = open_storage(&disk.copy(), first_kept, 3).unwrap();
    assert_eq!(
        (whole.0.blank, whole.1.len() as u64),
        (None, before.1 - before.2)
    );
    let (storage, replayed) = open_storage(&disk, Slot(0), 3).unwrap();
    assert_eq!(replayed, [], "what cannot be applied is not replayed");
    let blank = storage.blank.unwrap();
    assert!(blank.contains("no command for slot 0"), "{blank}");
    assert_ne!(storage.identity.incarnation, before.0);
    assert!(disk.names().iter().any(|name| name.ends_with(".damaged-1")));
}

#[test]
fn a_trimmed_store_of_one_replica_does_not_start_without_its_snapshot() {
    let disk = FaultyDisk::new();
    trimmed_store(&disk, 1);
    let error = open_storage(&disk, Slot(0), 1).unwrap_err();
    assert!(
        matches!(error, StorageError::OnlyReplicaDamaged { .. }),
        "{error}"
    );
}

/// A founded replica of `members` whose journal was trimmed; its incarnation, how many slots were appended, and the first
/// that is left.
fn trimmed_store(disk: &FaultyDisk, members: u8) -> (Incarnation, u64, u64) {
    let (mut storage, _) = open_storage(disk, Slot(0), members).unwrap();
    let incarnation = storage.identity.incarnation;
    let founding = FoundingRecord {
        cluster: 9,
        members: (0..members)
            .map(|id| (ReplicaId(id), incarnation))
            .collect(),
        settings: ClusterSettings::default(),
    };
    let identity = Identity {
        founding: Some(founding),
        ..storage.identity.clone()
    };
    identity.store(disk).unwrap();
    for number in 0..30 {
        append(&mut storage.journal, number, 3_000).unwrap();
        storage.journal.sync().unwrap();
    }
    let trimmed = storage.journal.trim_below(Slot(20)).unwrap();
    trimmed.remove(disk).unwrap();
    storage.journal.seal().unwrap();
    drop(storage);
    let (_, replayed) = open_storage(&disk.copy(), Slot(20), members).unwrap();
    let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = replayed[0];
    (incarnation, 30, slot.0)
}

fn open_storage(
    disk: &FaultyDisk,
    base: Slot,
    members: u8,
) -> Result<(Storage, Vec<Record>), StorageError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let settings = StorageSettings {
        replica: ReplicaId(0),
        members: (0..members).map(ReplicaId).collect(),
        journal: SHORT_SEGMENTS,
    };
    let mut replayed = Vec::new();
    let mut random = disk.steps();
    let mut draw = || {
        random += 1;
        random
    };
    let storage = Storage::open_above(base, &shared, &settings, &mut draw, &mut |_, records| {
        replayed.extend(records);
    })?;
    Ok((storage, replayed))
}

/// A journal of so many records of 3,000 bytes, each synced by itself.
fn with_closed_segments(disk: &FaultyDisk, count: u64) -> Journal {
    assert_eq!(OWNER.replica, ReplicaId(1));
    let (mut journal, _) = reopen(disk);
    for number in 0..count {
        append(&mut journal, number, 3_000).unwrap();
        journal.sync().unwrap();
    }
    journal
}
