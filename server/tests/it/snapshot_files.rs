//! Snapshot files on a disk that fails (FAULTS 5): the newest whole one is found, whatever happened to the others.

use std::sync::Arc;

use common::{Change, Outcome, Request, SessionId, Write};
use kvpaxos_server::identity::{ClusterSettings, Identity};
use kvpaxos_server::journal::Disk;
use kvpaxos_server::node::{ConnectionId, Node, NodeSettings, Recovery};
use kvpaxos_server::snapshot::{
    Incoming, Kept, Loaded, SnapshotError, Writer, load, newest, read_piece,
};
use paxos::{Incarnation, ReplicaId, Slot};
use proptest::prelude::*;

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::messages::says;
use crate::mutilation::mutilations;

/// One small key, its session included (FAULTS 3).
#[test]
fn snapshot_size() {
    let mut store = Store::new();
    store.put(b"k", b"v");
    let disk = FaultyDisk::new();
    store.snapshot(&disk, &mut Vec::new()).unwrap();
    let bytes = newest(&disk).unwrap().unwrap().bytes;
    println!("a snapshot of one small key has {bytes} bytes");
    assert!(bytes <= 500, "{bytes} bytes");
}

#[test]
fn a_snapshot_whose_bytes_are_not_the_state_is_not_kept() {
    let mut store = Store::new();
    store.put(b"k", b"v");
    let disk = FaultyDisk::new();
    let (head, hash) = store.node.begin_snapshot().unwrap();
    let mut writer = Writer::begin(Arc::new(disk.clone()), head, hash ^ 1).unwrap();
    while let Some(piece) = store.node.snapshot_step() {
        writer.add(&piece).unwrap();
    }
    let mut kept = Vec::new();
    let error = writer.finish(&mut kept).unwrap_err().to_string();
    let message = "the snapshot of slot … has the hash …, and the state had …: the state of this replica is broken";
    assert!(says(&error, message), "{error}");
    assert!(kept.is_empty() && snapshots(&disk).is_empty());
}

#[test]
fn a_snapshot_holds_the_state() {
    let mut store = Store::new();
    for number in 0..300_u32 {
        store.put(&number.to_be_bytes(), &vec![7; 40 * number as usize]);
    }
    store.put(b"long", &vec![1; 3 << 20]);
    let disk = FaultyDisk::new();
    store.snapshot(&disk, &mut Vec::new()).unwrap();
    let loaded = load(&disk, store.cluster()).unwrap();
    assert!(loaded.damage.is_empty());
    let restored = loaded.restored.unwrap();
    assert_eq!(restored.slot(), store.node.applied());
    assert_eq!(restored.head().keys, 301);
    let node = store.restart(Recovery::from_snapshot(restored));
    assert_eq!(node.applied(), store.node.applied());
    assert_eq!(node.state_hash(), store.node.state_hash());
    let elsewhere = load(&disk, 1).unwrap();
    assert!(elsewhere.restored.is_none(), "another cluster's");
    assert_eq!(elsewhere.damage.len(), 1);
}

#[test]
pub(crate) fn two_snapshots_are_kept_also_of_one_slot() {
    let mut store = Store::new();
    let disk = FaultyDisk::new();
    let mut kept = Vec::new();
    let mut slots = Vec::new();
    for number in 0..4_u8 {
        store.put(b"k", &[number]);
        store.snapshot(&disk, &mut kept).unwrap();
        slots.push(store.node.applied());
    }
    assert_eq!(slots_of(&kept), slots[2..]);
    assert_eq!(snapshots(&disk).len(), 2);
    for _ in 0..3 {
        store.snapshot(&disk, &mut kept).unwrap();
        assert_eq!(slots_of(&kept), [slots[3], slots[3]]);
        assert_eq!(snapshots(&disk).len(), 2);
    }
    assert_eq!(load(&disk, store.cluster()).unwrap().kept, kept);
}

