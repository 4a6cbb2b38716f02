//! The driver of nodes and journals: ticks, turns, syncs, and steps of snapshots, as the server's threads do them.

use std::time::{Duration, Instant};

use kvpaxos_server::node::NodeOutput;

use super::World;
use super::event::Event;
use crate::simulation::bugs::{Bug, spoil_outbox, spoil_snapshot};
use crate::simulation::faults::MS;
use crate::simulation::replica::{note_accepted, slot_of, without_promise};

impl World {
    pub(super) fn tick(&mut self, replica: usize, life: u64) {
        if self.replicas[replica].life != life {
            return;
        }
        let mut jump_us = 0;
        if self.random.chance(self.faults.clock_jumps) {
            jump_us = self.random.between(0, self.faults.clock_jump_us_max);
            self.jump_clock(replica, jump_us);
        }
        let now = self.clock_of(replica);
        if let Some(process) = &mut self.replicas[replica].process {
            let mut due = u64::from(process.ticker.take_due(now));
            if self.bug == Some(Bug::LogTimeFromClock) {
                due += jump_us / TICK_US;
            }
            for _ in 0..due {
                process.node.tick();
            }
            if process.syncing.is_none() {
                process.look_at_disk(self.bug);
            }
            self.want_turn(replica);
            self.schedule(TICK_US, Event::Tick { replica, life });
        }
    }

    pub(super) fn clock_of(&self, replica: usize) -> Instant {
        self.epoch + Duration::from_micros(self.now + self.replicas[replica].clock_ahead_us)
    }

    /// A clock jumps forward, or back by what it was ahead.
    fn jump_clock(&mut self, replica: usize, jump_us: u64) {
        let ahead_us = &mut self.replicas[replica].clock_ahead_us;
        let is_back = *ahead_us > jump_us;
        if is_back {
            *ahead_us -= jump_us;
        } else {
            *ahead_us += jump_us;
        }
        self.report.clock_jumps += 1;
        self.trace(|| format!("> clock r{replica} {jump_us} us, back={is_back}"));
    }

    /// Something was put into a node: its output is taken a little later, when perhaps more has come.
    pub(super) fn want_turn(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if let Some(process) = &mut self.replicas[replica].process
            && !process.is_turn_due
        {
            process.is_turn_due = true;
            let delay = self.random.between(1, 100);
            self.schedule(delay, Event::Turn { replica, life });
        }
    }

    pub(super) fn turn(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        self.take_outputs(replica)?;
        self.begin_sync(replica);
        self.end_if_stopped(replica)
    }

    /// Handles the node's outputs until there are no more.
    pub(super) fn take_outputs(&mut self, replica: usize) -> Result<(), String> {
        while let Some(process) = &mut self.replicas[replica].process {
            process.is_turn_due = false;
            let output = process.node.take_output();
            if output.is_empty() {
                return Ok(());
            }
            self.handle(replica, output)?;
        }
        Ok(())
    }

    /// Handles one output of a replica that is running.
    pub(super) fn handle(&mut self, replica: usize, output: NodeOutput) -> Result<(), String> {
        let life = self.replicas[replica].life;
        if let Some(reason) = output.stop {
            return Err(format!("r{replica} stops: {reason}"));
        }
        let mut persist = output.persist;
        let mut last_accepted = None;
        if let Some(persist) = &persist {
            let holder = &mut self.replicas[replica];
            note_accepted(&mut holder.accepted, &persist.records);
            last_accepted = persist.records.last().map(slot_of);
            let above = persist.records.iter().map(|record| slot_of(record).next());
            holder.reached = above.fold(holder.reached, Ord::max);
        }
        if self.bug == Some(Bug::PromiseNotPersisted) {
            persist = persist.map(without_promise);
        }
        let (step, trim_below) = spoil_snapshot(self.bug, output.snapshot, output.trim_below);
        let mut send = output.send;
        let process = self.replicas[replica].running();
        process.hand(output.identity, persist);
        let begins_snapshot_step = process.begin_snapshot_step(step, trim_below);
        let transfers = process.begin_transfers(output.transfers);
        let (early, in_time) = spoil_outbox(
            self.bug,
            process.node.identity().replica,
            output.send_when_durable,
        );
        send.extend(early);
        process.keep(in_time);
        send.extend(process.take_sendable());
        if begins_snapshot_step {
            let delay = self.snapshot_random.between(50, 20 * MS);
            self.schedule(delay, Event::Snapshot { replica, life });
        }
        for _ in 0..transfers {
            let delay = self.snapshot_random.between(50, 20 * MS);
            self.schedule(delay, Event::Transfer { replica, life });
        }
        self.ambush(replica, &mut send);
        self.send_all(replica, send);
        self.spoil_answers(&output.answers);
        for (connection, answer) in output.answers {
            self.send_answer(connection, answer);
        }
        self.check_state(replica)?;
        self.trace_changes(replica);
        last_accepted.map_or(Ok(()), |slot| self.ambush_acceptor(replica, slot))
    }

    fn begin_sync(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if let Some(process) = &mut self.replicas[replica].process
            && process.begin_sync()
        {
            let mut delay = self.random.between(30, 31 + self.faults.sync_us_max);
            if self.random.chance(self.faults.slow_sync) {
                delay += self.random.between(0, self.faults.slow_sync_us_max);
            }
            let stalls = self.replicas[replica]
                .disk_stalls_until
                .saturating_sub(self.now);
            self.schedule(delay + stalls, Event::Synced { replica, life });
        }
    }

    pub(super) fn synced(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        let bug = self.bug;
        if self.replicas[replica].process.is_none() || self.fail_sync(replica) {
            return Ok(());
        }
        self.lie_about_sync(replica, true);
        let process = self.replicas[replica].running();
        let is_done = process
            .end_sync(bug)
            .map_err(|error| format!("r{replica}: {error}"))?;
        process.look_at_disk(bug);
        self.lie_about_sync(replica, false);
        if !is_done {
            self.report.disk_faults.full += 1;
            self.schedule(FULL_WAIT_US, Event::Synced { replica, life });
        }
        let process = self.replicas[replica].running();
        let sendable = process.take_sendable();
        self.send_all(replica, sendable);
        self.await_successor(replica);
        self.want_turn(replica);
        self.begin_sync(replica);
        Ok(())
    }

    pub(super) fn snapshot_step(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        if let Some(process) = &mut self.replicas[replica].process {
            let is_durable = process
                .end_snapshot_step()
                .map_err(|error| format!("r{replica}: {error}"))?;
            self.report.snapshots += u64::from(is_durable);
            self.want_turn(replica);
        }
        Ok(())
    }

    pub(super) fn transfer(&mut self, replica: usize, life: u64) -> Result<(), String> {
        if self.replicas[replica].life != life {
            return Ok(());
        }
        if let Some(process) = &mut self.replicas[replica].process {
            let has_come = process
                .end_transfer()
                .map_err(|error| format!("r{replica}: {error}"))?;
            self.report.transfers += u64::from(has_come);
            self.want_turn(replica);
        }
        Ok(())
    }
}

/// The node's tick.
pub(super) const TICK_US: u64 = 10 * MS;

/// How often a full disk is tried again.
const FULL_WAIT_US: u64 = 100 * MS;
