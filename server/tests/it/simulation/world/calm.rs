//! The end of a run. The faults are over for a majority of replicas that have their memory and reach each other; the rest
//! stays broken for ever, each in a way of its own. Every client must get what it waits for.
//!
//! Nothing but the cluster decides whether that comes true: nobody of the majority is asleep, stopping, without room or
//! waiting for a slow disk, and clients that meet a broken replica go on to the next one.

use std::collections::BTreeSet;

use super::World;
use super::event::Event;
use crate::simulation::client::SimClient;
use crate::simulation::faults::MS;
use crate::simulation::links::{Carriage, Links};

/// How far a run is.
#[derive(Debug, Default)]
pub(super) struct Ending {
    stage: Stage,
    /// When the stage must be over.
    deadline: u64,
    /// Whose faults are over.
    core: BTreeSet<usize>,
    /// The others become whole in the end, and catch up.
    heals: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Faults,
    /// The clients finish what they have begun, and a little more.
    Liveness,
    /// The clients go on until they have done enough.
    Quiet,
    /// The replicas come to the same state.
    Agreement,
}

/// How a replica outside the majority is broken for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breakage {
    Down,
    CutOff,
    HearsNobody,
    HeardByNobody,
    /// It reaches one of the majority only.
    AtOne,
    /// It is well.
    Not,
}

impl World {
    /// The faults are to end: not before the clients have done enough, if they can.
    pub(super) fn end_faults(&mut self) -> Result<(), String> {
        if self.operations() < OPERATIONS_MIN && self.now < FAULTS_US_MAX {
            self.schedule(500 * MS, Event::Calm);
            return Ok(());
        }
        self.become_calm()?;
        self.begin_tight_phase()
    }

