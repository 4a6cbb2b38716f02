//! The journal thread over a disk that fails: work is durable in order, and nothing is said after a failure.

use std::sync::Arc;
use std::time::Duration;

use kvpaxos_server::events::{Durable, Event, Work};
use kvpaxos_server::identity::Identity;
use kvpaxos_server::journal::{Disk, JournalSettings, Serial, Storage, StorageSettings};
use kvpaxos_server::journal_thread::{Fatal, JournalThread};
use kvpaxos_server::mailbox::{Inbox, mailbox};
use mio::{Events, Poll, Token};
use parking_lot::Mutex;
use paxos::{Ballot, Command, DurableState, Persist, Record, ReplicaId, Slot};

use crate::faulty_disk::{Fault, FaultyDisk};

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
        let mut events = Events::with_capacity(8);
        loop {
            while let Some(event) = self.inbox.take() {
                match event {
                    Event::Durable(durable) if durable.work >= work => return durable,
                    Event::Durable(_) => {}
                    other => panic!("the journal does not say {other:?}"),
                }
            }
            self.inbox
                .wait(&mut self.poll, &mut events, Some(Duration::from_secs(20)))
                .unwrap();
            assert!(!events.is_empty(), "waited for work {work}");
        }
    }
}

fn accepted(slot: u64) -> Work {
    let ballot = Ballot {
        round: 1,
        ..Ballot::NONE
    };
    Work::Persist(Persist {
        records: vec![Record::Accepted {
            slot: Slot(slot),
            ballot,
            command: Command::Noop,
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
    assert!(said[0].starts_with("the journal failed"), "{said:?}");
    assert!(
        bench.inbox.take().is_none(),
        "something was reported after the failure"
    );
}
