//! The journal on the real disk. The directory lies beside the build, because a memory file system would hide what a
//! disk does.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use kvpaxos_server::journal::{
    BLOCK_BYTES, Disk, FileDisk, FileDiskError, Storage, StorageError, StorageSettings,
    is_disk_full,
};
use paxos::{Ballot, Command, DurableState, Persist, Record, ReplicaId, Slot};
use tempfile::TempDir;

#[test]
fn what_was_synced_is_read_back_and_a_spare_comes_from_another_thread() {
    let directory = directory();
    let lengths = [100, 0, 5_000, 3 << 20, 1 << 20, 300];
    let incarnation = {
        let (disk, mut storage, replayed) = open(directory.path()).unwrap();
        assert!(replayed.is_empty());
        for (slot, length) in lengths.into_iter().enumerate() {
            append(&mut storage, slot, length);
            storage.journal.sync().unwrap();
            if let Some(order) = storage.journal.order_spare() {
                let disk = Arc::clone(&disk);
                let made = thread::spawn(move || order.make(&*disk)).join().unwrap();
                storage.journal.take_spare(made).unwrap();
            }
        }
        storage.journal.seal().unwrap();
        assert_eq!(storage.journal.disk_bytes(), (4 + 8 + 16) << 20);
        storage.identity.incarnation
    };
    for _ in 0..2 {
        let (_disk, storage, replayed) = open(directory.path()).unwrap();
        assert_eq!(storage.identity.incarnation, incarnation);
        assert_eq!((storage.blank, storage.torn), (None, None));
        let expected = lengths.into_iter().enumerate();
        assert!(
            replayed
                .into_iter()
                .eq(expected.map(|(slot, length)| record(slot, length)))
        );
    }
    let mut names = FileDisk::open(directory.path()).unwrap().list().unwrap();
    names.sort();
    let segments = ["segment-000000000001.log", "segment-000000000002.log"];
    assert_eq!(names, [&["identity", "lock"], &segments[..]].concat());
}

#[test]
fn segments_are_written_and_not_holes() {
    let directory = directory();
    let disk = FileDisk::open(directory.path()).unwrap();
    let bytes = 64 * BLOCK_BYTES as u64;
    disk.create("zeros", bytes).unwrap();
    let metadata = fs::metadata(directory.path().join("zeros")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata);
    assert_eq!(metadata.len(), bytes);
    assert!(
        blocks * 512 >= bytes,
        "{blocks} blocks of 512 bytes are a hole"
    );
    assert_eq!(
        disk.read("zeros", bytes).unwrap(),
        vec![0; 64 * BLOCK_BYTES]
    );
    let too_long = disk.read("zeros", bytes - 1).unwrap_err();
    assert_eq!(too_long.kind(), io::ErrorKind::FileTooLarge);
}