    /// A majority that remembers comes back, and hears each other; the others break for ever.
    fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.faults.calm();
        let count = self.replicas.len();
        self.ending.core = self.draw_core();
        let core = self.ending.core.clone();
        self.ending.heals = self.random.chance(500);
        let mut links = Links::whole(count);
        self.trace(|| format!("> calm {core:?}"));
        for replica in (0..count).filter(|replica| !core.contains(replica)) {
            self.break_for_ever(replica, &mut links);
        }
        self.set_links(links);
        for &replica in &core {
            self.wake_up(replica)?;
        }
        let now = self.now;
        for client in &mut self.clients {
            let operations = if client.workload.is_poller { 1 } else { 5 };
            client.finish_after(operations, now);
        }
        Ok(())
    }

    /// A majority of the replicas that are founded and have their memory; all, where those are too few, as before the
    /// founding, or where disks are full: one that is full alone is as good as away (RULES R18).
    fn draw_core(&mut self) -> BTreeSet<usize> {
        let count = self.replicas.len();
        let blank = self.blank_replicas();
        let mut voters: Vec<usize> = (0..count)
            .filter(|replica| {
                !blank.contains(replica) && self.replicas[*replica].incarnation().is_some()
            })
            .collect();
        let majority = count / 2 + 1;
        if voters.len() < majority || self.filling.tight_us() > 0 {
            return (0..count).collect();
        }
        self.random.shuffle(&mut voters);
        voters.truncate(majority);
        voters.into_iter().collect()
    }

    fn break_for_ever(&mut self, replica: usize, links: &mut Links) {
        let breakage = self.random.pick(&[
            Breakage::Down,
            Breakage::Down,
            Breakage::CutOff,
            Breakage::HearsNobody,
            Breakage::HeardByNobody,
            Breakage::AtOne,
            Breakage::Not,
        ]);
        self.trace(|| format!("> break r{replica} {breakage:?}"));
        let core: Vec<usize> = self.ending.core.iter().copied().collect();
        let neighbour = self.random.pick(&core);
        let (hears, is_heard) = match breakage {
            Breakage::Down => {
                self.crash(replica, true);
                self.replicas[replica].is_gone = true;
                (true, true)
            }
            Breakage::Not => (true, true),
            Breakage::HearsNobody => (false, true),
            Breakage::HeardByNobody => (true, false),
            Breakage::CutOff | Breakage::AtOne => (false, false),
        };
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            if breakage == Breakage::AtOne && other == neighbour {
                continue;
            }
            if !hears {
                links.set(other, replica, Carriage::Cut);
            }
            if !is_heard {
                links.set(replica, other, Carriage::Cut);
            }
        }
    }

    /// One of the majority is up, awake and quick.
    fn wake_up(&mut self, replica: usize) -> Result<(), String> {
        let process = self.replicas[replica].process.as_ref();
        if process.is_some_and(|process| process.is_stopping) {
            self.crash(replica, false);
        }
        let now = self.now;
        let state = &mut self.replicas[replica];
        state.deaf_until = now;
        // So that what it gets now does not come before what it could not take earlier.
        state.paused_until = now + SOON_US;
        state.disk_stalls_until = now;
        if state.process.is_none() {
            state.paused_until = now;
            return self.start_replica(replica);
        }
        if let Some(away) = state
            .process
            .as_mut()
            .and_then(|process| process.away.as_mut())
        {
            away.until = now;
        }
        self.hasten(replica);
        self.await_successor(replica);
        Ok(())
    }

    /// What is to come to this replica, be it long after this, comes soon and in its order.
    fn hasten(&mut self, replica: usize) {
        let soon = self.now + SOON_US;
        for ((time, number), event) in std::mem::take(&mut self.events) {
            if event.befalls() == Some(replica) {
                self.scheduled += 1;
                self.events.insert((soon, self.scheduled), event);
            } else {
                self.events.insert((time, number), event);
            }
        }
    }

    /// The majority is as it should be from now on.
    pub(super) fn begin_liveness(&mut self) {
        self.enter(Stage::Liveness, LIVENESS_US);
    }

    fn enter(&mut self, stage: Stage, within_us: u64) {
        self.trace(|| format!("> stage {stage:?}"));
        self.ending.stage = stage;
        self.ending.deadline = self.now + within_us;
    }

    /// Looks at how far the run is; true when it is over, and an error when that takes too long.
    pub(super) fn is_over(&mut self) -> Result<bool, String> {
        let is_done = match self.ending.stage {
            Stage::Faults => return Ok(false),
            Stage::Liveness | Stage::Quiet => self.clients.iter().all(SimClient::is_finished),
            Stage::Agreement => self.is_settled(),
        };
        if !is_done {
            let is_late = self.now > self.ending.deadline;
            return if is_late {
                Err(self.what_hangs())
            } else {
                Ok(false)
            };
        }
        match self.ending.stage {
            Stage::Faults => {}
            Stage::Liveness => self.begin_quiet(),
            // A read that a client gave up counts for nothing.
            Stage::Quiet if self.operations() < OPERATIONS_MIN => self.begin_quiet(),
            Stage::Quiet => self.begin_agreement()?,
            Stage::Agreement => return Ok(true),
        }
        Ok(false)
    }

    /// What the faults left undone is done without them.
    fn begin_quiet(&mut self) {
        let lacking = OPERATIONS_MIN.saturating_sub(self.operations());
        let clients = self.clients.iter_mut();
        let mut writers: Vec<_> = clients
            .filter(|client| !client.workload.is_poller)
            .collect();
        let each = lacking.div_ceil(writers.len() as u64);
        for client in &mut writers {
            client.operations_left = each;
        }
        self.enter(Stage::Quiet, QUIET_US);
    }

    /// How many were answered or became unknown.
    fn operations(&self) -> u64 {
        self.clients.iter().map(|client| client.done).sum()
    }

    /// In half of the runs the others are repaired, and must catch up.
    fn begin_agreement(&mut self) -> Result<(), String> {
        if self.ending.heals {
            self.ending.core = (0..self.replicas.len()).collect();
            self.set_links(Links::whole(self.replicas.len()));
            for replica in 0..self.replicas.len() {
                self.replicas[replica].is_gone = false;
                self.wake_up(replica)?;
            }
        }
        self.enter(Stage::Agreement, LIVENESS_US);
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let core = || {
            let core = self.ending.core.iter();
            core.filter_map(|replica| self.replicas[*replica].process.as_ref())
        };
        if !core().all(|process| process.node.votes()) {
            return false;
        }
        let mut states = core().map(|process| (process.node.applied(), process.node.state_hash()));
        let first = states.next();
        states.all(|state| Some(state) == first)
    }

    pub(super) fn what_hangs(&self) -> String {
        let clients: Vec<String> = self
            .clients
            .iter()
            .filter(|client| !client.is_finished())
            .map(SimClient::state)
            .collect();
        let replicas: Vec<String> = self
            .replicas
            .iter()
            .map(|replica| {
                let state = replica.process.as_ref().map(|process| {
                    (
                        process.node.applied().0,
                        process.node.leader(),
                        process.node.votes(),
                        process.node.state_hash(),
                    )
                });
                format!("{} {state:?}", replica.id)
            })
            .collect();
        format!(
            "not done in time ({:?} of {:?}): {}; {}",
            self.ending.stage,
            self.ending.core,
            clients.join("; "),
            replicas.join("; ")
        )
    }
}

/// Ten election timeouts: so long may a client wait once a majority is there.
const LIVENESS_US: u64 = 10 * 500 * MS;

/// How long whoever slept takes to wake up.
const SOON_US: u64 = 10 * MS;

/// So many operations make a run.
pub(super) const OPERATIONS_MIN: u64 = 1_000;

/// Faults that hold up the clients end here at the latest.
const FAULTS_US_MAX: u64 = 60_000 * MS;

/// A whole run without faults takes a few seconds.
const QUIET_US: u64 = 30_000 * MS;

/// No run is longer, in simulated time.
pub(super) const SIMULATED_US_MAX: u64 = 120_000 * MS;
