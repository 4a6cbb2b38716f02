//! What a client asks for next, and when it may.

use client::history::Kind;

use super::faults::Faults;
use super::keys::{Key, Shared};
use super::random::Random;

/// What one client is like.
#[derive(Debug)]
pub(super) struct Workload {
    id: u64,
    /// How many of a hundred operations are reads.
    reads_per_cent: u64,
    /// It does nothing but read, from another replica each time.
    pub(super) is_poller: bool,
    /// It does nothing but delete.
    deletes_only: bool,
    own_key: Key,
    /// How many of a thousand writes are of long values, and how long these are at most.
    large_values: u64,
    large_value_bytes_max: u64,
    /// How many of those there were.
    pub(super) large_values_written: u64,
    /// How many operations it is to begin in which time; 0 for as many as it can.
    operations: u64,
    in_us: u64,
    begun: u64,
}

impl Workload {
    pub(super) fn draw(id: u64, random: &mut Random, faults: &Faults) -> Self {
        let is_poller = id >= faults.clients;
        let reads_per_cent = random.pick(&[20, 35, 35, 95]);
        Self {
            id,
            reads_per_cent: if is_poller { 100 } else { reads_per_cent },
            is_poller,
            deletes_only: false,
            own_key: Key::default(),
            large_values: faults.large_values,
            large_value_bytes_max: faults.large_value_bytes_max,
            large_values_written: 0,
            operations: if is_poller {
                0
            } else {
                faults.operations.div_ceil(faults.clients)
            },
            in_us: faults.end_us,
            begun: 0,
        }
    }

    /// That of a client which deletes and nothing else, as fast as it can.
    pub(super) fn of_deleter(self) -> Self {
        Self {
            is_poller: false,
            deletes_only: true,
            operations: 0,
            reads_per_cent: 0,
            ..self
        }
    }

    /// Operations are spread over the whole time: so there are some around each fault. Who is held up makes up for it.
    pub(super) fn may_begin(&self, now: u64) -> bool {
        self.operations == 0 || self.begun < BURST + self.operations * now / self.in_us
    }

    /// From now on operations are begun as soon as they can be.
    pub(super) fn hurry(&mut self) {
        self.operations = 0;
    }

    /// The stem of the names of the keys to which nobody else appends.
    pub(super) fn own_stem(&self) -> String {
        format!("own{}", self.id)
    }

    /// The next operation: its key, and what is done there. The value that is written names the client and `sequence`.
    pub(super) fn next(
        &mut self,
        sequence: u64,
        random: &mut Random,
        shared: &Shared,
    ) -> (Vec<u8>, Kind) {
        self.begun += 1;
        let is_own = random.chance(400) && !self.is_poller;
        let key = if is_own {
            self.own_key.name(&self.own_stem())
        } else {
            shared.key(random.between(0, shared.key_count()))
        };
        let mut value = format!("c{}.{sequence};", self.id).into_bytes();
        let choice = random.between(0, 100);
        let is_read = random.chance(10 * self.reads_per_cent);
        let kind = if self.deletes_only {
            Kind::Delete { existed: None }
        } else if is_read {
            Kind::Get { value: None }
        } else if is_own || choice < 45 {
            let length = None;
            Kind::Append { value, length }
        } else if choice < 82 {
            if random.chance(self.large_values) {
                self.large_values_written += 1;
                let length = random.between(value.len() as u64, self.large_value_bytes_max);
                value.resize(length as usize, b'x');
            }
            Kind::Put { value }
        } else {
            Kind::Delete { existed: None }
        };
        (key, kind)
    }

    /// Nobody knows whether a write to that key has run.
    pub(super) fn note_unknown(&mut self, key: &[u8], shared: &mut Shared) {
        self.own_key.note_unknown(&self.own_stem(), key);
        shared.note_unknown(key);
    }
}

/// So many operations may be begun before their time.
const BURST: u64 = 8;
