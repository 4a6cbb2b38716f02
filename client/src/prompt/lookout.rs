//! What the prompt shows of the cluster: how many replicas answer, and who leads.
//!
//! Every replica is asked before each line is read. That is cheap, since a replica answers such a question at once and
//! from what it knows itself, and it never holds the prompt up: who was silent last time is hardly waited for, and anybody
//! else for a moment. A client's own connection could not tell, for it knows the one replica that it talks to.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::StatusReport;
use kvpaxos_client::{ClientOptions, Transport};

use crate::status::{self, ANSWER_TIME_MAX};

/// How long the prompt is held up at most, for replicas that answered the last time.
const LOOK_TIME_MAX: Duration = Duration::from_millis(100);

/// The same for those that did not: enough for one nearby that is back.
const LOOK_AGAIN_TIME_MAX: Duration = Duration::from_millis(20);

/// Asks replicas, each in a thread of its own.
#[derive(Debug)]
pub(super) struct Lookout {
    options: ClientOptions,
    replicas: Vec<Replica>,
    /// The cluster that answered last, by its id.
    cluster: Option<u64>,
    answers: Receiver<Answer>,
    answered: Sender<Answer>,
}

/// An endpoint, by its place, and what was said there.
type Answer = (usize, Option<StatusReport>);

/// One endpoint.
#[derive(Clone, Debug)]
struct Replica {
    /// Being asked.
    is_asked: bool,
    /// Answered the last time, or was never asked.
    is_awaited: bool,
    found: Option<StatusReport>,
}

impl Lookout {
    /// Looks at the replicas over the transport of the one that is asked first.
    pub(super) fn new(options: &ClientOptions) -> Self {
        let transport = options.endpoints[options.first].transport();
        let mut options = options.clone();
        options.first = 0;
        options
            .endpoints
            .retain(|endpoint| endpoint.transport() == transport);
        let unknown = Replica {
            is_asked: false,
            is_awaited: true,
            found: None,
        };
        let (answered, answers) = channel();
        Self {
            replicas: vec![unknown; options.endpoints.len()],
            cluster: None,
            options,
            answers,
            answered,
        }
    }

    /// Asks everybody, and tells what is known a moment later.
    pub(super) fn look(&mut self) -> View {
        while let Ok(answer) = self.answers.try_recv() {
            self.note(answer);
        }
        for place in 0..self.replicas.len() {
            self.ask(place);
        }
        let began = Instant::now();
        while let Some(wait) = self.wait_at_most() {
            let left = (began + wait).saturating_duration_since(Instant::now());
            let Ok(answer) = self.answers.recv_timeout(left) else {
                break;
            };
            self.note(answer);
        }
        for replica in &mut self.replicas {
            replica.is_awaited = !replica.is_asked && replica.found.is_some();
        }
        self.view()
    }

    /// How long a look takes at most; `None` once all have answered.
    fn wait_at_most(&self) -> Option<Duration> {
        let asked = || self.replicas.iter().filter(|replica| replica.is_asked);
        if asked().any(|replica| replica.is_awaited) {
            Some(LOOK_TIME_MAX)
        } else {
            asked().next().map(|_| LOOK_AGAIN_TIME_MAX)
        }
    }

    fn ask(&mut self, place: usize) {
        let replica = &mut self.replicas[place];
        if replica.is_asked {
            return;
        }
        replica.is_asked = true;
        let (options, answered) = (self.options.clone(), self.answered.clone());
        thread::spawn(move || {
            let found = status::ask(&options, &options.endpoints[place], ANSWER_TIME_MAX).ok();
            // The prompt may have ended.
            let _ = answered.send((place, found));
        });
    }

    fn note(&mut self, (place, found): Answer) {
        self.replicas[place].is_asked = false;
        self.replicas[place].found = found;
    }

    /// Whether those that serve are another cluster than before: one that was wiped and founded anew, most likely.
    pub(super) fn is_another_cluster(&mut self) -> bool {
        let serving = self.reports().filter(|report| report.serving);
        let found = serving.map(|report| report.cluster).max();
        let before = self.cluster;
        self.cluster = found.or(before);
        before.is_some() && before != self.cluster
    }

    fn reports(&self) -> impl Iterator<Item = &StatusReport> {
        let answered = self.replicas.iter().filter(|replica| !replica.is_asked);
        answered.filter_map(|replica| replica.found.as_ref())
    }

    fn view(&self) -> View {
        let reports = || self.reports();
        let newest = reports().max_by_key(|report| (report.ballot_round, report.ballot_replica));
        View {
            answering: reports().count(),
            replicas: self.replicas.len(),
            leader: newest.and_then(|report| report.leader),
            transport: self.options.endpoints[0].transport(),
        }
    }
}

/// What the prompt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    answering: usize,
    replicas: usize,
    leader: Option<u8>,
    transport: Transport,
}

/// How well the cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// All replicas answer.
    #[default]
    Well,
    /// Some do not.
    Missing,
    /// Too few, or nobody leads.
    Broken,
}

impl View {
    /// How well it is.
    pub(super) fn tone(self) -> Tone {
        if self.leader.is_none() || self.answering < self.replicas / 2 + 1 {
            Tone::Broken
        } else if self.answering < self.replicas {
            Tone::Missing
        } else {
            Tone::Well
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kvpaxos {}/{}", self.answering, self.replicas)?;
        match self.leader {
            Some(leader) => write!(f, " leader=r{leader}")?,
            None => f.write_str(" no leader")?,
        }
        let transport = self.transport.scheme().trim_end_matches("://");
        write!(f, " {transport}> ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_says_who_answers_and_who_leads() {
        let mut view = View {
            answering: 5,
            replicas: 5,
            leader: Some(2),
            transport: Transport::Tcp,
        };
        assert_eq!(view.to_string(), "kvpaxos 5/5 leader=r2 tcp> ");
        assert_eq!(view.tone(), Tone::Well);
        (view.answering, view.leader, view.transport) = (2, None, Transport::Udp);
        assert_eq!(view.to_string(), "kvpaxos 2/5 no leader udp> ");
        assert_eq!(view.tone(), Tone::Broken);
    }

    #[test]
    fn who_does_not_answer_holds_the_prompt_up_once() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let mut lookout = Lookout::new(&ClientOptions::parse(&address).unwrap());
        let view = lookout.look();
        assert_eq!((view.answering, view.replicas), (0, 1));
        let began = Instant::now();
        lookout.look();
        assert!(began.elapsed() < LOOK_TIME_MAX / 2);
    }
}
