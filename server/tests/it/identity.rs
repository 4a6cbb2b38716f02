//! What a directory means to the replica that finds it: a new replica, one that comes back, one that lost its memory,
//! or files that are not its own (FAULTS 5). A crash between any two steps never brings back a life that was given up.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use kvpaxos_server::identity::{ClusterSettings, FoundingRecord, Identity, IdentityError};
use kvpaxos_server::journal::{
    Disk, JournalError, JournalSettings, Storage, StorageError, StorageSettings,
};
use paxos::{Command, DurableState, Incarnation, Persist, Record, ReplicaId, Slot};
use proptest::prelude::*;

use crate::faulty_disk::{Fault, FaultyDisk, Rng};

#[test]
fn a_new_directory_becomes_a_new_replica_that_is_found_again() {
    let disk = FaultyDisk::new();
    let (storage, replayed) = open(&disk, 1).unwrap();
    assert_eq!(storage.identity.replica, ReplicaId(0));
    assert_eq!(storage.identity.founding, None);
    assert_eq!((storage.blank, storage.damage), (None, None));
    assert_eq!(replayed, 0);
    let (again, _) = open(&disk, 2).unwrap();
    assert_eq!(again.identity, storage.identity);
    assert_eq!((again.blank, again.damage), (None, None));
}

#[test]
fn a_crash_at_any_step_of_a_first_start_leaves_a_directory_to_begin_with() {
    for step in 0..STEPS_MAX {
        let disk = FaultyDisk::new();
        disk.plan(step, Fault::Stop);
        let begun = open(&disk, 1);
        if !disk.is_stopped() {
            assert!(begun.is_ok() && step > 8, "{step} steps are too few");
            return;
        }
        for seed in 0..8 {
            let disk = disk.clone_and_crash(seed);
            let (storage, _) = open(&disk, 2).unwrap();
            assert_eq!((storage.blank, storage.damage), (None, None), "step {step}");
            let (again, _) = open(&disk, 3).unwrap();
            assert_eq!(again.identity, storage.identity);
        }
    }
    panic!("a first start takes no end");
}

#[test]
fn a_founding_survives_a_crash_or_did_not_happen() {
    for step in 0..STEPS_MAX {
        let disk = FaultyDisk::new();
        let (storage, _) = open(&disk, 1).unwrap();
        let founded = founded(&storage.identity);
        disk.plan(step, Fault::Stop);
        let stored = founded.store(&disk);
        if !disk.is_stopped() {
            stored.unwrap();
            return;
        }
        for seed in 0..8 {
            let (again, _) = open(&disk.clone_and_crash(seed), 2).unwrap();
            assert!(again.identity == founded || again.identity == storage.identity);
            assert_eq!((again.blank, again.damage), (None, None));
        }
    }
    panic!("storing an identity takes no end");
}

#[test]
fn a_damaged_journal_costs_the_incarnation_and_is_kept() {
    let disk = founded_with_records();
    let before = Identity::load(&disk).unwrap().unwrap();
    let spoilt = spoil_journal(&disk);
    let (storage, _) = open(&disk, 2).unwrap();
    assert_ne!(storage.identity.incarnation, before.incarnation);
    assert_eq!(storage.identity.founding, before.founding);
    let blank = storage.blank.unwrap();
    assert!(
        blank.contains(SEGMENT) && blank.contains("at byte"),
        "{blank}"
    );
    let aside = format!("{SEGMENT}.damaged-1");
    assert_eq!(disk.content(&aside), spoilt);
    let (again, replayed) = open(&disk, 3).unwrap();
    assert_eq!(again.identity, storage.identity);
    assert_eq!(replayed, 0);
    assert_eq!(again.damage, None);
    let blank = again
        .blank
        .expect("it stays silent, also after a second start");
    assert!(blank.contains("earlier"), "{blank}");
    spoil_journal(&disk);
    open(&disk, 4).unwrap();
    assert!(disk.names().contains(&aside));
    assert!(disk.names().contains(&format!("{SEGMENT}.damaged-2")));
}

#[test]
fn a_missing_journal_costs_the_incarnation() {
    let disk = founded_with_records();
    let before = Identity::load(&disk).unwrap().unwrap();
    disk.drop_file(SEGMENT);
    let (storage, _) = open(&disk, 2).unwrap();
    assert_ne!(storage.identity.incarnation, before.incarnation);
    let blank = storage.blank.unwrap();
    assert!(blank.contains("is missing"), "{blank}");
}

#[test]
fn a_replica_without_a_cluster_has_nothing_to_be_silent_about() {
    let disk = FaultyDisk::new();
    let (before, _) = open(&disk, 1).unwrap();
    spoil_journal(&disk);
    let (storage, _) = open(&disk, 2).unwrap();
    assert_ne!(storage.identity.incarnation, before.identity.incarnation);
    assert_eq!(storage.blank, None);
    assert!(storage.damage.is_some());
}

