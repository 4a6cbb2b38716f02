//! Agents that fail on purpose (`--fail-roles`): which, when, and for how long (SPEC D6).
//!
//! It only keeps the time; the replica thread ends the agent, and has the journal read back for its successor.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use paxos::Agent;

use crate::node::Recovery;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingSettings {
    /// Which agents fail; at least one.
    pub agents: Vec<Agent>,
    /// How long all are well between two failures.
    pub every: RangeInclusive<Duration>,
    /// How long a failed one is away, at least; reading the journal back may take longer.
    pub lasts: RangeInclusive<Duration>,
}

/// The course of failures of one replica: one agent at a time, at random times.
#[derive(Debug)]
pub struct Failing {
    settings: FailingSettings,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Well {
        until: Instant,
    },
    Away {
        agent: Agent,
        since: Instant,
        until: Instant,
        read_back: Option<Box<Recovery>>,
    },
}

/// What is due.
#[derive(Debug)]
pub enum Due {
    /// This agent fails.
    Fail(Agent),
    /// A successor takes its place, with what was read back, after so many milliseconds.
    Restore(Agent, Option<Box<Recovery>>, u64),
}

impl Failing {
    /// All agents are well at `now`.
    #[must_use]
    pub fn new(settings: FailingSettings, now: Instant) -> Self {
        let until = now + draw(&settings.every);
        Self {
            settings,
            stage: Stage::Well { until },
        }
    }

    /// What is due at `now`, once. An agent that could not fail is [`Failing::passed_over`].
    pub fn take_due(&mut self, now: Instant) -> Option<Due> {
        match &mut self.stage {
            Stage::Well { until } if now >= *until => {
                let place = rand::random_range(0..self.settings.agents.len());
                let agent = self.settings.agents[place];
                self.stage = Stage::Away {
                    agent,
                    since: now,
                    until: now + draw(&self.settings.lasts),
                    read_back: None,
                };
                Some(Due::Fail(agent))
            }
            Stage::Away {
                agent,
                since,
                until,
                read_back,
            } if now >= *until && (*agent == Agent::Proposer || read_back.is_some()) => {
                let away = u64::try_from(now.duration_since(*since).as_millis());
                let due = Due::Restore(*agent, read_back.take(), away.unwrap_or(u64::MAX));
                self.stage = Stage::Well {
                    until: now + draw(&self.settings.every),
                };
                Some(due)
            }
            Stage::Well { .. } | Stage::Away { .. } => None,
        }
    }

    /// The agent that was due could not fail just now: all stay well for another while.
    pub fn passed_over(&mut self, now: Instant) {
        self.stage = Stage::Well {
            until: now + draw(&self.settings.every),
        };
    }

    /// The journal was read back for the successor of the one that is away.
    pub fn note_read_back(&mut self, recovery: Box<Recovery>) {
        if let Stage::Away { read_back, .. } = &mut self.stage {
            *read_back = Some(recovery);
        }
    }
}

fn draw(range: &RangeInclusive<Duration>) -> Duration {
    rand::random_range(range.clone())
}
