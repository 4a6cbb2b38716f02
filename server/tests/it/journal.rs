//! The journal on a disk that fails (FAULTS 5): what was synced is replayed whole and in order, after a crash at any
//! step, and what is spoiled is told from what is torn.

use std::io;
use std::sync::Arc;

use kvpaxos_server::journal::{
    Disk, Journal, JournalError, JournalSettings, Opened, Owner, SECTOR_BYTES, Serial,
};
use paxos::{Ballot, Command, DurableState, Incarnation, Persist, Record, ReplicaId, Slot};
use proptest::prelude::*;

use crate::faulty_disk::{Fault, FaultyDisk, Rng};

pub(crate) const OWNER: Owner = Owner {
    replica: ReplicaId(1),
    incarnation: Incarnation(77),
};

/// Short segments, so that a few appends fill several.
pub(crate) const SHORT_SEGMENTS: JournalSettings = JournalSettings {
    first_segment_bytes: 32 << 10,
    segment_bytes_max: 64 << 10,
};

#[test]
fn what_was_synced_is_replayed_after_crashes_at_any_step() {
    let mut records_replayed = 0;
    let mut torn = 0;
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        for _ in 0..6 {
            story.live_and_crash();
        }
        records_replayed += story.durable;
        torn += story.torn;
    }
    assert!(
        records_replayed > 1_000,
        "only {records_replayed} records survived: nothing was tested"
    );
    assert!(torn > 50, "only {torn} torn tails: nothing was tested");
}

const SEEDS: u64 = 600;

/// One journal, over several lives, with all that was ever appended and not lost.
struct Story {
    seed: u64,
    rng: Rng,
    disk: FaultyDisk,
    /// What was appended, one record each.
    appended: Vec<Record>,
    /// So many of them are durable.
    durable: usize,
    torn: u64,
}