#[test]
fn a_crash_at_any_step_of_becoming_blank_never_revives_the_life_before() {
    for step in 0..STEPS_MAX {
        let disk = founded_with_records();
        let before = Identity::load(&disk).unwrap().unwrap();
        spoil_journal(&disk);
        disk.plan(step, Fault::Stop);
        let opened = open(&disk, 2);
        if !disk.is_stopped() {
            assert!(opened.is_ok() && step > 10, "{step} steps are too few");
            return;
        }
        for seed in 0..8 {
            let disk = disk.clone_and_crash(seed);
            for _ in 0..2 {
                let (storage, replayed) = open(&disk, 3).unwrap();
                assert_ne!(storage.identity.incarnation, before.incarnation);
                assert_eq!(storage.identity.founding, before.founding);
                assert!(storage.blank.is_some(), "step {step}, seed {seed}");
                assert_eq!(replayed, 0);
            }
        }
    }
    panic!("becoming blank takes no end");
}

#[test]
fn a_crash_at_any_step_of_replacing_an_identity_never_revives_the_life_before() {
    for step in 0..STEPS_MAX {
        let disk = founded_with_records();
        let before = Identity::load(&disk).unwrap().unwrap();
        disk.flip_bit("identity", 8 * 26);
        disk.plan(step, Fault::Stop);
        let opened = open(&disk, 2);
        if !disk.is_stopped() {
            let (storage, replayed) = opened.unwrap();
            assert!(storage.damage.unwrap().contains("identity"));
            assert_eq!(replayed, 0);
            for name in ["identity.damaged-1", &format!("{SEGMENT}.damaged-1")] {
                assert!(disk.names().iter().any(|found| found == name), "{name}");
            }
            return;
        }
        for seed in 0..8 {
            let disk = disk.clone_and_crash(seed);
            let (storage, replayed) = open(&disk, 3).unwrap();
            assert_ne!(storage.identity.incarnation, before.incarnation);
            assert_eq!((storage.identity.founding, replayed), (None, 0));
        }
    }
    panic!("replacing an identity takes no end");
}

#[test]
fn the_only_replica_does_not_start_on_damage_and_says_why() {
    let disk = FaultyDisk::new();
    let alone = StorageSettings {
        members: vec![ReplicaId(0)],
        ..settings()
    };
    open_as(&disk, &alone, 1).unwrap();
    for name in [SEGMENT, "identity"] {
        let disk = disk.copy();
        disk.flip_bit(name, 8 * 30);
        let names = disk.names();
        let error = open_as(&disk, &alone, 2).unwrap_err();
        assert!(matches!(error, StorageError::OnlyReplicaDamaged { .. }));
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(disk.names(), names);
    }
}

#[test]
fn files_of_others_are_refused_and_stay_as_they_are() {
    let disk = founded_with_records();
    let names = disk.names();
    let other_replica = StorageSettings {
        replica: ReplicaId(1),
        ..settings()
    };
    let error = open_as(&disk, &other_replica, 2).unwrap_err();
    assert_eq!(error.to_string(), "the files belong to r0, this is r1");
    let other_members = StorageSettings {
        members: [0, 1, 2, 3].map(ReplicaId).to_vec(),
        ..settings()
    };
    let error = open_as(&disk, &other_members, 2).unwrap_err();
    assert!(matches!(error, StorageError::OtherCluster { .. }));
    assert_eq!(
        error.to_string(),
        "the files belong to cluster 000000000000c1a5 of r0,r1,r2, the member list is r0,r1,r2,r3"
    );
    let stranger = StorageSettings {
        replica: ReplicaId(7),
        ..settings()
    };
    let error = open_as(&disk, &stranger, 2).unwrap_err();
    assert_eq!(error.to_string(), "r7 is not in the member list r0,r1,r2");
    assert_eq!(disk.names(), names);
}

#[test]
fn a_journal_with_a_past_and_no_identity_is_refused() {
    let disk = founded_with_records();
    disk.drop_file("identity");
    let names = disk.names();
    let error = open(&disk, 2).unwrap_err();
    assert!(matches!(error, StorageError::JournalWithoutIdentity));
    assert_eq!(disk.names(), names);
}

