//! What is spoiled is told from what is torn, and is never misread (FAULTS 5, RULES R3).

use std::io::ErrorKind;
use std::sync::Arc;

use kvpaxos_server::journal::{Disk, Journal, JournalError, Opened, Owner, SECTOR_BYTES};
use paxos::{Incarnation, ReplicaId};
use proptest::prelude::*;

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::journal_rig::{
    OWNER, SHORT_SEGMENTS, append, create, damage_of, last_written_block, only_segment, open,
    record, reopen, three_segments,
};
use crate::mutilation::mutilations;

#[test]
fn a_flipped_bit_in_a_closed_journal_is_damage_or_harmless() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    for number in 0..7 {
        append(&mut journal, number, 3_000).unwrap();
        journal.sync().unwrap();
    }
    journal.seal().unwrap();
    let (_, expected) = reopen(&disk.copy());
    assert_eq!(expected.len(), 7);
    let mut damaged = 0;
    let mut harmless = 0;
    let mut rng = Rng::new(1);
    for name in disk.names() {
        for sector in 0..disk.content(&name).len() / SECTOR_BYTES {
            for _ in 0..3 {
                let copy = disk.copy();
                let bit = 8 * SECTOR_BYTES * sector + rng.below(8 * SECTOR_BYTES as u64) as usize;
                copy.flip_bit(&name, bit);
                let mut replayed = Vec::new();
                match open(&copy, &mut |_, records| replayed.extend(records)).unwrap() {
                    Opened::Damaged(_) => damaged += 1,
                    Opened::Whole { torn, .. } => {
                        assert_eq!(torn, None, "{name} bit {bit} was taken for a torn tail");
                        assert_eq!(replayed, expected, "{name} bit {bit}");
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(damaged > 200 && harmless > 10, "{damaged} {harmless}");
}

#[test]
fn the_last_batch_of_an_idle_journal_is_damage_even_when_it_reads_as_never_written() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 100).unwrap();
    journal.sync().unwrap();
    let place = last_written_block(&disk);
    journal.seal().unwrap();
    let name = only_segment(&disk);
    let mut content = disk.content(&name);
    content[place * 4096..(place + 1) * 4096].fill(0);
    disk.set_content(&name, content);
    let damage = damage_of(&disk);
    assert_eq!(damage.0, name);
    assert_eq!(damage.1, (place as u64 + 1) * 4096);
}

#[test]
fn a_write_that_the_disk_dropped_is_damage() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 100).unwrap();
    disk.plan(0, Fault::Lie);
    journal.sync().unwrap();
    append(&mut journal, 1, 100).unwrap();
    journal.sync().unwrap();
    assert_eq!(damage_of(&disk).0, only_segment(&disk));
}

#[test]
fn a_half_written_last_batch_is_cut() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 100).unwrap();
    journal.sync().unwrap();
    append(&mut journal, 1, 9_000).unwrap();
    journal.sync().unwrap();
    let end = last_written_block(&disk);
    let name = only_segment(&disk);
    let whole = disk.content(&name);
    for lost in end - 2..=end {
        let disk = disk.copy();
        let mut content = whole.clone();
        content[lost * 4096 + 512..lost * 4096 + 1024].fill(0);
        disk.set_content(&name, content);
        let mut replayed = Vec::new();
        let opened = open(&disk, &mut |_, records| replayed.extend(records)).unwrap();
        let Opened::Whole { torn, .. } = opened else {
            panic!("{opened:?}");
        };
        let torn = torn.unwrap();
        assert_eq!(torn.file, name);
        assert_eq!(torn.offset, (end as u64 - 2) * 4096);
        assert_eq!(replayed, [record(0, 100)]);
    }
}

#[test]
fn a_missing_truncated_empty_or_unreadable_segment_is_damage() {
    let disk = three_segments();
    for name in disk.names() {
        let dropped = disk.copy();
        dropped.drop_file(&name);
        assert_eq!(damage_of(&dropped).0, name);
        let spoilt = disk.copy();
        spoilt.spoil(&name);
        assert_eq!(damage_of(&spoilt).0, name);
        let content = disk.content(&name);
        for length in [
            0,
            1,
            512,
            4096,
            4097,
            8192,
            content.len() - 4096,
            content.len() - 1,
        ] {
            let truncated = disk.copy();
            truncated.set_content(&name, content[..length].to_vec());
            assert_eq!(damage_of(&truncated).0, name, "length {length}");
        }
        let longer = disk.copy();
        longer.set_content(&name, [&content[..], &[0; 4096]].concat());
        assert_eq!(damage_of(&longer).0, name);
    }
    let empty = FaultyDisk::new();
    assert_eq!(damage_of(&empty).0, "segment-000000000001.log");
}

#[test]
fn a_segment_that_may_not_be_read_is_no_damage_but_an_error_that_a_person_mends() {
    let disk = three_segments();
    // The first step lists the directory.
    disk.plan(1, Fault::Fail(ErrorKind::PermissionDenied));
    let error = open(&disk, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, JournalError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("segment-"), "{error}");
}

#[test]
fn segments_in_each_others_places_are_damage() {
    let disk = three_segments();
    let names = disk.names();
    let (first, second) = (disk.content(&names[0]), disk.content(&names[1]));
    disk.set_content(&names[0], second);
    disk.set_content(&names[1], first);
    assert_eq!(damage_of(&disk).0, names[0]);
}

#[test]
fn a_journal_of_another_replica_is_refused_and_one_of_another_life_is_damage() {
    let disk = three_segments();
    let names = disk.names();
    let other = Owner {
        replica: ReplicaId(2),
        ..OWNER
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Journal::open(shared, SHORT_SEGMENTS, other, 5, &mut |_, _| {});
    assert!(matches!(opened, Err(JournalError::OtherReplica { .. })));
    let other = Owner {
        incarnation: Incarnation(78),
        ..OWNER
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Journal::open(shared, SHORT_SEGMENTS, other, 5, &mut |_, _| {});
    assert!(matches!(opened, Ok(Opened::Damaged(_))));
    assert_eq!(disk.names(), names);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was done to the files, opening does not panic, and what it replays was appended.
    #[test]
    fn a_mutilated_journal_is_never_misread(mutilations in mutilations(3, 70_000, 4096)) {
        let disk = three_segments();
        let (_, expected) = reopen(&disk.copy());
        let names = disk.names();
        for (which, mutilation) in mutilations {
            let mut content = disk.content(&names[which]);
            mutilation.apply(&mut content);
            disk.set_content(&names[which], content);
        }
        let mut replayed = Vec::new();
        let opened = open(&disk, &mut |_, records| replayed.extend(records)).unwrap();
        prop_assert_eq!(&replayed[..], &expected[..replayed.len()]);
        if let Opened::Whole { .. } = opened {
            let (_, again) = reopen(&disk);
            prop_assert_eq!(replayed, again);
        }
    }

    /// A file of arbitrary bytes in the place of a segment is damage.
    #[test]
    fn arbitrary_bytes_are_damage(bytes in proptest::collection::vec(any::<u8>(), 0..10_000)) {
        let disk = three_segments();
        let name = disk.names()[1].clone();
        disk.set_content(&name, bytes);
        prop_assert_eq!(damage_of(&disk).0, name);
    }
}
