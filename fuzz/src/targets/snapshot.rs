//! Snapshots: a file that is read when a replica starts, and the same bytes as another replica sends them.
//!
//! The first byte of an input says whether the rest is the file as it is, if it is odd, or with its checksums made right.

use std::sync::Arc;

use kvpaxos_server::journal::Disk;
use kvpaxos_server::snapshot::{Incoming, Loaded, SnapshotError, load};
use paxos::Slot;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::cuts;
use crate::faulty_disk::FaultyDisk;

/// A snapshot file.
pub fn snapshot(input: &[u8]) {
    let Some((mode, file)) = input.split_first() else {
        return;
    };
    let mut file = file.to_vec();
    if mode % 2 == 0 {
        make_right(&mut file);
    }
    let loaded = check_load(&file);
    for cut in cuts(file.len()) {
        check_receive(&file, cut, loaded.as_ref());
    }
}

/// What the file is when a replica starts; none if it is of a later version.
fn check_load(file: &[u8]) -> Option<Loaded> {
    let disk = FaultyDisk::new();
    let name = format!("snapshot-{:020}-0.snap", slot_of(file).0);
    disk.write_new(&name, file).expect("memory takes it");
    let loaded = loaded(load(&disk, cluster_of(file)))?;
    assert!(disk.content(&name) == file, "reading changes nothing");
    match &loaded.restored {
        Some(restored) => {
            assert_eq!(restored.slot(), slot_of(file));
            assert_eq!(restored.head().cluster, cluster_of(file));
            assert!(loaded.damage.is_empty() && loaded.kept.len() == 1);
        }
        None => assert!(loaded.damage.len() == 1 && loaded.kept.is_empty()),
    }
    Some(loaded)
}

/// The same bytes from another replica, in two pieces, with a crash between them: they are a snapshot if the file is one.
fn check_receive(file: &[u8], cut: usize, whole: Option<&Loaded>) {
    let disk = FaultyDisk::new();
    let open = || Incoming::open(Arc::new(disk.clone()), slot_of(file)).expect("memory takes it");
    let mut incoming = open();
    let bytes = incoming.take(0, &file[..cut]).expect("memory takes it");
    assert_eq!(bytes, cut as u64);
    let behind_a_gap = incoming.take(bytes + 1, b"x").expect("nothing is written");
    assert_eq!(behind_a_gap, bytes);
    drop(incoming);
    let mut incoming = open();
    assert!(incoming.offset() <= bytes, "no more is there than came");
    assert!(incoming.take(0, file).expect("memory takes it") == file.len() as u64);
    let mut kept = Vec::new();
    let received = match incoming.finish(cluster_of(file), &mut kept) {
        Err(SnapshotError::NewerVersion { .. }) => return assert!(whole.is_none()),
        Err(SnapshotError::Damaged { .. }) => None,
        Err(error) => panic!("the disk has room and does not fail: {error}"),
        Ok(restored) => Some(restored.head().clone()),
    };
    let whole = whole.expect("of a version that is understood");
    let restored = whole.restored.as_ref();
    assert_eq!(received.as_ref(), restored.map(|one| one.head()));
    assert_eq!(kept.len(), usize::from(received.is_some()));
}

fn loaded(result: Result<Loaded, SnapshotError>) -> Option<Loaded> {
    match result {
        Ok(loaded) => Some(loaded),
        Err(SnapshotError::NewerVersion { .. }) => None,
        Err(error) => panic!("the disk does not fail: {error}"),
    }
}

fn cluster_of(file: &[u8]) -> u64 {
    word_at(file, PRELUDE_BYTES)
}

fn slot_of(file: &[u8]) -> Slot {
    Slot(word_at(file, PRELUDE_BYTES + 8))
}

fn word_at(file: &[u8], at: usize) -> u64 {
    let word = file.get(at..at + 8).unwrap_or(&[0; 8]);
    u64::from_be_bytes(word.try_into().expect("eight bytes"))
}

const PRELUDE_BYTES: usize = 24;
const CHUNK_HEADER_BYTES: usize = 17;
const FOOTER: u8 = 3;
const FOOTER_BYTES: usize = 24;

/// Makes index and checksums right, as far as there are bytes for what the lengths announce: see
/// `server/src/snapshot/format.rs`. The hash of the state stays what it is.
fn make_right(file: &mut [u8]) {
    let Some((prelude, rest)) = file.split_at_mut_checked(PRELUDE_BYTES) else {
        return;
    };
    let version = u32::from_be_bytes(prelude[8..12].try_into().expect("four bytes"));
    let length = u32::from_be_bytes(prelude[12..16].try_into().expect("four bytes"));
    let Some((body, _)) = rest.split_at_checked(length as usize) else {
        return;
    };
    let checksum = xxh3_64_with_seed(body, u64::from(version) << 32 | u64::from(length));
    prelude[16..].copy_from_slice(&checksum.to_be_bytes());
    let mut at = PRELUDE_BYTES + length as usize;
    for index in 0_u32.. {
        let Some(next) = make_chunk_right(file, at, index) else {
            return;
        };
        at = next;
    }
}

/// Where the next chunk begins.
fn make_chunk_right(file: &mut [u8], at: usize, index: u32) -> Option<usize> {
    let (before, rest) = file.split_at_mut_checked(at)?;
    let (header, rest) = rest.split_at_mut_checked(CHUNK_HEADER_BYTES)?;
    let length = u32::from_be_bytes(header[5..9].try_into().expect("four bytes"));
    let (bytes, _) = rest.split_at_mut_checked(length as usize)?;
    let kind = header[0];
    if kind == FOOTER && bytes.len() == FOOTER_BYTES {
        bytes[16..].copy_from_slice(&xxh3_64(before).to_be_bytes());
    }
    header[1..5].copy_from_slice(&index.to_be_bytes());
    let seed = u64::from(index) << 32 ^ u64::from(kind) << 56 ^ u64::from(length);
    let checksum = xxh3_64_with_seed(bytes, seed);
    header[9..].copy_from_slice(&checksum.to_be_bytes());
    Some(at + CHUNK_HEADER_BYTES + bytes.len())
}