/// What is there gives its room to what is written over it, and keeps it until the end is known.
#[test]
fn room_that_is_reserved_is_there_and_is_used() {
    let directory = directory();
    let disk = FileDisk::open(directory.path()).unwrap();
    let blocks = |name: &str| {
        let metadata = fs::metadata(directory.path().join(name)).unwrap();
        std::os::unix::fs::MetadataExt::blocks(&metadata) * 512
    };
    let bytes = 256 * BLOCK_BYTES as u64;
    disk.reserve("room", bytes).unwrap();
    assert_eq!(disk.length("room").unwrap(), bytes);
    assert!(blocks("room") >= bytes, "{} bytes", blocks("room"));
    disk.reserve("room", bytes / 2).unwrap();
    assert!(blocks("room") < bytes, "{} bytes", blocks("room"));
    disk.reserve("room", bytes).unwrap();
    let mut growing = disk.open_growing("room", 0).unwrap();
    growing.append(b"some ").unwrap();
    growing.sync().unwrap();
    growing.append(b"bytes").unwrap();
    assert!(blocks("room") >= bytes, "{} bytes", blocks("room"));
    growing.finish().unwrap();
    assert_eq!(disk.read("room", 100).unwrap(), b"some bytes");
    let mut growing = disk.open_growing("room", 5).unwrap();
    growing.append(b"room").unwrap();
    growing.finish().unwrap();
    assert_eq!(disk.read("room", 100).unwrap(), b"some room");
    disk.create("room", bytes).unwrap();
    assert_eq!(
        disk.read("room", bytes).unwrap(),
        vec![0; 256 * BLOCK_BYTES]
    );
    disk.create("room", BLOCK_BYTES as u64).unwrap();
    assert_eq!(disk.read("room", bytes).unwrap(), vec![0; BLOCK_BYTES]);
    let more_than_there_is = disk.free_bytes().unwrap() * 2;
    let refused = disk.reserve("much", more_than_there_is).unwrap_err();
    assert!(is_disk_full(&refused), "{refused}");
    assert_eq!(
        disk.length("much").unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    disk.reserve("room", more_than_there_is).unwrap_err();
    assert_eq!(disk.length("room").unwrap(), BLOCK_BYTES as u64);
}

#[test]
fn a_file_grows_from_where_it_is_known_to_be_right_or_not_at_all() {
    let directory = directory();
    let disk = FileDisk::open(directory.path()).unwrap();
    let refused = |name: &str, bytes_kept| disk.open_growing(name, bytes_kept).unwrap_err().kind();
    assert_eq!(refused("new", 5), io::ErrorKind::NotFound);
    let mut growing = disk.open_growing("new", 0).unwrap();
    growing.append(b"bytes").unwrap();
    growing.finish().unwrap();
    assert_eq!(refused("new", 6), io::ErrorKind::UnexpectedEof);
    let mut growing = disk.open_growing("new", 5).unwrap();
    growing.append(b" more").unwrap();
    growing.finish().unwrap();
    assert_eq!(disk.read_at("new", 3, 4).unwrap(), b"es m");
    assert_eq!(disk.read_at("new", 8, 100).unwrap(), b"re");
    assert_eq!(disk.read_at("new", 11, 100).unwrap(), b"");
}

#[test]
fn a_second_server_on_a_directory_is_refused() {
    let directory = directory();
    let first = FileDisk::open(directory.path()).unwrap();
    let second = FileDisk::open(directory.path()).unwrap_err();
    assert!(matches!(second, FileDiskError::InUse { .. }));
    assert!(
        second
            .to_string()
            .starts_with("another server uses the directory ")
    );
    drop(first);
    FileDisk::open(directory.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = directory();
    FileDisk::open(&directory.path().join("made/with/parents")).unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let error = FileDisk::open(&file.join("data")).unwrap_err();
    assert!(matches!(error, FileDiskError::Unusable { .. }));
    assert!(error.to_string().contains("file/data"), "{error}");
    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere; for everybody else this is an error that names the directory.
    if let Err(error) = FileDisk::open(&locked) {
        assert!(error.to_string().contains("locked"), "{error}");
    }
}

#[test]
fn another_replicas_directory_is_refused() {
    let directory = directory();
    drop(open(directory.path()).unwrap());
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory.path()).unwrap());
    let settings = StorageSettings {
        replica: ReplicaId(2),
        ..settings()
    };
    let opened = Storage::open(&disk, &settings, &mut rand::random, &mut |_, _| {});
    assert!(matches!(opened, Err(StorageError::OtherReplica { .. })));
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn settings() -> StorageSettings {
    StorageSettings {
        replica: ReplicaId(1),
        members: [0, 1, 2].map(ReplicaId).to_vec(),
        journal: kvpaxos_server::journal::JournalSettings::default(),
    }
}

type OpenedDirectory = (Arc<dyn Disk>, Storage, Vec<Record>);

fn open(path: &Path) -> Result<OpenedDirectory, StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(path).unwrap());
    let mut replayed = Vec::new();
    let storage = Storage::open(&disk, &settings(), &mut rand::random, &mut |_, records| {
        replayed.extend(records);
    })?;
    Ok((disk, storage, replayed))
}

fn append(storage: &mut Storage, slot: usize, length: usize) {
    let state = DurableState {
        chosen_watermark: Slot(slot as u64),
        ..DurableState::default()
    };
    let records = vec![record(slot, length)];
    storage.journal.append(&Persist { records, state }).unwrap();
}

fn record(slot: usize, length: usize) -> Record {
    Record::Accepted {
        slot: Slot(slot as u64),
        ballot: Ballot::NONE,
        command: Command::Opaque(Arc::from(vec![slot as u8; length])),
    }
}