#[test]
fn a_damaged_snapshot_is_named_and_the_older_one_is_taken() {
    let (disk, store) = two_snapshots();
    let names = snapshots(&disk);
    let content = disk.content(&names[1]);
    let mut spoilt: Vec<FaultyDisk> = [0, 1, 24, 100, content.len() / 2, content.len() - 1]
        .into_iter()
        .map(|length| {
            let copy = disk.copy();
            copy.set_content(&names[1], content[..length].to_vec());
            copy
        })
        .collect();
    for bit in 0..8 * content.len() {
        let copy = disk.copy();
        copy.flip_bit(&names[1], bit);
        spoilt.push(copy);
    }
    let longer = disk.copy();
    longer.set_content(&names[1], [&content[..], b"x"].concat());
    let unreadable = disk.copy();
    unreadable.spoil(&names[1]);
    spoilt.extend([longer, unreadable]);
    for (case, disk) in spoilt.iter().enumerate() {
        let loaded = load(disk, store.cluster()).unwrap();
        assert_eq!(loaded.damage.len(), 1, "case {case}");
        assert!(loaded.damage[0].contains(&names[1]), "{:?}", loaded.damage);
        assert_eq!(
            restored_slot(&loaded),
            slots_of(&loaded.kept).last().copied()
        );
        assert_eq!(slots_of(&loaded.kept).len(), 1);
    }
    disk.drop_file(&names[1]);
    let loaded = load(&disk, store.cluster()).unwrap();
    assert!(loaded.restored.is_some() && loaded.damage.is_empty());
    disk.flip_bit(&names[0], 500);
    let loaded = load(&disk, store.cluster()).unwrap();
    assert!(loaded.restored.is_none() && loaded.kept.is_empty());
}

#[test]
fn a_damaged_snapshot_is_removed_when_two_whole_ones_are_there() {
    let (disk, mut store) = two_snapshots();
    let names = snapshots(&disk);
    disk.flip_bit(&names[1], 1_000);
    let mut kept = load(&disk, store.cluster()).unwrap().kept;
    store.put(b"k", b"later");
    store.snapshot(&disk, &mut kept).unwrap();
    let left = snapshots(&disk);
    assert_eq!((left.len(), &left[0]), (2, &names[0]));
    assert!(!left.contains(&names[1]));
    assert!(load(&disk, store.cluster()).unwrap().damage.is_empty());
}

#[test]
fn a_crash_between_any_two_steps_of_writing_leaves_a_whole_snapshot() {
    let (disk, mut store) = two_snapshots();
    let before = load(&disk, store.cluster()).unwrap();
    let old_slot = restored_slot(&before).unwrap();
    store.put(b"k", &vec![3; 5_000]);
    let new_slot = store.node.applied();
    let steps = disk.copy();
    store.snapshot(&steps, &mut before.kept.clone()).unwrap();
    let steps = steps.steps();
    assert!(steps > 6, "{steps} steps are too few");
    let mut seen = Vec::new();
    for step in 0..steps {
        for seed in 0..8 {
            let disk = disk.copy();
            disk.plan(step, Fault::Stop);
            let written = store.snapshot(&disk, &mut before.kept.clone());
            assert!(written.is_err() && disk.is_stopped(), "step {step}");
            disk.crash(&mut Rng::new(seed));
            let loaded = load(&disk, store.cluster()).unwrap();
            let slot = restored_slot(&loaded).unwrap();
            assert_eq!(
                loaded.damage,
                Vec::<String>::new(),
                "step {step} seed {seed}"
            );
            assert!(loaded.kept.len() >= 2, "step {step} seed {seed}");
            seen.push(slot);
        }
    }
    assert!(seen.contains(&old_slot) && seen.contains(&new_slot));
}

#[test]
fn what_a_full_or_failing_disk_does_not_take_does_not_count() {
    let (disk, mut store) = two_snapshots();
    let before = load(&disk, store.cluster()).unwrap();
    store.put(b"k", &vec![3; 5_000]);
    for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
        // Opening, the head, the chunks, and the footer with what is left; before them room is sought that was kept.
        for step in 1..4 {
            let disk = disk.copy();
            let mut kept = before.kept.clone();
            disk.plan(step, Fault::Fail(kind));
            let error = store.snapshot(&disk, &mut kept).unwrap_err();
            assert!(matches!(error, SnapshotError::Disk { .. }), "{error}");
            assert_eq!(kept, before.kept);
            assert_eq!(snapshots(&disk).len(), 2);
            store.snapshot(&disk, &mut kept).unwrap();
            assert_eq!(kept.last().unwrap().slot, store.node.applied());
        }
    }
}

#[test]
fn a_snapshot_is_received_in_pieces_and_goes_on_after_a_crash() {
    let (source, store) = two_snapshots();
    let sent = newest(&source).unwrap().unwrap();
    for stop_at in 0..25 {
        let disk = FaultyDisk::new();
        disk.plan(stop_at, Fault::Stop);
        let mut rng = Rng::new(stop_at);
        if receive(&source, &disk, &sent, store.cluster(), &mut rng).is_ok() {
            disk.plan(0, Fault::Stop);
        }
        disk.crash(&mut rng);
        let slot = receive(&source, &disk, &sent, store.cluster(), &mut rng).unwrap();
        assert_eq!(slot, sent.slot, "stopped at {stop_at}");
        let loaded = load(&disk, store.cluster()).unwrap();
        assert_eq!(restored_slot(&loaded), Some(sent.slot));
        assert_eq!(
            snapshots(&disk).len(),
            disk.names().len(),
            "stopped at {stop_at}"
        );
    }
}

