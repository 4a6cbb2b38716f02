//! Which endpoint is which replica, as greetings told (SPEC A7). Shared by all clients of a process.

use parking_lot::Mutex;

use crate::options::{Endpoint, Transport};

/// What greetings told about a list of endpoints.
#[derive(Debug)]
pub(crate) struct Directory {
    /// How each endpoint is reached.
    transports: Vec<Transport>,
    /// The replica behind each endpoint, once one of its greetings was heard.
    replicas: Mutex<Vec<Option<u8>>>,
}

/// Where to look for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It answered here last.
    At(usize),
    /// Not heard of; this endpoint has not told yet who it is.
    Perhaps(usize),
    /// None of the endpoints is it.
    Nowhere,
}

impl Directory {
    pub(crate) fn new(endpoints: &[Endpoint]) -> Self {
        Self {
            transports: endpoints.iter().map(Endpoint::transport).collect(),
            replicas: Mutex::new(vec![None; endpoints.len()]),
        }
    }

    /// An endpoint greeted as this replica.
    pub(crate) fn note(&self, endpoint: usize, replica: u8) {
        self.replicas.lock()[endpoint] = Some(replica);
    }

    /// Where to look for a replica, among the endpoints that are reached in this way.
    pub(crate) fn find(&self, replica: u8, transport: Transport) -> Place {
        let replicas = self.replicas.lock();
        let position = |wanted| {
            let mut places = replicas.iter().zip(&self.transports);
            places.position(|(found, reached)| *found == wanted && *reached == transport)
        };
        position(Some(replica))
            .map(Place::At)
            .or_else(|| position(None).map(Place::Perhaps))
            .unwrap_or(Place::Nowhere)
    }

    /// The endpoint at which a replica is reached in this way, if that is known.
    pub(crate) fn at(&self, replica: u8, transport: Transport) -> Option<usize> {
        match self.find(replica, transport) {
            Place::At(endpoint) => Some(endpoint),
            Place::Perhaps(_) | Place::Nowhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ClientOptions;

    #[test]
    fn a_replica_is_found_where_it_greeted_last() {
        let options = ClientOptions::parse("a:1,a:2,udp://a:1").unwrap();
        let directory = Directory::new(&options.endpoints);
        let over_tcp = |replica| directory.find(replica, Transport::Tcp);
        assert_eq!(over_tcp(7), Place::Perhaps(0));
        directory.note(0, 3);
        assert_eq!(over_tcp(7), Place::Perhaps(1));
        directory.note(1, 7);
        assert_eq!(over_tcp(7), Place::At(1));
        assert_eq!(over_tcp(9), Place::Nowhere);
        assert_eq!(directory.find(7, Transport::Udp), Place::Perhaps(2));
        assert_eq!(directory.at(7, Transport::Udp), None);
        assert_eq!(directory.at(7, Transport::Tcp), Some(1));
    }
}
