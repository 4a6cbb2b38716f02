//! Snapshots on a disk without room (RULES R18): there is room for the next one before there is none, and what is given up
//! leaves nothing behind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kvpaxos_server::journal::Disk;
use kvpaxos_server::journal_thread::Fatal;
use kvpaxos_server::mailbox::mailbox;
use kvpaxos_server::node::{SnapshotProgress, SnapshotStep, TransferProgress, TransferStep};
use kvpaxos_server::snapshot::{Kept, SnapshotError, load};
use kvpaxos_server::snapshot_thread::{SnapshotJob, SnapshotThread, SnapshotWork};
use mio::{Poll, Token};
use paxos::Slot;

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::messages::says;
use crate::snapshot_files::{Store, snapshots};
use crate::warnings;

const RESERVE: &str = "snapshot-0.reserve";
const SECOND_RESERVE: &str = "snapshot-1.reserve";

#[test]
fn a_snapshot_is_written_on_a_disk_without_a_free_byte() {
    let (disk, mut store, mut work) = two_snapshots();
    disk.fill(0);
    for round in 0..20_u8 {
        store.put(b"key", &vec![round; 50_000]);
        let durable = take(&mut store, &mut work);
        let slots = match durable {
            SnapshotProgress::Durable(slots) => slots,
            other => panic!("round {round}: {other:?}"),
        };
        assert_eq!(slots.last(), Some(&store.node.applied()));
        assert_eq!(snapshots(&disk).len(), 2);
        assert_eq!(disk.names().len(), 4, "{:?}", disk.names());
        assert!(disk.names().contains(&RESERVE.to_owned()));
    }
    assert!(load(&disk, store.cluster()).unwrap().damage.is_empty());
}

#[test]
fn a_snapshot_is_received_on_a_disk_without_a_free_byte() {
    let (source, mut store, mut sending) = two_snapshots();
    let (disk, _, mut work) = two_snapshots();
    store.put(b"key", &vec![1; 60_000]);
    take(&mut store, &mut sending);
    disk.fill(0);
    let slot = store.node.applied();
    let mut offset = 0;
    while let Some(bytes) = piece(&source, slot, offset) {
        offset += bytes.len() as u64;
        let step = TransferStep::Take {
            slot,
            offset: offset - bytes.len() as u64,
            bytes,
        };
        let taken = work.transfer(step).unwrap().unwrap();
        assert!(
            matches!(taken, TransferProgress::Taken { offset: at, .. } if at == offset),
            "{taken:?}"
        );
    }
    let cluster = store.cluster();
    let received = work
        .transfer(TransferStep::Finish { slot, cluster })
        .unwrap()
        .unwrap();
    assert!(
        matches!(received, TransferProgress::Received { .. }),
        "{received:?}"
    );
    assert_eq!(snapshots(&disk).len(), 1);
    assert!(disk.names().contains(&RESERVE.to_owned()));
}

#[test]
fn a_disk_without_room_for_snapshots_is_said() {
    warnings::listen();
    let disk = FaultyDisk::new();
    disk.fill(0);
    let _work = SnapshotWork::new(Arc::new(disk), Vec::new());
    let message = "there may be no room for the next snapshot: …";
    assert!(warnings::has_heard(message));
}

#[test]
fn what_finds_no_room_is_given_up_and_leaves_its_room_to_the_next() {
    let (disk, mut store, mut work) = two_snapshots();
    let before = (disk.names(), disk.used_bytes());
    disk.fill(0);
    // Far more than a quarter longer.
    store.put(b"other", &vec![1; 400_000]);
    let slot = Slot(1 << 40);
    let too_long = || TransferStep::Take {
        slot,
        offset: 0,
        bytes: vec![7; 400_000],
    };
    let failed = work.transfer(too_long()).unwrap().unwrap();
    assert!(matches!(failed, TransferProgress::Failed(_)), "{failed:?}");
    assert_eq!((disk.names(), disk.used_bytes()), before);
    let failed = take(&mut store, &mut work);
    assert!(matches!(failed, SnapshotProgress::Failed(_)), "{failed:?}");
    assert_eq!((disk.names(), disk.used_bytes()), before);
    disk.set_quota(None);
    work.transfer(too_long()).unwrap();
    assert!(work.transfer(TransferStep::GiveUp).unwrap().is_none());
    assert_eq!((disk.names(), disk.used_bytes()), before);
    let durable = take(&mut store, &mut work);
    assert!(
        matches!(durable, SnapshotProgress::Durable(_)),
        "{durable:?}"
    );
}

