//! Short journals on a faulty disk, and records that say by their bytes which they are.

use std::sync::Arc;

use kvpaxos_server::journal::{Disk, Journal, JournalError, JournalSettings, Opened, Owner};
use paxos::{Ballot, Command, DurableState, Incarnation, Persist, Record, ReplicaId, Slot};

use crate::faulty_disk::{FaultyDisk, Rng};

pub(crate) const OWNER: Owner = Owner {
    replica: ReplicaId(1),
    incarnation: Incarnation(77),
};

/// Short segments, so that a few appends fill several.
pub(crate) const SHORT_SEGMENTS: JournalSettings = JournalSettings {
    first_segment_bytes: 32 << 10,
    segment_bytes_max: 64 << 10,
};

pub(crate) fn create(disk: &FaultyDisk) {
    Journal::create(Arc::new(disk.clone()), SHORT_SEGMENTS, OWNER, 3).unwrap();
}

pub(crate) fn open(
    disk: &FaultyDisk,
    replay: &mut dyn FnMut(DurableState, Vec<Record>),
) -> Result<Opened, JournalError> {
    let salt_seed = disk.steps() + 1_000_000;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::open(shared, SHORT_SEGMENTS, OWNER, salt_seed, replay)
}

/// Opens a journal that must be whole, and returns what was replayed.
pub(crate) fn reopen(disk: &FaultyDisk) -> (Journal, Vec<Record>) {
    let mut replayed = Vec::new();
    let opened = open(disk, &mut |_, records| replayed.extend(records)).unwrap();
    let Opened::Whole { journal, .. } = opened else {
        panic!("{opened:?}");
    };
    (*journal, replayed)
}

/// Opens a journal that must be damaged; the file and the offset of the damage. Nothing may be changed by that.
pub(crate) fn damage_of(disk: &FaultyDisk) -> (String, u64) {
    let names = disk.names();
    let opened = open(disk, &mut |_, _| {}).unwrap();
    assert_eq!(disk.names(), names);
    let Opened::Damaged(damage) = opened else {
        panic!("{opened:?}");
    };
    (damage.file, damage.offset)
}

pub(crate) fn record(number: u64, length: usize) -> Record {
    let mut rng = Rng::new(number);
    let bytes: Vec<u8> = (0..length).map(|_| rng.draw() as u8).collect();
    let slot = Slot(number);
    let command = match number % 11 {
        9 if length < 300 => Command::Noop,
        _ => Command::Opaque(Arc::from(bytes)),
    };
    if number % 5 == 4 {
        return Record::Learned { slot, command };
    }
    Record::Accepted {
        slot,
        ballot: ballot(number),
        command,
    }
}

fn ballot(number: u64) -> Ballot {
    Ballot {
        round: 1 + number / 10,
        replica: ReplicaId((number / 10 % 5) as u8),
        birth: 99,
    }
}

/// The state after so many records.
pub(crate) fn state_after(count: usize) -> DurableState {
    match (count as u64).checked_sub(1) {
        None => DurableState::default(),
        Some(last) => DurableState {
            promised: ballot(last),
            chosen_watermark: Slot(last),
            forget_watermark: Slot(last / 2),
        },
    }
}

pub(crate) fn append(
    journal: &mut Journal,
    number: u64,
    length: usize,
) -> Result<(), JournalError> {
    journal.append(&Persist {
        records: vec![record(number, length)],
        state: state_after(number as usize + 1),
    })
}

/// Appends until the third segment is in use, partly with a spare made in time; notes how much is durable.
pub(crate) fn append_to_third_segment(
    mut journal: Journal,
    durable: &mut u64,
) -> Result<(), JournalError> {
    for number in 0..10 {
        append(&mut journal, number, 5_000)?;
        journal.sync()?;
        *durable = number + 1;
        if number % 2 == 0 {
            journal.seal()?;
        }
    }
    assert_eq!(journal.disk_bytes(), (32 + 64 + 64) << 10);
    Ok(())
}

pub(crate) fn three_segments() -> FaultyDisk {
    let disk = FaultyDisk::new();
    create(&disk);
    let (journal, _) = reopen(&disk);
    append_to_third_segment(journal, &mut 0).unwrap();
    reopen(&disk);
    assert_eq!(disk.names().len(), 3);
    disk
}

pub(crate) fn only_segment(disk: &FaultyDisk) -> String {
    let names = disk.names();
    assert_eq!(names.len(), 1);
    names[0].clone()
}

pub(crate) fn last_written_block(disk: &FaultyDisk) -> usize {
    let content = disk.content(&only_segment(disk));
    let is_written = |block: &[u8]| block.iter().any(|byte| *byte != 0);
    content.chunks(4096).rposition(is_written).unwrap()
}
