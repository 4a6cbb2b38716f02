//! Which endpoint is which replica, as greetings told (SPEC A7). Shared by all clients of a process.

use parking_lot::Mutex;

/// What greetings told about a list of endpoints.
#[derive(Debug)]
pub(crate) struct Directory {
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
    pub(crate) fn new(endpoints: usize) -> Self {
        Self {
            replicas: Mutex::new(vec![None; endpoints]),
        }
    }

    /// An endpoint greeted as this replica.
    pub(crate) fn note(&self, endpoint: usize, replica: u8) {
        self.replicas.lock()[endpoint] = Some(replica);
    }

    /// Where to look for a replica.
    pub(crate) fn find(&self, replica: u8) -> Place {
        let replicas = self.replicas.lock();
        let position = |wanted| replicas.iter().position(|found| *found == wanted);
        position(Some(replica))
            .map(Place::At)
            .or_else(|| position(None).map(Place::Perhaps))
            .unwrap_or(Place::Nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_found_where_it_greeted_last() {
        let directory = Directory::new(2);
        assert_eq!(directory.find(7), Place::Perhaps(0));
        directory.note(0, 3);
        assert_eq!(directory.find(7), Place::Perhaps(1));
        directory.note(1, 7);
        assert_eq!(directory.find(7), Place::At(1));
        assert_eq!(directory.find(9), Place::Nowhere);
    }
}
