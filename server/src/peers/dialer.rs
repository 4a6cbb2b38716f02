//! Where to dial a peer next. A name is looked up again for every round of attempts (SPEC B6), on a thread of its own,
//! because a name server that is slow must not hold up the replica thread. A peer that was away may come back with
//! another address, so nothing that was found before a link came up is tried after that link is lost.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

/// The addresses of one peer, one after the other.
#[derive(Debug)]
pub(super) struct Dialer {
    address: String,
    lookup: Lookup,
}

#[derive(Debug)]
enum Lookup {
    /// The member list has a number, so there is nothing to look up.
    Literal(SocketAddr),
    Name(NameLookup),
}

#[derive(Debug)]
struct NameLookup {
    ask: Sender<()>,
    found: Receiver<io::Result<Vec<SocketAddr>>>,
    under_way: bool,
    /// Whether what is under way was asked before the last link came up.
    outdated: bool,
    untried: VecDeque<SocketAddr>,
}

impl Dialer {
    /// A dialer for `host:port`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn new(address: &str) -> io::Result<Self> {
        let lookup = match address.parse() {
            Ok(literal) => Lookup::Literal(literal),
            Err(_) => Lookup::Name(NameLookup::start(address)?),
        };
        Ok(Self {
            address: address.to_owned(),
            lookup,
        })
    }

    /// As it stands in the member list.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The link is up: the next addresses are for when it is lost, and are looked up then.
    pub(super) fn forget(&mut self) {
        if let Lookup::Name(names) = &mut self.lookup {
            names.untried.clear();
            names.outdated = names.under_way;
        }
    }

    /// The next address to try; `None` while the name is being looked up.
    ///
    /// # Errors
    /// The name could not be looked up; a later call tries again.
    pub(super) fn next_address(&mut self) -> io::Result<Option<SocketAddr>> {
        match &mut self.lookup {
            Lookup::Literal(address) => Ok(Some(*address)),
            Lookup::Name(names) => names.next_address(),
        }
    }
}

impl NameLookup {
    /// The thread ends when the dialer is dropped, or when a lookup that is under way then returns.
    fn start(address: &str) -> io::Result<Self> {
        let (ask, asked) = crossbeam_channel::bounded(1);
        let (answer, found) = crossbeam_channel::bounded(1);
        let address = address.to_owned();
        thread::Builder::new()
            .name(format!("look up {address}"))
            .spawn(move || {
                while asked.recv().is_ok() {
                    let addresses = address.to_socket_addrs().map(Iterator::collect);
                    if answer.send(addresses).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            ask,
            found,
            under_way: false,
            outdated: false,
            untried: VecDeque::new(),
        })
    }

    fn next_address(&mut self) -> io::Result<Option<SocketAddr>> {
        if let Some(address) = self.untried.pop_front() {
            return Ok(Some(address));
        }
        if !self.under_way {
            self.under_way = self.ask.try_send(()).is_ok();
            return Ok(None);
        }
        match self.found.try_recv() {
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                Err(io::Error::other("the thread that looks up names is gone"))
            }
            Ok(_) if mem::take(&mut self.outdated) => {
                self.under_way = self.ask.try_send(()).is_ok();
                Ok(None)
            }
            Ok(result) => {
                self.under_way = false;
                self.untried = result?.into();
                Ok(self.untried.pop_front())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_number_needs_no_lookup() {
        let mut dialer = Dialer::new("127.0.0.1:7111").unwrap();
        let expected = "127.0.0.1:7111".parse().unwrap();
        assert_eq!(dialer.next_address().unwrap(), Some(expected));
        assert_eq!(dialer.next_address().unwrap(), Some(expected));
    }

    #[test]
    fn a_name_is_looked_up_without_waiting() {
        let mut dialer = Dialer::new("localhost:7111").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(address) = dialer.next_address().unwrap() {
                assert_eq!(address.port(), 7111);
                assert!(address.ip().is_loopback());
                return;
            }
            assert!(Instant::now() < deadline, "localhost was not found");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A dialer whose name server is played by the test.
    fn with_name_server() -> (Dialer, Receiver<()>, Sender<io::Result<Vec<SocketAddr>>>) {
        let (ask, asked) = crossbeam_channel::bounded(1);
        let (answer, found) = crossbeam_channel::bounded(1);
        let names = NameLookup {
            ask,
            found,
            under_way: false,
            outdated: false,
            untried: VecDeque::new(),
        };
        let dialer = Dialer {
            address: "peer-1:7111".to_owned(),
            lookup: Lookup::Name(names),
        };
        (dialer, asked, answer)
    }

    #[test]
    fn what_was_found_before_a_link_came_up_is_not_tried_after_it() {
        let (mut dialer, asked, answer) = with_name_server();
        let [old, other, new] =
            ["10.0.0.1:7111", "10.0.0.2:7111", "10.0.0.3:7111"].map(|text| text.parse().unwrap());
        assert_eq!(dialer.next_address().unwrap(), None);
        asked.try_recv().unwrap();
        answer.send(Ok(vec![old, other])).unwrap();
        assert_eq!(dialer.next_address().unwrap(), Some(old));
        dialer.forget();

        // The link is lost, and the peer dials first while its name is being looked up.
        assert_eq!(dialer.next_address().unwrap(), None);
        asked.try_recv().unwrap();
        dialer.forget();
        answer.send(Ok(vec![old])).unwrap();

        // Lost again: neither what was left over nor what came late.
        assert_eq!(dialer.next_address().unwrap(), None);
        asked.try_recv().unwrap();
        answer.send(Ok(vec![new])).unwrap();
        assert_eq!(dialer.next_address().unwrap(), Some(new));
    }
}