#[test]
fn a_snapshot_that_arrives_damaged_does_not_count_and_is_asked_for_anew() {
    let (source, store) = two_snapshots();
    let sent = newest(&source).unwrap().unwrap();
    let disk = FaultyDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut incoming = Incoming::open(Arc::clone(&shared), sent.slot).unwrap();
    let mut bytes = read_piece(&source, sent.slot, 0, usize::MAX)
        .unwrap()
        .unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(incoming.take(5, &bytes[5..]).unwrap(), 0, "a gap");
    assert_eq!(incoming.take(0, &bytes).unwrap(), sent.bytes);
    let refused = incoming.finish(store.cluster(), &mut Vec::new());
    assert!(matches!(refused, Err(SnapshotError::Damaged { .. })));
    assert_eq!(Incoming::open(shared, sent.slot).unwrap().offset(), 0);
    let mut rng = Rng::new(1);
    assert!(
        receive(&source, &disk, &sent, 1, &mut rng).is_err(),
        "another cluster's"
    );
    receive(&source, &disk, &sent, store.cluster(), &mut rng).unwrap();
}

/// Room that is kept is not emptied, and may hold what was received of another snapshot.
#[test]
fn what_was_in_the_room_for_a_snapshot_is_no_beginning_of_it() {
    let (source, _) = two_snapshots();
    let sent = newest(&source).unwrap().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
    let open = |slot| Incoming::open(Arc::clone(&disk), slot).unwrap();
    let whole = read_piece(&source, sent.slot, 0, usize::MAX).unwrap();
    let mut given_up = open(sent.slot);
    given_up.take(0, &whole.unwrap()).unwrap();
    given_up.give_up();
    let next = sent.slot.next();
    drop(open(next));
    // The process ended before a byte came.
    assert_eq!(open(next).offset(), 0);
}

