//! One real replica on a disk whose syncs fail, not by a trick but because the blocks beneath cannot be written (FAULTS 5).

use crate::one_replica::Replica;
use crate::thin_disk::{DataMode, ThinDisk};

#[test]
fn a_sync_that_fails_ends_the_process_and_nothing_answered_is_lost() {
    let disk = ThinDisk::new(DataMode::Journaled);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut tags = Tags::default();
    tags.append_until_refused(&replica, 5);
    assert_eq!(tags.answered, 5, "{}", replica.log());
    disk.exhaust();
    tags.append_until_refused(&replica, 1_000);
    replica.wait("its end", |replica| !replica.runs());
    let status = replica.ended().unwrap();
    println!(
        "{} writes were answered, then it ended with {status}",
        tags.answered
    );
    assert_eq!(status.code(), Some(1), "{}", replica.log());
    let log = replica.log();
    let said = log.lines().rfind(|line| line.contains("[ERROR]")).unwrap();
    println!("{said}");
    let sentence = "the journal failed, so this replica stops: cannot sync segment-";
    assert!(said.contains(sentence), "{log}");
    disk.mend();
    replica.start_again();
    tags.assert_all_there(&replica);
    tags.append_until_refused(&replica, 3);
    tags.assert_all_there(&replica);
}

/// Where only new blocks fail, what was made in full beforehand goes on to be written: the process waits for room like on
/// any full disk, and takes no snapshot meanwhile.
#[test]
fn a_disk_that_promised_more_than_it_has_is_waited_for() {
    let disk = ThinDisk::new(DataMode::Ordered);
    let mut replica = Replica::start(&disk.path().join("data"));
    let mut tags = Tags::default();
    tags.append_until_refused(&replica, 5);
    disk.exhaust();
    tags.append_until_refused(&replica, 1_000);
    assert!(replica.runs(), "{}", replica.log());
    println!("{} writes were answered, then none", tags.answered);
    disk.relieve();
    replica.wait("room", |replica| tags.append(replica));
    tags.assert_all_there(&replica);
    replica.kill();
    replica.start_again();
    tags.assert_all_there(&replica);
}

/// Tags that are appended to one key, each with a long value beside it.
#[derive(Debug, Default)]
struct Tags {
    count: u64,
    answered: u64,
    /// Those that may or may not be there.
    unknown: Vec<u64>,
}

impl Tags {
    fn append_until_refused(&mut self, replica: &Replica, count: u64) {
        for _ in 0..count {
            if !self.append(replica) {
                return;
            }
        }
    }

    /// Whether it was answered.
    fn append(&mut self, replica: &Replica) -> bool {
        let number = self.count;
        self.count += 1;
        let mut client = replica.client();
        let long = vec![number as u8; LONG_BYTES];
        let has_grown = client.put(b"long", &long).is_ok();
        let tag = format!("{number};");
        let is_answered = has_grown && client.append(TAGS, tag.as_bytes()).is_ok();
        if is_answered {
            self.answered += 1;
        } else {
            self.unknown.push(number);
        }
        is_answered
    }

    /// Each tag is there once, in order; those without an answer may be.
    fn assert_all_there(&self, replica: &Replica) {
        let found = replica.client().get(TAGS).unwrap().unwrap().value;
        let text = String::from_utf8(found).unwrap();
        let found: Vec<u64> = text
            .split_terminator(';')
            .map(|tag| tag.parse().unwrap())
            .collect();
        assert!(found.is_sorted_by(|one, next| one < next), "{text}");
        for number in 0..self.count {
            let is_right = found.contains(&number) || self.unknown.contains(&number);
            assert!(is_right, "tag {number} is lost: {text}");
        }
    }
}

const TAGS: &[u8] = b"tags";
const LONG_BYTES: usize = 200_000;
