//! The journal thread over a disk that fails or is full: work is durable in order, nothing is said after a failure, and
//! room is waited for.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvpaxos_server::events::{Durable, Event, RoomReport, Work};
use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, JournalSettings, Serial, Storage, StorageSettings};
use kvpaxos_server::journal_thread::{Fatal, JournalThread};
use kvpaxos_server::mailbox::{Inbox, mailbox};
use mio::{Events, Poll, Token};
use parking_lot::Mutex;
use paxos::{Ballot, Command, DurableState, Persist, Record, ReplicaId, Slot};

use crate::faulty_disk::{Fault, FaultyDisk};
use crate::messages::says;

/// The thread, and what the replica thread would have.
struct Bench {
    thread: JournalThread,
    poll: Poll,
    inbox: Inbox<Event>,
    said: Arc<Mutex<Vec<String>>>,
}

fn open(disk: &FaultyDisk, replay: &mut dyn FnMut(DurableState, Vec<Record>)) -> Storage {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let settings = StorageSettings {
        replica: ReplicaId(0),
        members: vec![ReplicaId(0)],
        journal: JournalSettings::default(),
    };
    let mut salt = 0;
    let mut draw = || {
        salt += 1;
        salt
    };
    Storage::open(&disk, &settings, &mut draw, replay).unwrap()
}

