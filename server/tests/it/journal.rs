//! The journal at work on a disk that is full, fails, or is idle (FAULTS 5).

use std::collections::BTreeSet;
use std::io;

use kvpaxos_server::journal::{JournalError, Serial};
use paxos::{DurableState, Persist, Record};

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::journal_rig::{append, create, open, record, reopen, state_after, three_segments};

#[test]
fn a_full_disk_loses_nothing_and_the_journal_goes_on() {
    for step in 0..60 {
        let disk = FaultyDisk::new();
        create(&disk);
        let (mut journal, _) = reopen(&disk);
        disk.plan(step, Fault::Fail(io::ErrorKind::StorageFull));
        let mut failed = None;
        let mut was_full = false;
        for number in 0..12 {
            let mut synced =
                append(&mut journal, number, 5_000).and_then(|()| journal.sync().map(|_| ()));
            if let Err(JournalError::DiskFull { .. }) = synced {
                was_full = true;
                synced = journal.sync().map(|_| ());
            }
            if let Err(error) = synced {
                assert!(matches!(journal.sync(), Err(JournalError::Failed)));
                failed = Some((number, error));
                break;
            }
        }
        let durable = failed.as_ref().map_or(12, |failed| failed.0);
        if step == 6 {
            assert!(was_full, "the step that makes the second segment");
        }
        disk.crash(&mut Rng::new(step));
        let (_, replayed) = reopen(&disk);
        assert!(replayed.len() as u64 >= durable, "step {step}: {failed:?}");
    }
}

#[test]
fn a_failed_write_or_sync_is_never_tried_again() {
    for step in 0..2 {
        let disk = FaultyDisk::new();
        create(&disk);
        let (mut journal, _) = reopen(&disk);
        disk.plan(step, Fault::Fail(io::ErrorKind::Other));
        append(&mut journal, 0, 100).unwrap();
        let error = journal.sync().unwrap_err();
        assert!(matches!(error, JournalError::Disk { .. }), "{error}");
        let steps = disk.steps();
        assert!(matches!(journal.sync(), Err(JournalError::Failed)));
        assert!(matches!(journal.seal(), Err(JournalError::Failed)));
        assert!(matches!(
            append(&mut journal, 1, 100),
            Err(JournalError::Failed)
        ));
        assert_eq!(disk.steps(), steps, "the disk was touched again");
    }
}

#[test]
fn batches_longer_than_a_segment_are_kept_whole() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let lengths = [9 << 20, 100, 70_000, 3 << 20, 3 << 20, 100];
    for (number, length) in lengths.into_iter().enumerate() {
        append(&mut journal, number as u64, length).unwrap();
    }
    journal.sync().unwrap();
    let (_, replayed) = reopen(&disk);
    let expected = lengths.into_iter().enumerate();
    let expected = expected.map(|(number, length)| record(number as u64, length));
    assert!(replayed.into_iter().eq(expected));
}

#[test]
fn an_idle_journal_is_sealed_once_and_reopening_it_does_not_make_it_grow() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 100).unwrap();
    journal.seal().unwrap();
    let serial = journal.sync().unwrap();
    for _ in 0..3 {
        journal.seal().unwrap();
        assert_eq!(journal.last_serial(), serial.next());
        journal.sync().unwrap();
    }
    let bytes = journal.disk_bytes();
    for _ in 0..5 {
        let (journal, replayed) = reopen(&disk);
        assert_eq!(journal.last_serial(), serial.next());
        assert_eq!(journal.disk_bytes(), bytes);
        assert_eq!(replayed.len(), 1);
    }
}

#[test]
fn serials_go_on_after_a_restart() {
    let disk = FaultyDisk::new();
    create(&disk);
    let mut last = Serial(0);
    for number in 0..10 {
        let (mut journal, _) = reopen(&disk);
        assert!(journal.last_serial() >= last);
        append(&mut journal, number, 3_000).unwrap();
        let serial = journal.sync().unwrap();
        assert!(serial > last);
        last = serial;
        disk.crash(&mut Rng::new(number));
    }
}

