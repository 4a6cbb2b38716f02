//! Which operations the clients of the load generator do.

use std::io::Write;

use common::quote::Elided;
use kvpaxos_client::Operation;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::args::{BenchArguments, BenchOperation};

/// Makes operations, and uses the memory of finished ones again.
#[derive(Debug)]
pub(super) struct Load {
    operation: BenchOperation,
    read_percent: u32,
    clients: usize,
    keys: u32,
    value: Vec<u8>,
    random: SmallRng,
}

impl Load {
    pub(super) fn new(arguments: &BenchArguments) -> Self {
        let mut random = SmallRng::from_os_rng();
        let mut value = vec![0; arguments.value_bytes as usize];
        random.fill_bytes(&mut value);
        Self {
            operation: arguments.op,
            read_percent: arguments.read_percent,
            clients: arguments.clients as usize,
            keys: arguments.keys,
            value,
            random,
        }
    }

    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    pub(super) fn keys(&self) -> u32 {
        self.keys
    }

    /// Whether keys are read, so that they must be there.
    pub(super) fn reads(&self) -> bool {
        matches!(self.operation, BenchOperation::Get | BenchOperation::Mixed)
    }

    /// Which keys stay behind.
    pub(super) fn keys_left(&self) -> String {
        let [mut first, mut last] = [Vec::new(), Vec::new()];
        write_key(&mut first, 0);
        write_key(&mut last, self.keys - 1);
        format!(
            "up to {} keys, {} to {}",
            self.keys,
            Elided(&first),
            Elided(&last)
        )
    }

    /// Puts of every key, spread over the clients.
    pub(super) fn filling(&self) -> impl Iterator<Item = (usize, Operation)> + use<> {
        let (clients, value) = (self.clients, self.value.clone());
        (0..self.keys).map(move |number| {
            let mut key = Vec::new();
            write_key(&mut key, number);
            let value = value.clone();
            (number as usize % clients, Operation::Put { key, value })
        })
    }

    /// The next operation, in the memory of a finished one if there is one.
    pub(super) fn next(&mut self, used: Option<Operation>) -> Operation {
        let (mut key, mut value) = match used {
            Some(Operation::Put { key, value } | Operation::Append { key, value }) => (key, value),
            Some(Operation::Get { key } | Operation::Delete { key }) => (key, Vec::new()),
            Some(Operation::Status) | None => (Vec::new(), Vec::new()),
        };
        write_key(&mut key, self.random.random_range(0..self.keys));
        if self.next_is_read() {
            return Operation::Get { key };
        }
        if value.len() != self.value.len() {
            value.clone_from(&self.value);
        }
        match self.operation {
            BenchOperation::Append => Operation::Append { key, value },
            BenchOperation::Put | BenchOperation::Get | BenchOperation::Mixed => {
                Operation::Put { key, value }
            }
        }
    }

    fn next_is_read(&mut self) -> bool {
        match self.operation {
            BenchOperation::Put | BenchOperation::Append => false,
            BenchOperation::Get => true,
            BenchOperation::Mixed => self.random.random_range(0..100) < self.read_percent,
        }
    }
}

fn write_key(key: &mut Vec<u8>, number: u32) {
    key.clear();
    write!(key, "bench/{number:08}").expect("a Vec takes every byte");
}
