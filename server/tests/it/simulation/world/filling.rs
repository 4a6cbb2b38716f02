//! Disks that have no room for a while (RULES R18).
//!
//! In some runs disks become quite full, now and then, and have room again. In others they keep what the product keeps in
//! reserve, or a part of it, until the faults are over and for some time more: then whoever only deletes must be served,
//! though nothing may be added. A byte of a simulated disk stands for some of a real one.

use super::World;
use super::event::Event;
use crate::simulation::bugs::Bug;
use crate::simulation::client::SimClient;
use crate::simulation::faults::{Faults, MS};
use crate::simulation::random::Random;

/// How full disks become in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Never,
    /// To the last byte.
    Quite,
    /// To the reserve, until the end.
    ToTheReserve,
}

/// Which disks a run fills. It draws from a seed of its own, so that a run is the same but for them. Bugs that have nothing
/// to do with room are looked for without these, which would only make rare interleavings rarer.
#[derive(Debug)]
pub(super) struct Filling {
    random: Random,
    kind: Kind,
    interval_us_max: u64,
    /// How many slots were chosen when disks became full for the first time.
    chosen_before: Option<u64>,
    /// The number of the client that deletes while the reserve is all there is.
    deleter: Option<usize>,
}

impl Filling {
    /// Where disks are lost too, replicas learn the whole log again and write it, whatever room there is: no reserve is kept
    /// for that.
    pub(super) fn draw(seed: u64, bug: Option<Bug>, loses_disks: bool, diskless: bool) -> Self {
        let mut random = Random::new(seed.rotate_left(29) ^ 0x66_75_6c_6c);
        let kind = random.pick(&[Kind::Never, Kind::Never, Kind::Quite, Kind::ToTheReserve]);
        let kind = match kind {
            Kind::ToTheReserve if loses_disks => Kind::Quite,
            kind => kind,
        };
        let happens = bug.is_none_or(|bug| bug == Bug::ProposesIntoFullDisks) && !diskless;
        Self {
            kind: if happens { kind } else { Kind::Never },
            interval_us_max: random.pick(&[300 * MS, 1_000 * MS, 3_000 * MS]),
            random,
            chosen_before: None,
            deleter: None,
        }
    }

    /// While writes wait for room nothing tells in which order they will run, and the judge of histories has to try them
    /// all: fewer are to wait at a time.
    ///
    /// The reserve is made for the values that runs have otherwise.
    pub(super) fn limit_clients(&self, faults: &mut Faults) {
        if self.kind != Kind::Never {
            faults.pipeline = faults.pipeline.min(2);
            faults.large_values = 0;
        }
    }

    /// Where room is short segments are, as in the product.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        match self.kind {
            Kind::Never => 256 << 10,
            Kind::Quite | Kind::ToTheReserve => 64 << 10,
        }
    }

    /// How long disks have no more than their reserve after the faults are over.
    pub(super) fn tight_us(&self) -> u64 {
        match self.kind {
            Kind::Never | Kind::Quite => 0,
            Kind::ToTheReserve => TIGHT_US,
        }
    }
}

impl World {
    pub(super) fn schedule_filling(&mut self) {
        if self.filling.kind != Kind::Never && !self.calm {
            let after = self.filling.random.between(1, self.filling.interval_us_max);
            self.schedule(after, Event::Fill);
        }
    }

    /// One disk, or a majority, or all, become full or have room again.
    pub(super) fn draw_filling(&mut self) {
        if self.calm {
            return;
        }
        self.schedule_filling();
        self.filling.chosen_before.get_or_insert(self.report.chosen);
        let count = self.replicas.len();
        let random = &mut self.filling.random;
        let befallen = random.pick(&[1, count / 2 + 1, count]);
        let first = random.between(0, count as u64) as usize;
        let bytes_left = match self.filling.kind {
            Kind::Never => None,
            Kind::Quite if random.chance(400) => None,
            Kind::Quite => Some(random.pick(&[0, 0, 8 << 10, 300 << 10, 800 << 10, 8 << 20])),
            Kind::ToTheReserve => Some(RESERVE_BYTES),
        };
        for replica in (0..befallen).map(|place| (first + place) % count) {
            self.trace(|| format!("> fill r{replica} {bytes_left:?} bytes left"));
            let disk = &self.replicas[replica].disk;
            match bytes_left {
                None => disk.set_quota(None),
                // What is used of the reserve is not given back.
                Some(RESERVE_BYTES) if disk.has_quota() => {}
                Some(bytes) => disk.fill(bytes),
            }
        }
    }

    /// The faults are over, and the disks as they are: if they were filled to the reserve, somebody comes to delete.
    pub(super) fn begin_tight_phase(&mut self) -> Result<(), String> {
        if self.filling.kind != Kind::ToTheReserve {
            return self.end_filling();
        }
        let chosen = self.report.chosen - self.filling.chosen_before.unwrap_or_default();
        if chosen < CHOSEN_MIN {
            // Nothing but a minute of crashes and elections, many a second, used it up: no reserve is made for that.
            let replicas = self.replicas.iter();
            replicas
                .filter(|replica| replica.disk.has_quota())
                .for_each(|replica| replica.disk.fill(RESERVE_BYTES));
        }
        let client = self.clients.len();
        let seed = self.filling.random.draw();
        let deleter = SimClient::deleter(client as u64, seed, &self.faults, DELETES);
        self.clients.push(deleter);
        self.filling.deleter = Some(client);
        self.schedule(MS, Event::Wake { client });
        self.schedule(TIGHT_US, Event::Room);
        Ok(())
    }

    /// All disks have room again.
    pub(super) fn end_filling(&mut self) -> Result<(), String> {
        if let Some(client) = self.filling.deleter.take() {
            let client = &self.clients[client];
            if !client.is_finished() && !client.was_told_spent {
                return Err(format!(
                    "nothing was deleted though the reserve is kept for it: {}; {}",
                    client.state(),
                    self.what_hangs()
                ));
            }
        }
        for replica in &self.replicas {
            replica.disk.set_quota(None);
        }
        self.begin_liveness();
        Ok(())
    }
}

/// Between the rest, below which not even a DELETE is taken, and the whole reserve, in bytes of simulated disks.
const RESERVE_BYTES: u64 = 800 << 10;

/// Long enough for a pause to end, a leader to be found and a few writes.
const TIGHT_US: u64 = 10_000 * MS;

const DELETES: u64 = 5;

/// Fewer than clients that are served write in a second.
const CHOSEN_MIN: u64 = 20;
