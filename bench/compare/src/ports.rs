//! Ports of 127.0.0.1 that nobody listens at.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::trouble::Trouble;

/// From 32768 the system gives ports to whoever connects, and one of the drivers' connections could take a server's.
const FIRST: u16 = 10_240;
const END: u16 = 32_768;

/// Gives out ports, no port twice until all had their turn.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
}

impl Ports {
    /// Two programs that do this at once begin in different places.
    pub(crate) fn new() -> Self {
        let spread = std::process::id() as u16 % ((END - FIRST) / 64);
        Self {
            next: FIRST + 64 * spread,
        }
    }

    /// So many ports that are free for TCP and UDP at this moment.
    ///
    /// # Errors
    /// There are not so many.
    pub(crate) fn free(&mut self, count: usize) -> Result<Vec<u16>, Trouble> {
        let mut found = Vec::new();
        for _ in FIRST..END {
            let port = self.next;
            self.next = if port + 1 == END { FIRST } else { port + 1 };
            if is_free(port) {
                found.push(port);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
        let reason = format!("of the ports {FIRST} to {} no {count} are free", END - 1);
        Err(Trouble::Failed(reason))
    }
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_at_is_not_given_out() {
        let mut ports = Ports::new();
        let first = ports.free(1).unwrap()[0];
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        ports.next = first;
        let given = ports.free(3).unwrap();
        assert!(!given.contains(&first), "{given:?}");
        assert!(given.iter().all(|port| (FIRST..END).contains(port)));
        drop(held);
    }

    #[test]
    fn after_the_last_comes_the_first() {
        let mut ports = Ports { next: END - 1 };
        assert_eq!(ports.free(2).unwrap().len(), 2);
        assert!(ports.next < END - 1);
    }
}