impl Story {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new();
        create(&disk);
        Self {
            seed,
            rng: Rng::new(seed),
            disk,
            appended: Vec::new(),
            durable: 0,
            torn: 0,
        }
    }

    /// Opens, perhaps not at the first attempt, works for a while, and goes down.
    fn live_and_crash(&mut self) {
        let stop_after = self.rng.below(60);
        self.disk.plan(stop_after, Fault::Stop);
        while let Some(journal) = self.open() {
            if self.work(journal).is_err() {
                break;
            }
        }
        assert!(self.disk.is_stopped(), "seed {}", self.seed);
        if self.rng.chance(3) {
            self.disk.kill();
        } else {
            self.disk.crash(&mut self.rng);
        }
    }

    /// `None` if the machine stopped while opening.
    fn open(&mut self) -> Option<Journal> {
        let mut replayed = Vec::new();
        let mut last_state = DurableState::default();
        let opened = open(&self.disk, &mut |state, records| {
            last_state = state;
            replayed.extend(records);
        });
        let (journal, torn) = match opened {
            Ok(Opened::Whole { journal, torn }) => (journal, torn),
            // A read that fails because the machine goes down looks like damage; nobody is left to say so.
            Ok(Opened::Damaged(_)) if self.disk.is_stopped() => return None,
            Ok(Opened::Damaged(damage)) => panic!("seed {}: {damage}", self.seed),
            Err(_) if self.disk.is_stopped() => return None,
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        assert!(
            replayed.len() >= self.durable,
            "seed {}: {} of {} records are lost",
            self.seed,
            self.durable - replayed.len(),
            self.durable
        );
        assert!(
            replayed == self.appended[..replayed.len()],
            "seed {}: not a prefix of what was appended",
            self.seed
        );
        assert_eq!(
            last_state,
            state_after(replayed.len()),
            "seed {}",
            self.seed
        );
        self.durable = replayed.len();
        self.appended = replayed;
        self.torn += u64::from(torn.is_some());
        Some(*journal)
    }

    /// Works until the machine stops, or the process decides to start again.
    fn work(&mut self, mut journal: Journal) -> Result<(), JournalError> {
        loop {
            match self.rng.below(16) {
                0..8 => {
                    for _ in 0..self.rng.below(4) {
                        self.append(&mut journal)?;
                    }
                    let appended = self.appended.len();
                    journal.sync()?;
                    self.durable = appended;
                }
                8..10 => self.append(&mut journal)?,
                10..13 => journal.seal()?,
                13..15 => {
                    if let Some(order) = journal.order_spare() {
                        let made = order.make(&self.disk);
                        journal.take_spare(made)?;
                    }
                }
                _ if self.rng.chance(4) => {
                    self.disk.kill();
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn append(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        let length = match self.rng.below(20) {
            0 => self.rng.below(100_000),
            1..5 => self.rng.below(9_000),
            _ => self.rng.below(300),
        };
        let record = record(self.appended.len() as u64, length as usize);
        self.appended.push(record.clone());
        journal.append(&Persist {
            records: vec![record],
            state: state_after(self.appended.len()),
        })
    }
}

#[test]
fn a_crash_between_any_two_steps_of_appending_and_rotating_loses_nothing() {
    let steps = steps_of(|disk| {
        let (journal, _) = reopen(disk);
        append_to_third_segment(journal, &mut 0).unwrap();
    });
    assert!(steps > 40, "{steps} steps are too few for two rotations");
    for step in 0..steps {
        for seed in 0..4 {
            let disk = FaultyDisk::new();
            create(&disk);
            disk.plan(step, Fault::Stop);
            let mut durable = 0;
            if let Ok(Opened::Whole { journal, .. }) = open(&disk, &mut |_, _| {}) {
                let _ = append_to_third_segment(*journal, &mut durable);
            }
            assert!(disk.is_stopped());
            disk.crash(&mut Rng::new(seed));
            let (_, replayed) = reopen(&disk);
            assert!(replayed.len() as u64 >= durable, "step {step}, seed {seed}");
            let expected = (0..replayed.len() as u64).map(|number| record(number, 5_000));
            assert!(replayed.into_iter().eq(expected));
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_of_opening_changes_nothing() {
    for torn_at in 0..12 {
        let disk = torn_journal(torn_at);
        let (_, expected) = reopen(&disk.copy());
        let steps = steps_of_opening(&disk);
        for step in 0..steps {
            for seed in 0..4 {
                let disk = disk.copy();
                disk.plan(step, Fault::Stop);
                let _ = open(&disk, &mut |_, _| {});
                assert!(disk.is_stopped());
                disk.crash(&mut Rng::new(seed));
                let (_, replayed) = reopen(&disk);
                assert!(replayed == expected, "step {step}, seed {seed}");
            }
        }
    }
}

/// A journal of which the machine stopped at some step of the last appends, with a torn tail for some of them.
fn torn_journal(stop_at: u64) -> FaultyDisk {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, 5_000).unwrap();
    journal.sync().unwrap();
    disk.plan(stop_at, Fault::Stop);
    for number in 1..10 {
        let _ = append(&mut journal, number, 5_000).and_then(|()| journal.sync());
    }
    disk.crash(&mut Rng::new(stop_at));
    disk
}

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
fn segments_in_each_others_places_are_damage() {
    let disk = three_segments();
    let names = disk.names();
    let (first, second) = (disk.content(&names[0]), disk.content(&names[1]));
    disk.set_content(&names[0], second);
    disk.set_content(&names[1], first);
    assert_eq!(damage_of(&disk).0, names[0]);
}

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

#[derive(Clone, Debug)]
enum Mutilation {
    Truncate(usize),
    Fill(usize, usize, u8),
    Write(usize, Vec<u8>),
    Move(usize, usize, usize),
    Extend(Vec<u8>),
}

fn mutilations() -> impl Strategy<Value = Vec<(usize, Mutilation)>> {
    let at = 0..70_000_usize;
    let bytes = || proptest::collection::vec(any::<u8>(), 1..2_000);
    let one = prop_oneof![
        at.clone().prop_map(Mutilation::Truncate),
        (at.clone(), 1..9_000_usize, any::<u8>())
            .prop_map(|(from, length, byte)| Mutilation::Fill(from, length, byte)),
        (at, bytes()).prop_map(|(from, bytes)| Mutilation::Write(from, bytes)),
        (0..17_usize, 0..17_usize, 1..4_usize).prop_map(|(from, to, blocks)| Mutilation::Move(
            4096 * from,
            4096 * to,
            4096 * blocks
        )),
        bytes().prop_map(Mutilation::Extend),
    ];
    proptest::collection::vec((0..3_usize, one), 1..4)
}

fn mutilate(content: &mut Vec<u8>, mutilation: Mutilation) {
    let clip = |from: usize, length: usize, end: usize| {
        let from = from.min(end);
        from..(from + length).min(end)
    };
    let end = content.len();
    match mutilation {
        Mutilation::Truncate(length) => content.truncate(length),
        Mutilation::Fill(from, length, byte) => content[clip(from, length, end)].fill(byte),
        Mutilation::Write(from, bytes) => {
            let range = clip(from, bytes.len(), end);
            let length = range.len();
            content[range].copy_from_slice(&bytes[..length]);
        }
        Mutilation::Move(from, to, length) => {
            let piece = content[clip(from, length, end)].to_vec();
            let range = clip(to, piece.len(), end);
            let length = range.len();
            content[range].copy_from_slice(&piece[..length]);
        }
        Mutilation::Extend(bytes) => content.extend(bytes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was done to the files, opening does not panic, and what it replays was appended.
    #[test]
    fn a_mutilated_journal_is_never_misread(mutilations in mutilations()) {
        let disk = three_segments();
        let (_, expected) = reopen(&disk.copy());
        let names = disk.names();
        for (which, mutilation) in mutilations {
            let mut content = disk.content(&names[which]);
            mutilate(&mut content, mutilation);
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
fn append_to_third_segment(mut journal: Journal, durable: &mut u64) -> Result<(), JournalError> {
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

fn three_segments() -> FaultyDisk {
    let disk = FaultyDisk::new();
    create(&disk);
    let (journal, _) = reopen(&disk);
    append_to_third_segment(journal, &mut 0).unwrap();
    reopen(&disk);
    assert_eq!(disk.names().len(), 3);
    disk
}

fn steps_of(act: impl FnOnce(&FaultyDisk)) -> u64 {
    let disk = FaultyDisk::new();
    create(&disk);
    let before = disk.steps();
    act(&disk);
    disk.steps() - before
}

fn steps_of_opening(disk: &FaultyDisk) -> u64 {
    let disk = disk.copy();
    reopen(&disk);
    disk.steps()
}

fn only_segment(disk: &FaultyDisk) -> String {
    let names = disk.names();
    assert_eq!(names.len(), 1);
    names[0].clone()
}

fn last_written_block(disk: &FaultyDisk) -> usize {
    let content = disk.content(&only_segment(disk));
    let is_written = |block: &[u8]| block.iter().any(|byte| *byte != 0);
    content.chunks(4096).rposition(is_written).unwrap()
}
