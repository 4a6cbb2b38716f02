//! A replica that is played: it greets, notes what it is sent, and answers as it is told, over TCP or UDP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{
    Answer, Change, ClientFrame, DatagramCounts, FrameBuffer, Greeting, Outcome, Refusal, Request,
    Role, SessionId, StatusReport, WireLimits,
};

use crate::fake_datagrams;

/// What a replica does with a request.
pub(crate) enum Reaction {
    /// Answers.
    Answer(Outcome),
    /// Answers with these bytes, whatever they are, and then as a store would.
    BytesThenAnswer(Vec<u8>),
    /// Says nothing yet; answers, as a store would, when the next request comes.
    Late,
    /// Says nothing.
    Silence,
    /// Closes the connection; over UDP there is none.
    Close,
}

/// A replica with a store of its own.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    /// What stands before its address in a list of endpoints.
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    requests: Vec<Request>,
    pub(crate) labels: Vec<String>,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
    revision: u64,
    replica: u8,
    is_gone: bool,
}

impl Fake {
    /// A replica that answers like a store.
    pub(crate) fn store() -> Self {
        Self::with(|_, outcome| Reaction::Answer(outcome))
    }

    /// A replica that is asked what to do with each request, and is shown what a store would answer. What it does not
    /// answer is done nevertheless.
    pub(crate) fn with(react: impl FnMut(&Request, Outcome) -> Reaction + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            scheme: "",
            state: Arc::default(),
        };
        let (state, react) = (Arc::clone(&fake.state), Arc::new(Mutex::new(react)));
        // The thread ends with the process: a listener has no other way to be told.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, react) = (Arc::clone(&state), Arc::clone(&react));
                thread::spawn(move || serve(stream, &state, &*react));
            }
        });
        fake
    }

    /// The same over UDP.
    pub(crate) fn datagrams(
        react: impl FnMut(&Request, Outcome) -> Reaction + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            address: socket.local_addr().unwrap(),
            scheme: "udp://",
            state: Arc::default(),
        };
        let state = Arc::clone(&fake.state);
        thread::spawn(move || fake_datagrams::serve(&socket, &state, react));
        fake
    }

    /// A replica over UDP that answers like a store.
    pub(crate) fn datagram_store() -> Self {
        Self::datagrams(|_, outcome| Reaction::Answer(outcome))
    }

    /// The same replica with another id than 0, before anybody has asked it.
    pub(crate) fn numbered(self, replica: u8) -> Self {
        self.state.lock().unwrap().replica = replica;
        self
    }

    /// From here on it ends every connection as soon as something comes.
    pub(crate) fn go(&self) {
        self.state.lock().unwrap().is_gone = true;
    }

    /// Every write that came, in the order in which they came.
    pub(crate) fn writes(&self) -> Vec<common::Write> {
        let requests = self.state.lock().unwrap().requests.clone();
        let write = |request| match request {
            Request::Write { write, .. } => Some(write),
            _ => None,
        };
        requests.into_iter().filter_map(write).collect()
    }

    /// What clients called themselves.
    pub(crate) fn labels(&self) -> Vec<String> {
        self.state.lock().unwrap().labels.clone()
    }

    /// What a key holds.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state.lock().unwrap().store.get(key).cloned()
    }
}

/// The list of endpoints of these replicas.
pub(crate) fn endpoints(fakes: &[&Fake]) -> String {
    let list: Vec<String> = fakes
        .iter()
        .map(|fake| format!("{}{}", fake.scheme, fake.address))
        .collect();
    list.join(",")
}

fn serve(
    mut stream: TcpStream,
    state: &Mutex<State>,
    react: &Mutex<impl FnMut(&Request, Outcome) -> Reaction>,
) {
    let mut frames = FrameBuffer::new(u32::MAX);
    let mut bytes = vec![0; 1 << 16];
    let mut held_back = Vec::new();
    loop {
        let count = match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if state.lock().unwrap().is_gone {
            return;
        }
        frames.extend(&bytes[..count]);
        let mut out = Vec::new();
        while let Some(payload) = frames.next_frame().unwrap() {
            match ClientFrame::decode(payload, &WireLimits::default()).unwrap() {
                ClientFrame::Hello(hello) => {
                    let mut state = state.lock().unwrap();
                    state.labels.push(hello.label);
                    greeting(state.replica).append_to(&mut out);
                }
                ClientFrame::Request(request) => {
                    out.append(&mut held_back);
                    let outcome = state.lock().unwrap().run(&request);
                    let mut usual = Vec::new();
                    answer(&request, outcome.clone()).append_to(&mut usual);
                    match (react.lock().unwrap())(&request, outcome) {
                        Reaction::Answer(outcome) => answer(&request, outcome).append_to(&mut out),
                        Reaction::BytesThenAnswer(bytes) => {
                            out.extend(bytes);
                            out.extend(usual);
                        }
                        Reaction::Late => held_back = usual,
                        Reaction::Silence => {}
                        Reaction::Close => return,
                    }
                }
            }
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn greeting(replica: u8) -> Greeting {
    Greeting {
        version: 1,
        cluster: 1,
        replica,
        leader: None,
        limits: WireLimits::default(),
    }
}

pub(crate) fn answer(request: &Request, outcome: Outcome) -> Answer {
    Answer {
        tag: request.tag(),
        leader: None,
        outcome,
    }
}

impl State {
    pub(crate) fn run(&mut self, request: &Request) -> Outcome {
        self.requests.push(request.clone());
        match request {
            Request::OpenSession { nonce, .. } => {
                self.revision += 1;
                Outcome::SessionOpened {
                    session: SessionId {
                        revision: self.revision,
                        nonce: *nonce,
                    },
                    expiry_s: 3_600,
                }
            }
            Request::Write { write, .. } => self.change(&write.change),
            Request::Get { key, .. } => match self.store.get(key) {
                Some(value) => Outcome::Value {
                    revision: self.revision,
                    value: value.clone(),
                },
                None => Outcome::Absent {
                    revision: self.revision,
                },
            },
            Request::Status { .. } => Outcome::Status(Box::new(self.report())),
        }
    }

    fn change(&mut self, change: &Change) -> Outcome {
        self.revision += 1;
        let revision = self.revision;
        match change {
            Change::Put { key, value } => {
                self.store.insert(key.clone(), value.clone());
                Outcome::Put { revision }
            }
            Change::Append { key, value } => {
                let held = self.store.entry(key.clone()).or_default();
                held.extend(value);
                Outcome::Appended {
                    revision,
                    length: held.len() as u64,
                }
            }
            Change::Delete { key } => Outcome::Deleted {
                revision,
                existed: self.store.remove(key).is_some(),
            },
        }
    }

    fn report(&self) -> StatusReport {
        StatusReport {
            replica: 3,
            cluster: 1,
            serving: true,
            role: Role::Leader,
            leader: Some(3),
            ballot_round: 7,
            ballot_replica: 3,
            chosen: 20,
            applied: 19,
            hash_slot: 16,
            state_hash: 0xabc,
            keys: self.store.len() as u64,
            sessions: 1,
            journal_bytes: 4_096,
            snapshot_slot: 0,
            revision: self.revision,
            datagrams: DatagramCounts::default(),
            remark: String::new(),
        }
    }
}

/// A refusal that says that no majority could be reached.
pub(crate) fn no_quorum() -> Outcome {
    Outcome::Refused(Refusal::NoQuorum { proposed: true })
}
