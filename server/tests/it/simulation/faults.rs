//! Which faults a run has, drawn once from its seed.

use std::fmt;

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
    pub(super) operations_per_client: u64,
    /// How long a client waits for an answer before it asks elsewhere.
    pub(super) attempt_us: u64,
    /// How long a client waits, at most, before it asks for more.
    pub(super) think_us_max: u64,
    pub(super) reads_through_log: bool,
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
    /// The time between two of the faults below; all have ended by `end_us`.
    pub(super) interval_us: u64,
    pub(super) end_us: u64,
    pub(super) crashes: bool,
    pub(super) power_cuts: bool,
    pub(super) pauses: bool,
    pub(super) partitions: bool,
    /// Clocks that jump forward, per tick of a replica.
    pub(super) clock_jumps: u64,
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
        Self {
            replicas: random.pick(&[1, 3, 3, 5, 5, 5, 5, 4]),
            clients: random.between(2, 6),
            pollers: random.between(0, 3),
            pipeline: random.pick(&[1, 2, 4, 8]),
            operations_per_client: random.between(60, 240),
            attempt_us: random.pick(&[500 * MS, 500 * MS, 3_000 * MS]),
            think_us_max: random.pick(&[5 * MS, 20 * MS, 100 * MS]),
            reads_through_log: random.chance(150),
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
            interval_us: random.between(100, 2_000) * MS,
            end_us: random.between(4_000, 12_000) * MS,
            crashes: random.chance(700),
            power_cuts: random.chance(500),
            pauses: random.chance(400),
            partitions: random.chance(600),
            clock_jumps: random.pick(&[0, 0, 2]),
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
        self.clock_jumps = 0;
    }
}

/// Which links between replicas carry, each direction by itself.
#[derive(Clone)]
pub(super) struct Links {
    cut: Vec<Vec<bool>>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.cut.iter().enumerate().flat_map(|(from, row)| {
            row.iter()
                .enumerate()
                .filter(|(_, cut)| **cut)
                .map(move |(to, _)| format!("r{from}-x->r{to}"))
        });
        f.debug_list().entries(pairs).finish()
    }
}

impl Links {
    pub(super) fn whole(replicas: usize) -> Self {
        Self {
            cut: vec![vec![false; replicas]; replicas],
        }
    }

    /// `listener` hears only `speaker`.
    pub(super) fn listening_to(replicas: usize, listener: usize, speaker: usize) -> Self {
        let mut links = Self::whole(replicas);
        for (from, row) in links.cut.iter_mut().enumerate() {
            row[listener] = from != listener && from != speaker;
        }
        links
    }

    pub(super) fn carries(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    /// A partition of a drawn shape: groups, single directions, a bridge between two halves, or `lone` by itself.
    pub(super) fn draw(replicas: usize, lone: usize, random: &mut Random) -> Self {
        let mut links = Self::whole(replicas);
        let shape = random.between(0, 4);
        let groups: Vec<u64> = (0..replicas).map(|_| random.between(0, 3)).collect();
        for from in 0..replicas {
            for to in 0..replicas {
                links.cut[from][to] = from != to
                    && match shape {
                        0 => groups[from] != groups[to],
                        1 => random.chance(300),
                        2 => {
                            from != lone
                                && to != lone
                                && groups[from].is_multiple_of(2) != groups[to].is_multiple_of(2)
                        }
                        _ => from == lone || to == lone,
                    };
            }
        }
        links
    }
}