#[test]
fn a_spare_that_comes_late_is_used_for_the_segment_after() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 5_000).unwrap();
    journal.sync().unwrap();
    let order = journal.order_spare().unwrap();
    assert!(journal.order_spare().is_none(), "it is ordered once");
    for number in 1..3 {
        append(&mut journal, number, 5_000).unwrap();
        journal.sync().unwrap();
    }
    assert_eq!(disk.names().len(), 2, "the journal did not wait");
    journal.take_spare(order.make(&disk)).unwrap();
    assert_eq!(disk.names().len(), 3);
    assert!(journal.order_spare().is_none(), "there is one already");
    let (journal, replayed) = reopen(&disk);
    assert_eq!(replayed.len(), 3);
    assert_eq!(journal.disk_bytes(), 96 << 10);
    assert_eq!(disk.names().len(), 2, "an unused segment is not kept");
}

#[test]
fn the_state_survives_without_records() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let state = state_after(5);
    let records = Vec::new();
    journal.append(&Persist { records, state }).unwrap();
    journal.sync().unwrap();
    let mut last = DurableState::default();
    open(&disk, &mut |state, _| last = state).unwrap();
    assert_eq!(last, state);
}

#[test]
fn a_next_segment_that_is_too_short_is_given_up_with_its_room() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let order = journal.order_spare().unwrap();
    journal.take_spare(order.make(&disk)).unwrap();
    append(&mut journal, 0, 100_000).unwrap();
    journal.sync().unwrap();
    let lengths = disk
        .names()
        .into_iter()
        .map(|name| disk.content(&name).len());
    assert_eq!(journal.disk_bytes(), lengths.sum::<usize>() as u64);
    assert_eq!(reopen(&disk).1, [record(0, 100_000)]);
}

#[test]
fn what_waits_for_a_sync_is_written_before_it_takes_much_memory() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let before = journal.last_serial();
    for number in 0..5 {
        assert_eq!(journal.last_serial(), before);
        append(&mut journal, number, 900 << 10).unwrap();
    }
    assert!(journal.last_serial() > before);
}

#[test]
fn what_was_synced_can_be_read_back_without_opening_anew() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    for number in 0..30 {
        append(&mut journal, number, 3_000).unwrap();
    }
    journal.sync().unwrap();
    let mut read = Vec::new();
    let replay = &mut |_, records: Vec<Record>| read.extend(records);
    journal.read_back(replay).unwrap();
    assert!(
        read.into_iter()
            .eq((0..30).map(|number| record(number, 3_000)))
    );
}

#[test]
fn a_spare_that_comes_late_is_the_next_segment_but_one() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let late = journal.order_spare().unwrap().make(&disk);
    append(&mut journal, 0, 60_000).unwrap();
    journal.sync().unwrap();
    assert_eq!(disk.names().len(), 3);
    journal.take_spare(late).unwrap();
    append(&mut journal, 1, 60_000).unwrap();
    journal.sync().unwrap();
    let expected = [0, 1].map(|number| record(number, 60_000));
    assert_eq!(reopen(&disk).1, expected);
}

#[test]
fn a_spare_that_no_process_took_is_removed_by_the_next() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    journal.order_spare().unwrap().make(&disk).unwrap();
    drop(journal);
    assert_eq!(disk.names().len(), 2);
    reopen(&disk);
    assert_eq!(disk.names().len(), 1);
}

/// Or what is left of one use of a file could be taken for another's.
#[test]
fn every_segment_has_a_salt_of_its_own_in_every_life() {
    let disk = three_segments();
    let mut salts = Vec::new();
    for _ in 0..3 {
        reopen(&disk);
        let newest = disk.names().pop().unwrap();
        salts.push(disk.content(&newest)[40..48].to_vec());
    }
    let older = disk.names().into_iter().rev().skip(1);
    salts.extend(older.map(|name| disk.content(&name)[40..48].to_vec()));
    let different: BTreeSet<_> = salts.iter().collect();
    assert_eq!((different.len(), salts.len()), (5, 5), "{salts:?}");
    assert!(!salts.contains(&vec![0; 8]));
}

#[test]
fn a_journal_with_something_to_write_is_not_idle() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 100).unwrap();
    journal.sync().unwrap();
    append(&mut journal, 1, 100).unwrap();
    let before = (disk.steps(), journal.last_serial());
    journal.seal().unwrap();
    assert_eq!((disk.steps(), journal.last_serial()), before);
}

#[test]
#[should_panic(expected = "the durable state fell")]
fn a_watermark_that_falls_is_not_written() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    for count in [5, 4] {
        let persist = Persist {
            records: Vec::new(),
            state: state_after(count),
        };
        journal.append(&persist).unwrap();
    }
}