impl Bench {
    fn start(disk: &FaultyDisk) -> (Self, Identity) {
        let storage = open(disk, &mut |_, _| {});
        let poll = Poll::new().unwrap();
        let (outside, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let fatal = Fatal::new(move |why| sink.lock().push(why.to_owned()));
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let thread = JournalThread::start(storage.journal, disk, outside, fatal).unwrap();
        let bench = Self {
            thread,
            poll,
            inbox,
            said,
        };
        (bench, storage.identity)
    }

    /// Waits until so much is durable.
    fn durable(&mut self, work: u64) -> Durable {
        self.wait(|event| match event {
            Event::Durable(durable) => (durable.work >= work).then_some(durable),
            _ => None,
        })
    }

    /// Waits until the room on the disk is told to be so.
    fn room(&mut self, is_so: impl Fn(RoomReport) -> bool) -> RoomReport {
        self.wait(|event| match event {
            Event::Room(room) => is_so(room).then_some(room),
            _ => None,
        })
    }

    fn wait<T>(&mut self, is_it: impl Fn(Event) -> Option<T>) -> T {
        let mut events = Events::with_capacity(8);
        let began = Instant::now();
        loop {
            while let Some(event) = self.inbox.take() {
                assert!(
                    matches!(event, Event::Durable(_) | Event::Room(_)),
                    "the journal does not say {event:?}"
                );
                if let Some(found) = is_it(event) {
                    return found;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(20));
            self.inbox
                .wait(&mut self.poll, &mut events, Some(Duration::from_secs(1)))
                .unwrap();
        }
    }

    /// Gives it a piece of work: whether it has to wait for room, or is durable with so much.
    fn stalls_with(&mut self, work: Work, count: u64) -> bool {
        self.thread.work().send(work).unwrap();
        self.wait(|event| match event {
            Event::Durable(durable) => (durable.work >= count).then_some(false),
            Event::Room(room) => room.is_stalled.then_some(true),
            _ => None,
        })
    }

    /// Gives it work of 1 MiB each until it waits for room. Returns how much it was given; slots count from 0.
    fn write_until_stalled(&mut self, disk: &FaultyDisk) -> u64 {
        let before = self.room(|_| true);
        assert!(!before.is_stalled);
        disk.fill(2 << 20);
        let work = self.thread.work();
        for slot in 0..STALLING_WORK {
            work.send(accepted_bytes(slot, 1 << 20)).unwrap();
        }
        let stalled = self.room(|room| room.is_stalled);
        assert!(stalled.writable_bytes < 12 << 20, "{stalled:?}");
        STALLING_WORK
    }
}

/// More than there is room for, in pieces of 1 MiB: the first segment has 4 MiB, and the next at most 8.
const STALLING_WORK: u64 = 24;

fn accepted(slot: u64) -> Work {
    accepted_command(slot, Command::Noop)
}

fn accepted_bytes(slot: u64, length: usize) -> Work {
    accepted_command(slot, Command::Opaque(Arc::from(vec![slot as u8; length])))
}

fn accepted_command(slot: u64, command: Command) -> Work {
    let ballot = Ballot {
        round: 1,
        ..Ballot::NONE
    };
    Work::Persist(Persist {
        records: vec![Record::Accepted {
            slot: Slot(slot),
            ballot,
            command,
        }],
        state: DurableState {
            promised: ballot,
            ..DurableState::default()
        },
    })
}

fn replayed_slots(disk: &FaultyDisk) -> Vec<u64> {
    let mut slots = Vec::new();
    open(disk, &mut |_, records| {
        for record in records {
            let (Record::Accepted { slot, .. } | Record::Learned { slot, .. }) = record;
            slots.push(slot.0);
        }
    });
    slots
}

#[test]
fn what_is_reported_durable_is_there_after_a_kill() {
    let disk = FaultyDisk::new();
    let (mut bench, identity) = Bench::start(&disk);
    let work = bench.thread.work();
    for slot in 0..100 {
        work.send(accepted(slot)).unwrap();
    }
    work.send(Work::Identity(identity)).unwrap();
    let durable = bench.durable(101);
    assert!(durable.serial > Serial(0));
    assert!(durable.journal_bytes > 0);
    work.send(Work::Finish).unwrap();
    bench.thread.join();
    assert_eq!(bench.said.lock().as_slice(), &[] as &[String]);
    assert_eq!(replayed_slots(&disk), (0..100).collect::<Vec<u64>>());
}

#[test]
fn after_a_failed_write_nothing_more_is_reported() {
    let disk = FaultyDisk::new();
    let (mut bench, _) = Bench::start(&disk);
    let work = bench.thread.work();
    work.send(accepted(0)).unwrap();
    bench.durable(1);
    // The first steps may be those of a seal or of the next segment; every one from here on fails.
    disk.plan(0, Fault::Stop);
    for slot in 1..10 {
        if work.send(accepted(slot)).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.thread.join();
    let said = bench.said.lock();
    assert_eq!(said.len(), 1, "{said:?}");
    let message = "the journal failed, so this replica stops: …";
    assert!(says(&said[0], message), "{said:?}");
    while let Some(event) = bench.inbox.take() {
        // That the next segment became ready before the failure is told too.
        let is_old = match &event {
            Event::Room(_) => true,
            Event::Durable(durable) => durable.work == 1,
            _ => false,
        };
        assert!(is_old, "{event:?} was reported after the failure");
    }
}

#[test]
fn a_disk_that_fails_the_next_segment_ends_the_process() {
    let disk = FaultyDisk::new();
    open(&disk, &mut |_, _| {});
    let steps = Preparation::measured_on(&disk.copy());
    for step in 0..steps.next_start + steps.next_segment {
        let (disk, opened) = (disk.copy(), steps.opening);
        disk.plan(opened + step, Fault::Fail(ErrorKind::Other));
        let (mut bench, _) = Bench::start(&disk);
        if step < steps.next_start {
            // Nothing rests on the room that is kept for the next start.
            bench.thread.work().send(accepted(0)).unwrap();
            bench.durable(1);
            assert!(bench.said.lock().is_empty(), "at step {step}");
            bench.thread.work().send(Work::Finish).unwrap();
            bench.thread.join();
        } else {
            let message = "the journal failed, so this replica stops: …";
            let began = Instant::now();
            while bench.said.lock().is_empty() {
                let waited = began.elapsed();
                assert!(waited < Duration::from_secs(20), "at step {step}");
                std::thread::sleep(Duration::from_millis(1));
            }
            bench.thread.join();
            let said = bench.said.lock();
            assert!(says(&said[0], message), "at step {step}: {said:?}");
        }
    }
}

/// How many steps a disk takes until a journal is ready, part by part.
#[derive(Debug)]
struct Preparation {
    opening: u64,
    next_start: u64,
    next_segment: u64,
}

impl Preparation {
    fn measured_on(disk: &FaultyDisk) -> Self {
        let before = disk.steps();
        let mut journal = open(disk, &mut |_, _| {}).journal;
        let opened = disk.steps();
        journal.reserve_for_opening().unwrap();
        let reserved = disk.steps();
        let order = journal.order_spare().unwrap();
        order.make(disk).unwrap();
        let found = Self {
            opening: opened - before,
            next_start: reserved - opened,
            next_segment: disk.steps() - reserved,
        };
        assert!(found.next_start > 0 && found.next_segment > 0, "{found:?}");
        found
    }
}

#[test]
fn a_full_disk_is_waited_out_and_told() {
    let disk = FaultyDisk::new();
    let (mut bench, _) = Bench::start(&disk);
    let count = bench.write_until_stalled(&disk);
    // Less than what is missing, and then enough.
    disk.fill(100 << 10);
    bench.room(|room| room.is_stalled);
    disk.set_quota(None);
    let room = bench.room(|room| !room.is_stalled);
    assert!(room.writable_bytes > 1 << 40);
    bench.durable(count);
    disk.fill(8 << 20);
    bench.room(|room| room.writable_bytes < 48 << 20);
    bench.thread.work().send(Work::Finish).unwrap();
    bench.thread.join();
    assert_eq!(replayed_slots(&disk), (0..count).collect::<Vec<u64>>());
}

#[test]
fn what_snapshots_cover_makes_room_for_what_waits() {
    let disk = FaultyDisk::new();
    let (mut bench, _) = Bench::start(&disk);
    let work = bench.thread.work();
    let mut durable = 0;
    while durable < 8 {
        work.send(accepted_bytes(durable, 1 << 20)).unwrap();
        durable += 1;
        bench.durable(durable);
    }
    disk.fill(0);
    // One at a time, so that what waits is no longer than what a segment leaves free that is trimmed.
    while !bench.stalls_with(accepted_bytes(durable, 1 << 20), durable + 1) {
        durable += 1;
    }
    let began = Instant::now();
    work.send(Work::Trim(Slot(durable))).unwrap();
    bench.durable(durable + 1);
    println!("trimming ended the wait after {:?}", began.elapsed());
    disk.set_quota(None);
    work.send(Work::Finish).unwrap();
    bench.thread.join();
    assert_eq!(replayed_slots(&disk).last(), Some(&durable));
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let disk = FaultyDisk::new();
    let (mut bench, identity) = Bench::start(&disk);
    let count = bench.write_until_stalled(&disk);
    let work = bench.thread.work();
    work.send(Work::Identity(identity)).unwrap();
    work.send(accepted(count)).unwrap();
    let began = Instant::now();
    work.send(Work::Finish).unwrap();
    bench.thread.join();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(bench.said.lock().as_slice(), &[] as &[String]);
    let mut durable = 0;
    while let Some(event) = bench.inbox.take() {
        if let Event::Durable(said) = event {
            durable = said.work;
        }
    }
    let replayed = replayed_slots(&disk);
    assert!(replayed.len() as u64 >= durable && durable < count);
}

#[test]
fn an_identity_waits_for_room_and_what_follows_waits_for_it() {
    let disk = FaultyDisk::new();
    let (mut bench, identity) = Bench::start(&disk);
    bench.room(|_| true);
    let work = bench.thread.work();
    disk.fill(0);
    let other = Identity {
        incarnation: paxos::Incarnation(77),
        ..identity.clone()
    };
    work.send(Work::Identity(other.clone())).unwrap();
    work.send(accepted(0)).unwrap();
    bench.room(|room| room.is_stalled);
    assert_eq!(Identity::load(&disk).unwrap(), Some(identity));
    disk.set_quota(None);
    bench.durable(2);
    assert_eq!(Identity::load(&disk).unwrap(), Some(other));
    work.send(Work::Finish).unwrap();
    bench.thread.join();
}