#[test]
fn what_fails_at_any_step_leaves_nothing_half_made_and_a_broken_disk_ends_the_process() {
    let (disk, mut store, _) = two_snapshots();
    store.put(b"key", &vec![3; 50_000]);
    let steps = steps_of(&disk, &mut store);
    assert!(steps > 10, "{steps} steps are too few");
    let mut ended = 0;
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for step in 0..steps {
            let disk = disk.copy();
            let mut work = work_on(&disk, &store);
            disk.plan(step, Fault::Fail(kind));
            let first = try_take(&mut store, &mut work);
            if let Err(broken) = &first {
                assert_eq!(kind, io::ErrorKind::Other, "step {step}: {broken}");
                ended += 1;
                work = work_on(&disk, &store);
            }
            let names = disk.names();
            assert!(
                !names.iter().any(|name| name.ends_with(".tmp")),
                "step {step}: {names:?}"
            );
            let again = take(&mut store, &mut work);
            assert!(
                matches!(again, SnapshotProgress::Durable(_)),
                "step {step}: {first:?}, {again:?}"
            );
        }
    }
    // The other steps are about room that is kept, on which nothing rests.
    assert!(ended > 5, "{ended} of {steps}");
}

#[test]
fn a_broken_disk_under_a_snapshot_that_comes_ends_the_process() {
    let (disk, _, mut work) = two_snapshots();
    // After the room that was kept got the file's name.
    disk.plan(2, Fault::Fail(io::ErrorKind::Other));
    let step = TransferStep::Take {
        slot: Slot(1 << 40),
        offset: 0,
        bytes: vec![7; 5_000],
    };
    let broken = work.transfer(step).unwrap_err();
    assert!(broken.is_fatal(), "{broken}");
}

#[test]
fn a_snapshot_that_the_disk_fails_ends_the_process() {
    let (disk, mut store, _) = two_snapshots();
    let kept = load(&disk, store.cluster()).unwrap().kept;
    let poll = Poll::new().unwrap();
    let (outside, _inbox) = mailbox(poll.registry(), Token(0)).unwrap();
    let (sink, said) = crossbeam_channel::unbounded();
    let fatal = Fatal::new(move |why| sink.send(why.to_owned()).unwrap());
    let thread = SnapshotThread::start(Arc::new(disk.clone()), kept, outside, fatal).unwrap();
    let (head, state_hash) = store.node.begin_snapshot().unwrap();
    let step = SnapshotStep::Begin {
        head: Box::new(head),
        state_hash,
    };
    disk.plan(1, Fault::Fail(io::ErrorKind::Other));
    thread.steps().send(SnapshotJob::Take(step)).unwrap();
    let why = said.recv_timeout(Duration::from_secs(20)).unwrap();
    let message = "the disk failed a snapshot, so this replica stops: …";
    assert!(says(&why, message), "{why}");
    thread.join();
}

