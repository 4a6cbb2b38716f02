//! One write asked of all replicas at the same moment, over both transports, while the leader changes (FAULTS 7).

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::{Change, Outcome, Refusal, Request};

use crate::cluster::{Cluster, SIZE};
use crate::raw_client::{RawClient, get, write};
use crate::raw_datagrams::RawDatagrams;

/// Every second write meets a leader that stands still in the middle of it; all ten copies get one answer, and it runs once.
#[test]
fn retry_on_five_replicas_at_once_over_both_transports() {
    const WRITES: u64 = 6;
    let cluster = Cluster::start(&[]);
    let mut first = RawDatagrams::new(cluster.datagram_address(0));
    let session = first.open_session(5);
    for sequence in 1..=WRITES {
        let leader = cluster.leader();
        let (key, value) = (b"k".to_vec(), format!("w{sequence};").into_bytes());
        let append = write(session, sequence, 1, Change::Append { key, value });
        let copies: Vec<Copy> = (0..SIZE)
            .flat_map(|id| [Copy::over_udp(&cluster, id), Copy::over_tcp(&cluster, id)])
            .collect();
        if sequence % 2 == 0 {
            cluster.pause(leader);
        }
        let (sender, answers) = channel();
        for copy in copies {
            let (sender, append) = (sender.clone(), append.clone());
            std::thread::spawn(move || {
                // Nobody listens any more if the test has failed.
                let _ = sender.send(copy.settle(&append));
            });
        }
        drop(sender);
        let wait = Duration::from_secs(30);
        let first_answer = answers.recv_timeout(wait).unwrap();
        if sequence % 2 == 0 {
            // Another leads, since one of the others has answered.
            cluster.resume(leader);
        }
        let mut count = 1;
        while let Ok(answer) = answers.recv_timeout(wait) {
            assert_eq!(answer, first_answer);
            count += 1;
        }
        assert_eq!(count, 2 * SIZE, "copies were answered");
        println!("write {sequence}: {count} copies, all {first_answer}");
    }
    let expected: String = (1..=WRITES).map(|number| format!("w{number};")).collect();
    for id in 0..SIZE {
        let read = cluster.client_of(id).get(b"k").unwrap().unwrap();
        assert_eq!(String::from_utf8(read.value).unwrap(), expected);
    }
}

/// A client of one replica that has said hello.
enum Copy {
    Udp(RawDatagrams),
    Tcp(RawClient),
}

impl Copy {
    fn over_udp(cluster: &Cluster, id: usize) -> Self {
        let mut client = RawDatagrams::new(cluster.datagram_address(id));
        client.greet();
        Self::Udp(client)
    }

    fn over_tcp(cluster: &Cluster, id: usize) -> Self {
        let mut client = RawClient::greeted(cluster.client_address(id));
        client.outcome(&get(1, b"k"));
        Self::Tcp(client)
    }

    /// Asks until it is answered.
    fn settle(mut self, request: &Request) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let outcome = match &mut self {
                Self::Udp(client) => client.outcome(request),
                Self::Tcp(client) => client.outcome(request),
            };
            let passes = matches!(
                outcome,
                Outcome::Refused(
                    Refusal::NoQuorum { .. }
                        | Refusal::AskReplica { .. }
                        | Refusal::NotServing { .. }
                )
            );
            if !passes {
                return outcome;
            }
            assert!(Instant::now() < deadline, "{outcome}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
