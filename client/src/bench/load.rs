//! Which operations the clients of the load generator do.

use std::io::Write;

use common::quote::Elided;
use kvpaxos_client::Operation;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use rand_distr::{Distribution as _, Zipf};

use crate::args::{BenchArguments, BenchOperation, Distribution};

/// As in the Yahoo! Cloud Serving Benchmark.
const ZIPF_EXPONENT: f64 = 0.99;

/// Makes operations, and uses the memory of finished ones again.
#[derive(Debug)]
pub(super) struct Load {
    operation: BenchOperation,
    read_percent: u32,
    clients: usize,
    keys: u32,
    /// Where some keys are drawn more often than others.
    zipf: Option<Zipf<f64>>,
    value: Vec<u8>,
    /// With a history values are distinct and keys are fresh, so that it can be judged.
    tags: Option<Tags>,
    random: SmallRng,
}

/// What makes keys and values distinct.
#[derive(Clone, Debug)]
struct Tags {
    /// What keys begin with, so that what other runs left is not met.
    prefix: String,
    /// The number of the next value.
    next: u64,
    value_bytes_min: usize,
}

impl Tags {
    /// Made up at the front, so that a value's end tells it from others.
    fn write_value(&mut self, value: &mut Vec<u8>) {
        let tag = format!("v{};", self.next);
        self.next += 1;
        value.clear();
        value.resize(self.value_bytes_min.saturating_sub(tag.len()), b'_');
        value.extend_from_slice(tag.as_bytes());
    }
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
            zipf: (arguments.distribution == Distribution::Zipfian).then(|| {
                Zipf::new(f64::from(arguments.keys), ZIPF_EXPONENT)
                    .expect("there are keys, and the exponent is positive")
            }),
            value,
            tags: arguments.history.is_some().then(|| Tags {
                prefix: format!("bench-{:08x}", random.random::<u32>()),
                next: u64::from(arguments.keys),
                value_bytes_min: arguments.value_bytes as usize,
            }),
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
        write_key(&mut first, self.prefix(), 0);
        write_key(&mut last, self.prefix(), self.keys - 1);
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
        let mut tags = self.tags.clone().map(|tags| Tags { next: 0, ..tags });
        self.all_keys().map(move |(number, key)| {
            let mut value = value.clone();
            if let Some(tags) = &mut tags {
                tags.write_value(&mut value);
            }
            (number as usize % clients, Operation::Put { key, value })
        })
    }

    /// Gets of every key, spread over the clients.
    pub(super) fn reading_back(&self) -> impl Iterator<Item = (usize, Operation)> + use<> {
        let clients = self.clients;
        self.all_keys()
            .map(move |(number, key)| (number as usize % clients, Operation::Get { key }))
    }

    fn all_keys(&self) -> impl Iterator<Item = (u32, Vec<u8>)> + use<> {
        let prefix = self.prefix().to_owned();
        (0..self.keys).map(move |number| {
            let mut key = Vec::new();
            write_key(&mut key, &prefix, number);
            (number, key)
        })
    }

    fn prefix(&self) -> &str {
        self.tags.as_ref().map_or("bench", |tags| &tags.prefix)
    }

    /// The next operation, in the memory of a finished one if there is one.
    pub(super) fn next(&mut self, used: Option<Operation>) -> Operation {
        let (mut key, mut value) = match used {
            Some(Operation::Put { key, value } | Operation::Append { key, value }) => (key, value),
            Some(Operation::Get { key } | Operation::Delete { key }) => (key, Vec::new()),
            Some(Operation::Status) | None => (Vec::new(), Vec::new()),
        };
        let number = self.draw_key();
        write_key(&mut key, self.prefix(), number);
        if self.next_is_read() {
            return Operation::Get { key };
        }
        if let Some(tags) = &mut self.tags {
            tags.write_value(&mut value);
        } else if value.len() != self.value.len() {
            value.clone_from(&self.value);
        }
        match self.operation {
            BenchOperation::Append => Operation::Append { key, value },
            BenchOperation::Put | BenchOperation::Get | BenchOperation::Mixed => {
                Operation::Put { key, value }
            }
        }
    }

    fn draw_key(&mut self) -> u32 {
        match &self.zipf {
            Some(zipf) => (zipf.sample(&mut self.random) as u32 - 1).min(self.keys - 1),
            None => self.random.random_range(0..self.keys),
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

fn write_key(key: &mut Vec<u8>, prefix: &str, number: u32) {
    key.clear();
    write!(key, "{prefix}/{number:08}").expect("a Vec takes every byte");
}