#[test]
fn a_newer_version_is_refused_before_anything_is_written() {
    let disk = founded_with_records();
    let newer = identity_of_version(2, &disk.content("identity"));
    disk.set_content("identity", newer);
    let before: Vec<_> = contents(&disk);
    let error = open(&disk, 2).unwrap_err();
    assert!(matches!(
        error,
        StorageError::Identity(IdentityError::NewerVersion { found: 2 })
    ));
    assert_eq!(
        error.to_string(),
        "the identity file has format version 2, this release reads up to 1"
    );
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_disk_that_refuses_every_write_is_a_clear_error() {
    for step in 0..12 {
        let disk = FaultyDisk::new();
        disk.plan(step, Fault::Fail(io::ErrorKind::ReadOnlyFilesystem));
        match open(&disk, 1) {
            Ok(_) => assert!(step > 8),
            Err(error) => assert!(error.to_string().contains("cannot"), "{error}"),
        }
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_an_identity_is_damage() {
    let disk = founded_with_records();
    let whole = disk.content("identity");
    for bit in 0..8 * whole.len() {
        disk.flip_bit("identity", bit);
        let loaded = Identity::load(&disk);
        assert!(
            matches!(loaded, Err(IdentityError::Damaged { .. })),
            "bit {bit}"
        );
        disk.flip_bit("identity", bit);
    }
    for length in 0..whole.len() {
        disk.set_content("identity", whole[..length].to_vec());
        let loaded = Identity::load(&disk);
        assert!(matches!(loaded, Err(IdentityError::Damaged { .. })));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_identity(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let disk = FaultyDisk::new();
        disk.write_new("identity", &bytes).unwrap();
        let loaded = Identity::load(&disk);
        let is_damage = matches!(loaded, Err(IdentityError::Damaged { .. }));
        prop_assert!(is_damage);
    }
}

#[test]
fn incarnations_are_drawn_and_not_repeated() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let (storage, _) = open(&FaultyDisk::new(), seed).unwrap();
        assert!(seen.insert(storage.identity.incarnation));
    }
}

#[test]
fn a_segment_of_another_replica_is_refused() {
    let disk = founded_with_records();
    let other = FaultyDisk::new();
    let other_replica = StorageSettings {
        replica: ReplicaId(1),
        ..settings()
    };
    open_as(&other, &other_replica, 5).unwrap();
    disk.set_content(SEGMENT, other.content(SEGMENT));
    let error = open(&disk, 2).unwrap_err();
    assert!(matches!(
        error,
        StorageError::Journal(JournalError::OtherReplica { .. })
    ));
}

const SEGMENT: &str = "segment-000000000001.log";

/// More steps than any opening takes.
const STEPS_MAX: u64 = 200;

fn settings() -> StorageSettings {
    StorageSettings {
        replica: ReplicaId(0),
        members: [0, 1, 2].map(ReplicaId).to_vec(),
        journal: JournalSettings {
            first_segment_bytes: 16 << 10,
            segment_bytes_max: 64 << 10,
        },
    }
}

/// Opens, and counts the records that were replayed.
fn open(disk: &FaultyDisk, seed: u64) -> Result<(Storage, usize), StorageError> {
    open_as(disk, &settings(), seed)
}

fn open_as(
    disk: &FaultyDisk,
    settings: &StorageSettings,
    seed: u64,
) -> Result<(Storage, usize), StorageError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut rng = Rng::new(seed);
    let mut replayed = 0;
    let mut count = |_: DurableState, records: Vec<Record>| replayed += records.len();
    let storage = Storage::open(&shared, settings, &mut || rng.draw(), &mut count)?;
    Ok((storage, replayed))
}

fn founded(identity: &Identity) -> Identity {
    let incarnations = [identity.incarnation, Incarnation(21), Incarnation(22)];
    let members = (0..3).map(ReplicaId).zip(incarnations).collect();
    Identity {
        founding: Some(FoundingRecord {
            cluster: 0xc1a5,
            members,
            settings: ClusterSettings::default(),
        }),
        ..identity.clone()
    }
}

fn founded_with_records() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let (mut storage, _) = open(&disk, 1).unwrap();
    founded(&storage.identity).store(&disk).unwrap();
    let record = Record::Learned {
        slot: Slot(0),
        command: Command::Noop,
    };
    let persist = Persist {
        records: vec![record],
        state: DurableState::default(),
    };
    storage.journal.append(&persist).unwrap();
    storage.journal.sync().unwrap();
    disk
}

/// Flips a bit in the first batch; the content that results.
fn spoil_journal(disk: &FaultyDisk) -> Vec<u8> {
    disk.flip_bit(SEGMENT, 8 * 4200);
    disk.content(SEGMENT)
}

fn contents(disk: &FaultyDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.names().into_iter();
    names
        .map(|name| (name.clone(), disk.content(&name)))
        .collect()
}

/// The bytes that another release may write: the first 24 mean the same, what follows is its own.
pub(crate) fn identity_of_version(version: u8, identity: &[u8]) -> Vec<u8> {
    let body = b"whatever another release keeps here";
    let length = 24 + body.len() as u64;
    let seed = u64::from(version) << 32 | length;
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(body, seed);
    let mut bytes = identity[..8].to_vec();
    bytes.extend([version, 0, 0, 0]);
    bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(body);
    bytes
}
