//! The journal on a disk without room (RULES R18): it waits and goes on, loses nothing whatever crash comes meanwhile, and
//! can be opened again.

use std::sync::Arc;

use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, Journal, JournalError, JournalSettings, Opened};
use paxos::{Incarnation, Record, ReplicaId, Slot};

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::journal_rig::{OWNER, SHORT_SEGMENTS, append, create, open, record, reopen};

const RECORD_BYTES: usize = 3_000;

#[test]
fn the_journal_waits_and_goes_on_when_room_comes_back() {
    let disk = FaultyDisk::new();
    let (mut journal, count) = full_journal(&disk);
    let before = (disk.names(), disk.used_bytes());
    for _ in 0..3 {
        assert!(matches!(journal.sync(), Err(JournalError::DiskFull { .. })));
    }
    assert_eq!((disk.names(), disk.used_bytes()), before);
    append(&mut journal, count + 1, RECORD_BYTES).unwrap();
    disk.set_quota(None);
    journal.sync().unwrap();
    let (_, replayed) = reopen(&disk);
    assert!(
        replayed
            .into_iter()
            .eq((0..count + 2).map(|number| record(number, RECORD_BYTES)))
    );
}

#[test]
fn what_can_be_written_is_told() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    // Without the header, the first seal, and what is kept free at the end.
    assert_eq!(journal.writable_bytes(), (32 << 10) - 4 * 4_096);
    append(&mut journal, 0, RECORD_BYTES).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.writable_bytes(), (32 << 10) - 5 * 4_096);
    let order = journal.order_spare().unwrap();
    journal.take_spare(order.make(&disk)).unwrap();
    let mut left = (96 << 10) - 8 * 4_096;
    assert_eq!(journal.writable_bytes(), left);
    disk.fill(0);
    let mut number = 1;
    loop {
        append(&mut journal, number, RECORD_BYTES).unwrap();
        number += 1;
        match journal.sync() {
            Ok(_) => left -= 4_096,
            Err(JournalError::DiskFull { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((left, journal.writable_bytes()), (0, 0));
}

#[test]
fn a_full_disk_can_be_opened_again_and_again() {
    for seed in 0..20 {
        let disk = FaultyDisk::new();
        let (_, count) = full_journal(&disk);
        assert_eq!(disk.free_bytes().unwrap(), 0);
        let mut rng = Rng::new(seed);
        for life in 0..10 {
            if rng.chance(2) {
                disk.crash(&mut rng);
            } else {
                disk.kill();
            }
            let (mut journal, replayed) = reopen(&disk);
            assert_eq!(replayed.len() as u64, count, "seed {seed}, life {life}");
            journal.reserve_for_opening().unwrap();
            if rng.chance(2) {
                disk.sync_directory().unwrap();
            }
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_of_opening_a_full_disk_changes_nothing() {
    let full = FaultyDisk::new();
    let (_, count) = full_journal(&full);
    full.sync_directory().unwrap();
    let copy = full.copy();
    reopen(&copy);
    let steps = copy.steps();
    assert!(steps > 6, "{steps} steps are too few");
    for step in 0..steps {
        for seed in 0..8 {
            let disk = full.copy();
            disk.plan(step, Fault::Stop);
            let _ = open(&disk, &mut |_, _| {});
            assert!(disk.is_stopped());
            disk.crash(&mut Rng::new(seed));
            let (_, replayed) = reopen(&disk);
            assert_eq!(replayed.len() as u64, count, "step {step}, seed {seed}");
        }
    }
}

/// With less free than the segment has, room for what it holds is kept, and more as it holds more.
#[test]
fn the_room_for_the_next_opening_is_what_fits() {
    let kept = |disk: &FaultyDisk| disk.content("spare-reserve.tmp").len() as u64;
    let segment_bytes = 4 << 20;
    let disk = FaultyDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut journal = Journal::create(shared, JournalSettings::default(), OWNER, 3).unwrap();
    disk.fill(1 << 20);
    for number in 0..3 {
        append(&mut journal, number, RECORD_BYTES).unwrap();
        journal.sync().unwrap();
        journal.reserve_for_opening().unwrap_err();
        let markers_bytes = 2 * 4_096;
        let held_bytes = segment_bytes - markers_bytes - journal.writable_bytes();
        assert_eq!(kept(&disk), held_bytes + 16 * 4_096);
    }
    disk.fill(segment_bytes - kept(&disk) + 4_096);
    journal.reserve_for_opening().unwrap();
    assert_eq!(kept(&disk), segment_bytes + 4_096);
    assert_eq!(disk.free_bytes().unwrap(), 0);
}

#[test]
fn the_room_for_the_next_opening_grows_before_a_longer_segment_is_used() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    journal.reserve_for_opening().unwrap();
    let order = journal.order_spare().unwrap();
    journal.take_spare(order.make(&disk)).unwrap();
    let next_bytes = SHORT_SEGMENTS.segment_bytes_max as usize;
    assert_eq!(
        disk.content("spare-reserve.tmp").len(),
        next_bytes + 16 * 4_096
    );
}

/// Without the room that is kept for it, opening needs what the newest segment holds, and says so if there is less.
#[test]
fn a_full_disk_without_a_reserve_opens_when_there_is_room_for_what_is_held() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    append(&mut journal, 0, RECORD_BYTES).unwrap();
    journal.sync().unwrap();
    disk.fill(12 << 10);
    let before = (disk.names(), disk.used_bytes());
    let error = open(&disk, &mut |_, _| {}).unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("the disk is full: cannot make spare-"),
        "{said}"
    );
    assert_eq!((disk.names(), disk.used_bytes()), before, "a part was left");
    // Header, first seal, batch, seal, and what is kept free behind them.
    disk.fill(24 << 10);
    let (mut journal, replayed) = reopen(&disk);
    assert_eq!(replayed.len(), 1);
    assert_eq!(journal.disk_bytes(), 24 << 10);
    append(&mut journal, 1, RECORD_BYTES).unwrap();
    assert!(matches!(journal.sync(), Err(JournalError::DiskFull { .. })));
    disk.set_quota(None);
    journal.sync().unwrap();
    assert_eq!(reopen(&disk).1.len(), 2);
}

#[test]
fn a_crash_between_the_last_batch_of_a_segment_and_the_next_one_is_survived_without_room() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    let name = "segment-000000000002.log";
    let mut number = 0;
    while disk.names().len() == 1 {
        append(&mut journal, number, RECORD_BYTES).unwrap();
        journal.sync().unwrap();
        if let Some(order) = journal.order_spare() {
            journal.take_spare(order.make(&disk)).unwrap();
        }
        number += 1;
    }
    journal.reserve_for_opening().unwrap();
    disk.fill(0);
    loop {
        append(&mut journal, number, RECORD_BYTES).unwrap();
        journal.sync().unwrap();
        number += 1;
        let mut content = disk.content(name);
        if content[4_096..].iter().any(|byte| *byte != 0) {
            // The first batch of the next segment did not come about.
            content[4_096..].fill(0);
            disk.set_content(name, content);
            break;
        }
    }
    let (_, replayed) = reopen(&disk);
    assert_eq!(replayed.len() as u64, number - 1);
}

#[test]
fn segments_are_short_on_a_small_disk() {
    let settings = JournalSettings::default();
    let disk = FaultyDisk::new();
    disk.set_quota(Some(20 << 20));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut journal = Journal::create(shared, settings, OWNER, 1).unwrap();
    assert_eq!(journal.disk_bytes(), 20 << 17);
    let mut number = 0;
    while append(&mut journal, number, 100_000)
        .and_then(|()| journal.sync())
        .is_ok()
    {
        number += 1;
    }
    assert!(
        number > 180,
        "{number} records of 100,000 bytes on 20 MiB: the rest is lost"
    );
    assert!(disk.names().len() < 40, "{:?}", disk.names());
    assert!(disk.free_bytes().unwrap() < 256 << 10);
}

#[test]
fn a_disk_without_any_room_is_no_place_to_begin() {
    let disk = FaultyDisk::new();
    disk.set_quota(Some(0));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let error = Journal::create(shared, SHORT_SEGMENTS, OWNER, 1).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(disk.names(), Vec::<String>::new());
}

#[test]
fn an_identity_that_finds_no_room_leaves_the_one_before_and_nothing_else() {
    let disk = FaultyDisk::new();
    let identity = Identity {
        replica: ReplicaId(1),
        incarnation: Incarnation(5),
        founding: None,
    };
    identity.store(&disk).unwrap();
    disk.fill(0);
    let other = Identity {
        incarnation: Incarnation(6),
        ..identity.clone()
    };
    let error = other.store(&disk).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(disk.names(), ["identity"]);
    assert_eq!(Identity::load(&disk).unwrap(), Some(identity));
    disk.set_quota(None);
    other.store(&disk).unwrap();
    assert_eq!(Identity::load(&disk).unwrap(), Some(other));
}

/// The disk is full more often than not, and the machine goes down at any step.
#[test]
fn nothing_is_lost_on_a_disk_that_is_full_now_and_then() {
    let mut total = Counts::default();
    for seed in 0..300 {
        let mut story = Story::new(seed);
        for _ in 0..6 {
            story.live_and_crash();
        }
        total.durable += story.durable;
        total.waits += story.counts.waits;
        total.full_openings += story.counts.full_openings;
        total.refused_openings += story.counts.refused_openings;
        total.trims_while_full += story.counts.trims_while_full;
    }
    println!("full now and then: {total:?}");
    assert!(total.durable > 1_000 && total.waits > 500, "{total:?}");
    assert!(
        total.full_openings > 100 && total.trims_while_full > 50,
        "{total:?}"
    );
}

#[derive(Debug, Default)]
struct Counts {
    durable: u64,
    waits: u64,
    full_openings: u64,
    refused_openings: u64,
    trims_while_full: u64,
}

/// One journal over several lives. Record `n` is of slot `n`.
struct Story {
    seed: u64,
    rng: Rng,
    disk: FaultyDisk,
    appended: u64,
    durable: u64,
    trimmed_to: u64,
    counts: Counts,
}

impl Story {
    fn new(seed: u64) -> Self {
        let disk = FaultyDisk::new();
        create(&disk);
        Self {
            seed,
            rng: Rng::new(seed),
            disk,
            appended: 0,
            durable: 0,
            trimmed_to: 0,
            counts: Counts::default(),
        }
    }

    fn live_and_crash(&mut self) {
        self.disk.plan(20 + self.rng.below(120), Fault::Stop);
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
        let seed = self.seed;
        loop {
            let mut numbers = Vec::new();
            let free_bytes = self.disk.free_bytes().unwrap();
            let opened = open(&self.disk, &mut |_, records| {
                for found in records {
                    let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = found;
                    numbers.push(slot.0);
                }
            });
            let journal = match opened {
                Ok(Opened::Whole { journal, .. }) => journal,
                Ok(Opened::Damaged(_)) | Err(_) if self.disk.is_stopped() => return None,
                Err(JournalError::DiskFull { .. }) => {
                    self.counts.refused_openings += 1;
                    self.disk.set_quota(None);
                    continue;
                }
                other => panic!("seed {seed}: {other:?}"),
            };
            self.counts.full_openings += u64::from(free_bytes == 0);
            let first = numbers.first().copied().unwrap_or(self.durable);
            let end = numbers.last().map_or(first, |last| last + 1);
            assert!(numbers.into_iter().eq(first..end), "seed {seed}: a gap");
            assert!(first <= self.trimmed_to, "seed {seed}: begins at {first}");
            assert!(end >= self.durable, "seed {seed}: {end} < {}", self.durable);
            self.durable = end;
            self.appended = end;
            return Some(*journal);
        }
    }

    fn work(&mut self, mut journal: Journal) -> Result<(), JournalError> {
        loop {
            let _ = journal.reserve_for_opening();
            if self.disk.is_stopped() {
                return Err(JournalError::Failed);
            }
            let is_full = self.disk.free_bytes().unwrap() == 0;
            let done = match self.rng.below(16) {
                0..9 => self.append_and_sync(&mut journal),
                9 => journal.seal(),
                10..12 => self.trim(&mut journal, is_full),
                12 => match journal.order_spare() {
                    Some(order) => journal.take_spare(order.make(&self.disk)),
                    None => Ok(()),
                },
                13 => {
                    self.disk.fill(self.rng.below(8) / 4 * 40_000);
                    Ok(())
                }
                14 if self.rng.chance(2) => {
                    self.disk.set_quota(None);
                    Ok(())
                }
                15 if self.rng.chance(3) => {
                    self.disk.kill();
                    return Ok(());
                }
                _ => Ok(()),
            };
            match done {
                Err(JournalError::DiskFull { .. }) => self.counts.waits += 1,
                done => done?,
            }
        }
    }

    fn append_and_sync(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        let length = match self.rng.below(12) {
            0 => self.rng.below(90_000),
            _ => self.rng.below(9_000),
        };
        self.appended += 1;
        let appended = append(journal, self.appended - 1, length as usize);
        if !appended.as_ref().is_err_and(JournalError::is_disk_full) {
            appended?;
        }
        journal.sync()?;
        self.durable = self.appended;
        Ok(())
    }

    fn trim(&mut self, journal: &mut Journal, is_full: bool) -> Result<(), JournalError> {
        let slot = self.rng.below(self.durable + 1);
        self.trimmed_to = self.trimmed_to.max(slot);
        let trimmed = journal.trim_below(Slot(slot))?;
        self.counts.trims_while_full += u64::from(is_full && !trimmed.is_empty());
        trimmed.remove(&self.disk)
    }
}

/// A journal on a disk without room, with one record that waits behind so many that are durable.
fn full_journal(disk: &FaultyDisk) -> (Journal, u64) {
    create(disk);
    let (mut journal, _) = reopen(disk);
    journal.reserve_for_opening().unwrap();
    disk.fill(200 << 10);
    let mut number = 0;
    loop {
        append(&mut journal, number, RECORD_BYTES).unwrap();
        match journal.sync() {
            Ok(_) => number += 1,
            Err(JournalError::DiskFull { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        journal.reserve_for_opening().unwrap();
    }
    disk.fill(0);
    (journal, number)
}
