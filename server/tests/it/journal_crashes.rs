//! A journal over many lives, each of which ends with a crash at a random step of the disk: what was durable is replayed
//! whole and in order, from a slot on below which all was to be trimmed.

use kvpaxos_server::journal::{Journal, JournalError, Opened};
use paxos::{DurableState, Record, Slot};

use crate::faulty_disk::{Fault, FaultyDisk, Rng};
use crate::journal_rig::{
    append, append_to_third_segment, create, open, record, reopen, state_after,
};

#[test]
fn what_was_synced_is_replayed_after_crashes_at_any_step() {
    let (mut replayed, mut torn) = (0, 0);
    for seed in 0..600 {
        let mut story = Story::new(seed, false);
        for _ in 0..6 {
            story.live_and_crash();
        }
        assert_eq!(story.first_replayed, 0);
        replayed += story.durable;
        torn += story.torn;
    }
    assert!(
        replayed > 1_000 && torn > 50,
        "{replayed} records, {torn} torn tails: nothing was tested"
    );
}

#[test]
fn what_is_not_trimmed_is_replayed_after_crashes_at_any_step() {
    let (mut trimmed, mut replayed) = (0, 0);
    for seed in 0..300 {
        let mut story = Story::new(seed, true);
        for _ in 0..5 {
            story.live_and_crash();
        }
        trimmed += story.first_replayed;
        replayed += story.durable - story.first_replayed;
    }
    assert!(
        trimmed > 1_000 && replayed > 1_000,
        "{trimmed} records trimmed, {replayed} replayed: nothing was tested"
    );
}

/// One journal, over several lives. Record `n` is of slot `n`.
struct Story {
    seed: u64,
    rng: Rng,
    disk: FaultyDisk,
    trims: bool,
    /// All that was ever appended and not lost.
    appended: Vec<Record>,
    /// So many of them are durable.
    durable: usize,
    /// Nothing at or above it was ever to be trimmed.
    trimmed_to: usize,
    /// The first record of the last replay.
    first_replayed: usize,
    torn: u64,
}

impl Story {
    fn new(seed: u64, trims: bool) -> Self {
        let disk = FaultyDisk::new();
        create(&disk);
        Self {
            seed,
            rng: Rng::new(seed),
            disk,
            trims,
            appended: Vec::new(),
            durable: 0,
            trimmed_to: 0,
            first_replayed: 0,
            torn: 0,
        }
    }

    /// Opens, perhaps not at the first attempt, works for a while, and goes down.
    fn live_and_crash(&mut self) {
        let stop_after = self.rng.below(80);
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
            Ok(Opened::Damaged(_)) | Err(_) if self.disk.is_stopped() => return None,
            other => panic!("seed {}: {other:?}", self.seed),
        };
        self.check_replayed(&replayed, last_state);
        self.torn += u64::from(torn.is_some());
        Some(*journal)
    }

    fn check_replayed(&mut self, replayed: &[Record], last_state: DurableState) {
        let seed = self.seed;
        let first = replayed.first().map_or(self.durable, number_of);
        let end = first + replayed.len();
        assert!(
            first <= self.trimmed_to,
            "seed {seed}: begins at {first}, trimmed to {}",
            self.trimmed_to
        );
        assert!(
            end >= self.durable,
            "seed {seed}: {} of {} records are lost",
            self.durable - end,
            self.durable
        );
        assert!(
            self.appended.get(first..end) == Some(replayed),
            "seed {seed}: not what was appended"
        );
        assert_eq!(last_state, state_after(end), "seed {seed}");
        self.appended.truncate(end);
        self.durable = end;
        self.first_replayed = first;
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
                10..12 => journal.seal()?,
                12..14 => {
                    if let Some(order) = journal.order_spare() {
                        let made = order.make(&self.disk);
                        journal.take_spare(made)?;
                    }
                }
                14 if self.trims => self.trim(&mut journal)?,
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
        let number = self.appended.len() as u64;
        self.appended.push(record(number, length as usize));
        append(journal, number, length as usize)
    }

    fn trim(&mut self, journal: &mut Journal) -> Result<(), JournalError> {
        let slot = self.rng.below(self.durable as u64 + 1);
        self.trimmed_to = self.trimmed_to.max(slot as usize);
        let trimmed = journal.trim_below(Slot(slot))?;
        if self.rng.chance(2) {
            trimmed.remove(&self.disk)?;
        }
        Ok(())
    }
}

fn number_of(record: &Record) -> usize {
    let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
    usize::try_from(slot.0).unwrap()
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
