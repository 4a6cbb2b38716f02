//! How replicas start, stop and crash.

use super::World;
use super::event::Event;
use super::turns::TICK_US;
use crate::simulation::faults::MS;
use crate::simulation::replica::Start;

impl World {
    pub(super) fn start_replica(&mut self, replica: usize) -> Result<(), String> {
        let start = Start {
            now: self.clock_of(replica),
            may_rot: self.may_forget(replica),
            ..self.start.clone()
        };
        let times_rotten = self.replicas[replica].times_rotten;
        let before = self.replicas[replica].incarnation();
        let has_room =
            self.replicas[replica].start(&start, &mut self.random, &mut self.snapshot_random)?;
        if self.replicas[replica].times_rotten != times_rotten {
            self.trace(|| format!("> damage r{replica}: its newest snapshot rots"));
            self.report.disk_faults.rotten += 1;
            self.count_as_blank(replica);
        }
        if !has_room {
            self.trace(|| format!("> start r{replica}: there is no room"));
            self.schedule(500 * MS, Event::Restart { replica });
            return Ok(());
        }
        let life = self.replicas[replica].incarnation();
        if before.is_some() && life != before && !self.is_blank(replica) {
            let why = self.replicas[replica].lost.as_deref().unwrap_or_default();
            return Err(format!(
                "r{replica} gave up its life, and nothing was done to it: {why}"
            ));
        }
        let life = self.replicas[replica].life;
        self.trace(|| format!("> start r{replica}"));
        self.notice_start(replica);
        let first = self.random.between(0, TICK_US);
        self.schedule(first, Event::Tick { replica, life });
        self.want_turn(replica);
        Ok(())
    }

    /// A process is told to stop: it ends by itself soon, and starts again.
    pub(super) fn stop(&mut self, replica: usize) {
        if self.wiping.diskless {
            // It would be without a memory afterwards, and by then others may be.
            return;
        }
        if let Some(process) = &mut self.replicas[replica].process
            && !std::mem::replace(&mut process.is_stopping, true)
        {
            process.node.begin_to_stop();
            self.report.stops += 1;
            self.trace(|| format!("> stop r{replica}"));
            self.want_turn(replica);
        }
    }

    /// A process that was told to stop ends once its node may: who waits for an answer gets one.
    pub(super) fn end_if_stopped(&mut self, replica: usize) -> Result<(), String> {
        let process = self.replicas[replica].process.as_mut();
        let Some(process) = process.filter(|process| process.is_stopping) else {
            return Ok(());
        };
        if process.node.may_stop() {
            process.node.stop();
            self.take_outputs(replica)?;
            self.crash(replica, false);
        }
        Ok(())
    }

    pub(super) fn crash(&mut self, replica: usize, power: bool) {
        let is_up = self.replicas[replica].process.is_some();
        if !is_up || (self.wiping.diskless && !self.may_forget(replica)) {
            return;
        }
        self.trace(|| format!("> crash r{replica} power={power}"));
        self.report.crashes += 1;
        if power {
            self.settle_lies(replica);
        }
        let loss = self.replicas[replica].crash(power, &mut self.random);
        self.report.disk_faults.torn += loss.torn;
        self.report.disk_faults.lost += loss.lost;
        self.notice_end(replica, power);
        if self.wiping.diskless {
            self.forget_all(replica);
        }
        let longest = self.random.pick(&[50 * MS, 500 * MS, 3_000 * MS]);
        let after = self.random.between(10 * MS, longest);
        self.schedule(after, Event::Restart { replica });
    }
}