/// The disk is full all the while.
#[test]
fn a_crash_between_any_two_steps_on_a_full_disk_leaves_two_snapshots_and_room_for_the_next() {
    let (disk, mut store, _) = two_snapshots();
    store.put(b"key", &vec![3; 50_000]);
    let steps = steps_of(&disk, &mut store);
    for step in 0..steps {
        for seed in 0..8 {
            let disk = disk.copy();
            let mut work = work_on(&disk, &store);
            disk.sync_directory().unwrap();
            disk.fill(0);
            disk.plan(step, Fault::Stop);
            let _ = try_take(&mut store, &mut work);
            assert!(disk.is_stopped(), "step {step}");
            if seed % 2 == 0 {
                disk.kill();
            } else {
                disk.crash(&mut Rng::new(seed));
            }
            let loaded = load(&disk, store.cluster()).unwrap();
            assert_eq!(loaded.damage, Vec::<String>::new(), "step {step}");
            assert_eq!(loaded.kept.len(), 2, "step {step} seed {seed}");
            let mut work = work_on(&disk, &store);
            let names = disk.names();
            assert!(
                !names.iter().any(|name| name.ends_with(".tmp")),
                "step {step}: {names:?}"
            );
            assert!(
                names.contains(&RESERVE.to_owned()),
                "step {step}: {names:?}"
            );
            let durable = take(&mut store, &mut work);
            assert!(
                matches!(durable, SnapshotProgress::Durable(_)),
                "step {step} seed {seed}: {durable:?}"
            );
        }
    }
}

#[test]
fn what_was_being_received_stays_for_as_long_as_it_is_newer() {
    let (disk, store, mut work) = two_snapshots();
    for (slot, stays) in [(1_u64, false), (1 << 40, true)] {
        let step = TransferStep::Take {
            slot: Slot(slot),
            offset: 0,
            bytes: vec![7; 100],
        };
        work.transfer(step).unwrap();
        disk.kill();
        work = work_on(&disk, &store);
        let names = disk.names();
        let is_there = names.iter().any(|name| name.starts_with("incoming-"));
        assert_eq!(is_there, stays, "{names:?}");
    }
}

/// A disk with two snapshots and room for the next, and who wrote them.
fn two_snapshots() -> (FaultyDisk, Store, SnapshotWork) {
    let mut store = Store::new();
    let disk = FaultyDisk::new();
    let mut work = SnapshotWork::new(Arc::new(disk.clone()), Vec::new());
    assert_eq!(
        disk.names(),
        [RESERVE, SECOND_RESERVE],
        "there is room for two"
    );
    for value in [4, 5] {
        store.put(b"key", &[value; 50_000]);
        take(&mut store, &mut work);
    }
    (disk, store, work)
}

/// What the next process does it with.
fn work_on(disk: &FaultyDisk, store: &Store) -> SnapshotWork {
    let kept: Vec<Kept> = load(disk, store.cluster()).unwrap().kept;
    SnapshotWork::new(Arc::new(disk.clone()), kept)
}

/// Takes a snapshot, step by step, until it is durable or finds no room.
fn take(store: &mut Store, work: &mut SnapshotWork) -> SnapshotProgress {
    try_take(store, work).unwrap()
}

fn try_take(store: &mut Store, work: &mut SnapshotWork) -> Result<SnapshotProgress, SnapshotError> {
    let (head, state_hash) = store.node.begin_snapshot().unwrap();
    let mut step = SnapshotStep::Begin {
        head: Box::new(head),
        state_hash,
    };
    loop {
        match work.take(step)? {
            SnapshotProgress::Written => {}
            ended => return Ok(ended),
        }
        step = store
            .node
            .snapshot_step()
            .map_or(SnapshotStep::Finish, SnapshotStep::Piece);
    }
}

fn steps_of(disk: &FaultyDisk, store: &mut Store) -> u64 {
    let disk = disk.copy();
    let mut work = work_on(&disk, store);
    let before = disk.steps();
    take(store, &mut work);
    disk.steps() - before
}

fn piece(source: &FaultyDisk, slot: Slot, offset: u64) -> Option<Vec<u8>> {
    let piece = kvpaxos_server::snapshot::read_piece(source, slot, offset, 7_000).unwrap();
    piece.filter(|bytes| !bytes.is_empty())
}
