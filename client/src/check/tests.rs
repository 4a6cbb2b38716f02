//! Histories that no linearizable cluster makes, each refused with a sentence, and some that it may make.

use std::time::{Duration, Instant};

use super::page::{Page, Read};
use super::{Check, CheckPlan};
use crate::courier::{Completion, Ticket};
use crate::error::ClientError;
use crate::operation::{Operation, Reply};

/// A key to which clients append, at milliseconds of the test's own.
struct History {
    page: Page,
    start: Instant,
    tags: Vec<Vec<u8>>,
    bytes: u64,
}

impl History {
    fn new() -> Self {
        Self {
            page: Page::new(b"k".to_vec()),
            start: Instant::now(),
            tags: Vec::new(),
            bytes: 0,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// An append begins. Its tag's number is one above that of the last.
    fn append(&mut self, client: usize, ms: u64) {
        let now = self.at(ms);
        self.tags.push(self.page.begin_append(client, 0, now));
    }

    /// The append of a tag is answered, as the next one on the key.
    fn answer(&mut self, tag: usize, ms: u64) {
        self.bytes += self.tags[tag].len() as u64;
        let reply = Reply::Appended {
            revision: 1,
            length: self.bytes,
        };
        self.end(tag, Ok(reply), ms);
    }

    fn end(&mut self, tag: usize, result: Result<Reply, ClientError>, ms: u64) {
        let now = self.at(ms);
        self.page.end_append(&self.tags[tag], &result, now);
    }

    /// What is said of a read.
    fn read(&mut self, value: &str, ms: (u64, u64)) -> Vec<String> {
        self.judge(value, ms, false, false)
    }

    fn read_back(&mut self, value: &str, ms: u64) -> Vec<String> {
        self.judge(value, (ms, ms), true, false)
    }

    fn judge(
        &mut self,
        value: &str,
        (began, ended): (u64, u64),
        is_last: bool,
        any_order: bool,
    ) -> Vec<String> {
        let read = Read {
            began: self.at(began),
            ended: self.at(ended),
            is_last,
            any_order,
        };
        let wrongs = self.page.judge(value.as_bytes(), read);
        let said = |wrong: &super::page::Wrong| format!("{}: {}", wrong.kind.name(), wrong.text);
        wrongs.iter().map(said).collect()
    }
}

/// Two answered appends of one client.
fn two_answered() -> History {
    let mut history = History::new();
    for tag in 0..2 {
        history.append(3, 10 * tag as u64);
        history.answer(tag, 10 * tag as u64 + 5);
    }
    history
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_right_history_is_not_blamed() {
    let mut history = two_answered();
    history.append(4, 20);
    assert_eq!(history.read("c3.0;c3.1;", (21, 22)), nothing());
    // The third runs while these two are under way: one sees it, one does not.
    assert_eq!(history.read("c3.0;c3.1;c4.2;", (23, 26)), nothing());
    assert_eq!(history.read("c3.0;c3.1;", (24, 27)), nothing());
    history.answer(2, 28);
    // A read that began early may show what it found early, and what was answered late.
    assert_eq!(history.read("c3.0;", (13, 29)), nothing());
    assert_eq!(history.read_back("c3.0;c3.1;c4.2;", 30), nothing());
}

#[test]
fn a_stale_read_is_refused() {
    let mut history = two_answered();
    assert_eq!(
        history.read("c3.0;", (15, 16)),
        ["stale: lacks c3.1, which was answered before the read began"]
    );
}

#[test]
fn a_lost_tag_is_refused() {
    let mut history = two_answered();
    let said = ["lost: lacks c3.0, which was answered"];
    assert_eq!(history.read_back("c3.1;", 20), said);
    let said = ["lost: lacks c3.1, which was answered"];
    assert_eq!(history.read_back("c3.0;", 20), said);
}

#[test]
fn a_doubled_tag_is_refused() {
    let mut history = two_answered();
    let said = ["duplicated: shows c3.0 twice"];
    assert_eq!(history.read("c3.0;c3.1;c3.0;", (20, 21)), said);
}

#[test]
fn swapped_tags_are_refused() {
    let mut history = two_answered();
    assert_eq!(
        history.read("c3.1;c3.0;", (20, 21)),
        [
            "out of order: shows c3.0 behind c3.1, though c3.0 was answered before c3.1 was asked for"
        ]
    );
}

#[test]
fn swapped_tags_of_one_pipeline_are_refused_where_an_order_is_promised() {
    let mut history = History::new();
    history.append(3, 0);
    history.append(3, 0);
    let said = [
        "out of order: shows c3.0 behind c3.1, though the client asked for c3.0 first".to_owned(),
    ];
    let swapped = "c3.1;c3.0;";
    assert_eq!(history.judge(swapped, (1, 2), false, false), said);
    assert_eq!(history.judge(swapped, (1, 2), false, true), nothing());
}

#[test]
fn swapped_tags_of_two_clients_are_refused_where_one_was_answered_before_the_other_began() {
    let mut history = History::new();
    history.append(1, 0);
    history.append(2, 0);
    history.answer(0, 5);
    history.answer(1, 5);
    history.append(1, 6);
    // The first two were under way together, so that either may come first.
    assert_eq!(history.read("c1.0;c2.1;", (7, 8)), nothing());
    assert_eq!(
        history.read("c1.0;c1.2;c2.1;", (7, 8)),
        [
            "out of order: shows c2.1 behind c1.2, though c2.1 was answered before c1.2 was asked for"
        ]
    );
}

#[test]
fn a_read_that_goes_back_is_refused() {
    let mut history = History::new();
    history.append(1, 0);
    assert_eq!(history.read("c1.0;", (1, 2)), nothing());
    let said = ["went back: lacks c1.0, which an earlier read had shown"];
    assert_eq!(history.read("", (2, 3)), said);
}

#[test]
fn reads_that_show_two_orders_are_refused() {
    let mut history = History::new();
    history.append(1, 0);
    history.append(2, 0);
    assert_eq!(history.read("c1.0;c2.1;", (1, 4)), nothing());
    let said = ["contradicted: shows c2.1 in the place where another read showed c1.0"];
    assert_eq!(history.read("c2.1;c1.0;", (1, 4)), said);
    assert_eq!(history.read("c2.1;", (1, 4)), said);
}

#[test]
fn what_was_never_sent_or_was_refused_is_not_expected() {
    let mut history = two_answered();
    history.append(4, 20);
    let refused = ClientError::Endpoints("none".to_owned());
    history.end(2, Err(refused), 21);
    assert_eq!(
        history.read("c3.0;c3.1;c4.1;x", (22, 23)),
        [
            r#"unexpected: shows "c4.1;", which was never appended there"#,
            r#"unexpected: shows "x", which was never appended there"#
        ]
    );
    let said = ["unexpected: shows c4.2, which was refused"];
    assert_eq!(history.read("c3.0;c3.1;c4.2;", (22, 23)), said);
}

#[test]
fn an_append_of_unknown_outcome_may_be_there_once() {
    let mut history = two_answered();
    history.append(3, 20);
    let unknown = ClientError::NoQuorum {
        fate: crate::error::Fate::Unknown,
    };
    history.end(2, Err(unknown), 21);
    assert_eq!(history.read("c3.0;c3.1;", (22, 23)), nothing());
    assert_eq!(history.read("c3.0;c3.1;c3.2;", (22, 24)), nothing());
    let said = ["duplicated: shows c3.2 twice"];
    assert_eq!(history.read("c3.0;c3.1;c3.2;c3.2;", (22, 23)), said);
}

#[test]
fn an_answer_that_named_another_length_is_found() {
    let mut history = History::new();
    history.append(1, 0);
    history.bytes = 5;
    history.answer(0, 1);
    let said = ["misplaced: shows c1.0 up to byte 5, though its answer said byte 10"];
    assert_eq!(history.read("c1.0;", (2, 3)), said);
}

const PLAN: CheckPlan = CheckPlan {
    clients: 4,
    keys: 2,
    read_percent: 0,
    tag_bytes_min: 400,
    uses_datagrams: true,
    any_order: true,
};

#[test]
fn what_is_read_back_in_a_datagram_fits_it() {
    let mut check = Check::new(PLAN);
    let now = Instant::now();
    let appends: Vec<Operation> = (0..5).map(|_| check.next(0, now)).collect();
    let keys = check.keys();
    assert_eq!(keys.len(), 3, "two tags of 400 bytes a key");
    assert_eq!(appends[4].key(), Some(&keys[2].1[..]));
    assert!(appends.iter().all(|append| append.value().len() == 400));
}

#[test]
fn clients_share_keys_and_what_they_read_is_judged() {
    let mut check = Check::new(CheckPlan {
        read_percent: 50,
        ..PLAN
    });
    let mut values = std::collections::BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for step in 0..400 {
        let (client, now) = (step % 4, Instant::now());
        let operation = check.next(client, now);
        let value = values.entry(operation.key().unwrap().to_vec()).or_default();
        value.extend(operation.value());
        let reply = if operation.is_write() {
            Reply::Appended {
                revision: 1,
                length: value.len() as u64,
            }
        } else {
            let value = value.clone();
            Reply::Value { revision: 1, value }
        };
        check.note(client, &completion(operation, reply, now), Instant::now());
    }
    assert!(check.report().is_right(), "{}", check.report());
    assert!(check.report().reads > 100 && check.report().appends > 100);
    let now = Instant::now();
    let (client, key) = check.keys().remove(0);
    assert_eq!(client, 0);
    check.note_read_back(&key, Some(b""), now);
    let report = check.report().to_string();
    assert!(!check.report().is_right());
    assert!(report.contains(" 2 lost"), "{report}");
    assert!(
        report.contains("the read when all was finished of check-"),
        "{report}"
    );
}

fn completion(operation: Operation, reply: Reply, submitted: Instant) -> Completion {
    Completion {
        ticket: Ticket(0),
        operation,
        submitted,
        result: Ok(reply),
        in_order: true,
    }
}
