//! Which faults a run has, drawn once from its seed.

use super::random::Random;

/// One millisecond in the simulation's unit, which is the microsecond.
pub(super) const MS: u64 = 1_000;

/// What a run is like. Rates are in thousandths.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) replicas: usize,
    pub(super) clients: u64,
    /// Clients that do nothing but read, one at a time, each time from another replica: where a replica lags behind,
    /// they are the ones to see it.
    pub(super) pollers: u64,
    pub(super) pipeline: u64,
    /// How many operations the others do, all together, spread over the time until `end_us`.
    pub(super) operations: u64,
    /// How long a client waits for an answer before it asks elsewhere.
    pub(super) attempt_us: u64,
    /// How long a client waits, at most, before it asks for more.
    pub(super) think_us_max: u64,
    pub(super) reads_through_log: bool,
    /// Writes of values that are long, and how long these are at most.
    pub(super) large_values: u64,
    pub(super) large_value_bytes_max: u64,
    /// Messages between replicas.
    pub(super) loss: u64,
    pub(super) duplication: u64,
    pub(super) delay_us_max: u64,
    pub(super) late: u64,
    pub(super) late_us_max: u64,
    /// Connections of clients that go silent, per message.
    pub(super) broken: u64,
    /// Requests of which a second copy goes to another replica.
    pub(super) copied: u64,
    pub(super) sync_us_max: u64,
    pub(super) slow_sync: u64,
    pub(super) slow_sync_us_max: u64,
    /// Syncs that fail, with the process.
    pub(super) failed_syncs: u64,
    /// The time between two of the faults below.
    pub(super) interval_us: u64,
    /// The first of them. In some runs the cluster is being founded then.
    pub(super) first_us: u64,
    /// They end here, or later if the clients have done too little by then.
    pub(super) end_us: u64,
    pub(super) crashes: bool,
    pub(super) power_cuts: bool,
    pub(super) pauses: bool,
    pub(super) partitions: bool,
    /// Links that are stopped one by one and go on in another order, and links that go down and up.
    pub(super) link_stops: bool,
    /// Clocks that jump, forward and back, per tick of a replica.
    pub(super) clock_jumps: u64,
    pub(super) clock_jump_us_max: u64,
    /// After how many seconds of log time a session is forgotten.
    pub(super) session_expiry_s: u32,
    /// Clients that rest for longer than that, per turn of a client.
    pub(super) naps: u64,
}

impl Faults {
    pub(super) fn draw(random: &mut Random) -> Self {
        let mut sometimes = |per_mille: u64, max: u64| {
            let happens = random.chance(per_mille);
            let rate = random.between(1, max + 1);
            if happens { rate } else { 0 }
        };
        let loss = sometimes(500, 300);
        let duplication = sometimes(500, 500);
        let late = sometimes(500, 100);
        let broken = sometimes(600, 30);
        let copied = sometimes(500, 200);
        let slow_sync = sometimes(500, 50);
        let failed_syncs = sometimes(300, 3);
        let large_values = sometimes(250, 100);
        let interval_us = random.between(100, 2_000) * MS;
        Self {
            replicas: random.pick(&[1, 3, 3, 5, 5, 5, 5, 4]),
            clients: random.between(2, 7),
            pollers: random.between(0, 3),
            pipeline: random.pick(&[1, 2, 4, 8]),
            operations: random.between(1_000, 1_400),
            attempt_us: random.pick(&[500 * MS, 500 * MS, 3_000 * MS]),
            think_us_max: random.pick(&[5 * MS, 20 * MS, 100 * MS]),
            reads_through_log: random.chance(150),
            large_values,
            large_value_bytes_max: random.pick(&[10 << 10, 100 << 10, 900 << 10]),
            loss,
            duplication,
            delay_us_max: random.pick(&[300, 2 * MS, 26 * MS]),
            late,
            late_us_max: random.pick(&[100 * MS, 1_000 * MS, 5_000 * MS]),
            broken,
            copied,
            sync_us_max: random.pick(&[200, 5 * MS, 30 * MS]),
            slow_sync,
            slow_sync_us_max: 800 * MS,
            failed_syncs,
            interval_us,
            first_us: random.pick(&[interval_us, interval_us, interval_us, 10 * MS]),
            end_us: random.between(4_000, 12_000) * MS,
            crashes: random.chance(700),
            power_cuts: random.chance(500),
            pauses: random.chance(400),
            partitions: random.chance(600),
            link_stops: random.chance(400),
            clock_jumps: random.pick(&[0, 0, 2]),
            clock_jump_us_max: random.pick(&[8_000 * MS, 3_600_000 * MS]),
            session_expiry_s: random.pick(&[3_600, 2]),
            naps: random.pick(&[0, 5]),
        }
    }

    /// Clients never rest and clocks never jump: bugs that have nothing to do with sessions are looked for so, because
    /// rests only make rare interleavings rarer.
    pub(super) fn let_sessions_be(&mut self) {
        self.naps = 0;
        self.clock_jumps = 0;
    }

    /// The faults have ended: what is sent arrives, once and soon.
    pub(super) fn calm(&mut self) {
        self.loss = 0;
        self.duplication = 0;
        self.delay_us_max = self.delay_us_max.min(2 * MS);
        self.late = 0;
        self.broken = 0;
        self.copied = 0;
        self.slow_sync = 0;
        self.sync_us_max = self.sync_us_max.min(5 * MS);
        self.failed_syncs = 0;
        self.clock_jumps = 0;
    }
}