#[test]
fn a_snapshot_that_is_gone_is_not_sent() {
    let (disk, _) = two_snapshots();
    assert_eq!(read_piece(&disk, Slot(1 << 40), 0, 10).unwrap(), None);
    let sent = newest(&disk).unwrap().unwrap();
    let behind = read_piece(&disk, sent.slot, sent.bytes, 10).unwrap();
    assert_eq!(behind, Some(Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was done to both files, loading does not panic, and what it gives is the state of that slot.
    #[test]
    fn a_mutilated_snapshot_is_never_misread(mutilations in mutilations(2, 1_600, 64)) {
        let (disk, mut store) = two_snapshots();
        store.put(b"key", b"three");
        store.snapshot(&disk, &mut load(&disk, store.cluster()).unwrap().kept).unwrap();
        let names = snapshots(&disk);
        let states: Vec<_> = names.iter().map(|name| state_of_alone(&disk, name, &store)).collect();
        for (which, mutilation) in mutilations {
            let mut content = disk.content(&names[which]);
            mutilation.apply(&mut content);
            disk.set_content(&names[which], content);
        }
        let loaded = load(&disk, store.cluster()).unwrap();
        prop_assert_eq!(loaded.kept.len() + loaded.damage.len(), 2);
        if let Some(restored) = loaded.restored {
            let node = store.restart(Recovery::from_snapshot(restored));
            prop_assert!(states.contains(&(node.applied(), node.state_hash())));
        }
    }

    /// A file of arbitrary bytes under the name of a snapshot is damaged, and named.
    #[test]
    fn arbitrary_bytes_are_no_snapshot(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        let (disk, store) = two_snapshots();
        let name = snapshots(&disk)[1].clone();
        disk.set_content(&name, bytes);
        let loaded = load(&disk, store.cluster()).unwrap();
        prop_assert_eq!(loaded.damage.len(), 1);
        prop_assert!(loaded.damage[0].contains(&name));
        prop_assert!(loaded.restored.is_some());
    }
}

/// The slot and the hash of the state in one snapshot.
fn state_of_alone(disk: &FaultyDisk, name: &str, store: &Store) -> (Slot, u128) {
    let alone = disk.copy();
    for other in snapshots(disk).into_iter().filter(|other| other != name) {
        alone.drop_file(&other);
    }
    let restored = load(&alone, store.cluster()).unwrap().restored.unwrap();
    let node = store.restart(Recovery::from_snapshot(restored));
    (node.applied(), node.state_hash())
}

/// Receives what `source` has, in pieces that come late, twice, and out of order.
fn receive(
    source: &FaultyDisk,
    disk: &FaultyDisk,
    sent: &Kept,
    cluster: u64,
    rng: &mut Rng,
) -> Result<Slot, SnapshotError> {
    let mut incoming = Incoming::open(Arc::new(disk.clone()), sent.slot)?;
    while incoming.offset() < sent.bytes {
        let offset = match rng.below(4) {
            0 => rng.below(sent.bytes),
            _ => incoming.offset(),
        };
        let piece = read_piece(source, sent.slot, offset, 700).unwrap().unwrap();
        incoming.take(offset, &piece)?;
    }
    let restored = incoming.finish(cluster, &mut Vec::new())?;
    Ok(restored.slot())
}

/// A store of one replica that remembers nothing but what it is asked to write.
pub(crate) struct Store {
    pub(crate) node: Node,
    settings: NodeSettings,
    session: SessionId,
    sequence: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        let settings = NodeSettings {
            replica: ReplicaId(0),
            members: vec![ReplicaId(0)],
            cluster: ClusterSettings::default(),
            no_quorum_after_ticks: 500,
            reads_through_log: false,
            birth: 5,
        };
        let identity = Identity {
            replica: ReplicaId(0),
            incarnation: Incarnation(7),
            founding: None,
        };
        let recovery = Recovery::new(settings.cluster);
        let session = SessionId {
            revision: 0,
            nonce: 0,
        };
        let mut store = Self {
            node: Node::new(settings.clone(), identity, recovery, None),
            settings,
            session,
            sequence: 0,
        };
        while store.node.leader().is_none() {
            store.node.tick();
            store.pump();
        }
        match store.ask(Request::OpenSession { tag: 1, nonce: 5 }) {
            Outcome::SessionOpened { session, .. } => store.session = session,
            other => panic!("no session: {other}"),
        }
        store
    }

    fn pump(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let output = self.node.take_output();
            if output.is_empty() {
                return outcomes;
            }
            outcomes.extend(output.answers.into_iter().map(|(_, answer)| answer.outcome));
            for (to, message) in output.send_when_durable {
                self.node.peer(to, message);
            }
        }
    }

    fn ask(&mut self, request: Request) -> Outcome {
        let connection = ConnectionId {
            worker: 0,
            serial: 1,
        };
        self.node.client(connection, request);
        loop {
            if let Some(outcome) = self.pump().pop() {
                return outcome;
            }
            self.node.tick();
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.sequence += 1;
        let write = Write {
            session: self.session,
            sequence: self.sequence,
            floor: self.sequence,
            after: 0,
            change: Change::Put {
                key: key.to_vec(),
                value: value.to_vec(),
            },
        };
        let outcome = self.ask(Request::Write { tag: 2, write });
        assert!(matches!(outcome, Outcome::Put { .. }), "{outcome}");
    }

    pub(crate) fn cluster(&self) -> u64 {
        self.node.identity().founding.as_ref().unwrap().cluster
    }

    /// Takes a snapshot, all at once.
    fn snapshot(&mut self, disk: &FaultyDisk, kept: &mut Vec<Kept>) -> Result<(), SnapshotError> {
        let (head, hash) = self.node.begin_snapshot().unwrap();
        let mut writer = Writer::begin(Arc::new(disk.clone()), head, hash)?;
        while let Some(piece) = self.node.snapshot_step() {
            if let Err(error) = writer.add(&piece) {
                writer.give_up();
                return Err(error);
            }
        }
        writer.finish(kept)
    }

    /// Another life of the node.
    fn restart(&self, recovery: Recovery) -> Node {
        let identity = self.node.identity().clone();
        Node::new(self.settings.clone(), identity, recovery, None)
    }
}

/// A disk with two snapshots, and the store that they are of.
pub(crate) fn two_snapshots() -> (FaultyDisk, Store) {
    let mut store = Store::new();
    let disk = FaultyDisk::new();
    let mut kept = Vec::new();
    for value in [&b"one"[..], &[9; 900]] {
        store.put(b"key", value);
        store.snapshot(&disk, &mut kept).unwrap();
    }
    (disk, store)
}

pub(crate) fn snapshots(disk: &FaultyDisk) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(".snap")).collect()
}

fn slots_of(kept: &[Kept]) -> Vec<Slot> {
    kept.iter().map(|kept| kept.slot).collect()
}

fn restored_slot(loaded: &Loaded) -> Option<Slot> {
    loaded.restored.as_ref().map(|restored| restored.slot())
}
