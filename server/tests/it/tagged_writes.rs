//! What one client writes to one replica that may go away at any time: each write after the answer to the one before, and again,
//! under its own number, where no answer came.

use std::time::{Duration, Instant};

use common::{Change, Outcome, Refusal, Request, SessionId, Write};

use crate::one_replica::Replica;
use crate::raw_client::{RawClient, get};

/// Tags that are appended to one key, and in between long values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Writes {
    session: Option<SessionId>,
    answered: u64,
}

impl Writes {
    /// Writes rounds that end in snapshots, until it is enough or the server goes away; some rounds at the most.
    pub(crate) fn write_rounds(
        &mut self,
        replica: &mut Replica,
        rounds: usize,
        is_enough: &dyn Fn() -> bool,
    ) {
        for _ in 0..rounds {
            let snapshots = |replica: &Replica| replica.log().matches(SNAPSHOT_TAKEN).count();
            let before = snapshots(replica);
            if is_enough() || !self.go_on_by(replica, ROUND_WRITES) {
                return;
            }
            replica.wait("two snapshots", |replica| {
                is_enough() || !replica.runs() || snapshots(replica) >= before + 2
            });
        }
    }

    /// Makes so many writes more; `false` if the server went away before they were answered.
    pub(crate) fn go_on_by(&mut self, replica: &Replica, count: u64) -> bool {
        let address = replica.address().parse().unwrap();
        let Some(mut client) = RawClient::try_greeted(address) else {
            return false;
        };
        let until = self.answered + count;
        while self.answered < until {
            let session = match self.session {
                Some(session) => session,
                None => match ask(&mut client, &Request::OpenSession { tag: 1, nonce: 5 }) {
                    Some(Outcome::SessionOpened { session, .. }) => *self.session.insert(session),
                    Some(other) => panic!("no session: {other}"),
                    None => return false,
                },
            };
            let write = write(session, self.answered + 1);
            match ask(&mut client, &Request::Write { tag: 2, write }) {
                Some(Outcome::Put { .. } | Outcome::Appended { .. }) => self.answered += 1,
                Some(other) => panic!("write {} was answered {other}", self.answered + 1),
                None => return false,
            }
        }
        true
    }

    /// Every tag is there once, in order.
    pub(crate) fn assert_all_there(&self, replica: &Replica) {
        let mut client = RawClient::greeted(replica.address().parse().unwrap());
        let found = match client.outcome(&get(3, TAGS)) {
            Outcome::Value { value, .. } => value,
            other => panic!("the tags are {other}"),
        };
        let expected: String = (1..=self.answered)
            .filter(|sequence| !is_long(*sequence))
            .map(|sequence| format!("{sequence};"))
            .collect();
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }
}

/// The write of this number.
fn write(session: SessionId, sequence: u64) -> Write {
    let change = if is_long(sequence) {
        Change::Put {
            key: b"long".to_vec(),
            value: vec![sequence as u8; LONG_BYTES],
        }
    } else {
        Change::Append {
            key: TAGS.to_vec(),
            value: format!("{sequence};").into_bytes(),
        }
    };
    Write {
        session,
        sequence,
        floor: sequence,
        after: 0,
        change,
    }
}

fn is_long(sequence: u64) -> bool {
    sequence.is_multiple_of(2)
}

/// Asks until there is room and a leader; `None` if the server goes away.
fn ask(client: &mut RawClient, request: &Request) -> Option<Outcome> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match client.try_outcome(request)? {
            Outcome::Refused(Refusal::DiskFull { .. } | Refusal::NoQuorum { .. }) => {
                assert!(Instant::now() < deadline, "it refuses for ever");
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return Some(outcome),
        }
    }
}

const TAGS: &[u8] = b"tags";
const SNAPSHOT_TAKEN: &str = "a snapshot of slot";
/// Two of them are as long as the first segment.
const LONG_BYTES: usize = 2 << 20;
/// Four long values leave a segment of 4 MiB, then one of 8 MiB.
const ROUND_WRITES: u64 = 8;
