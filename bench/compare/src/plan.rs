//! What is measured, and in which order.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::system::System;

/// How many members a replicated system has, unless that is what a sweep varies.
pub(crate) const FULL: u32 = 5;

/// How many clients send how much at once in the row with pipelining.
const PIPELINED: (u32, u32) = (64, 16);

/// How many clients there are where a sweep varies something else.
pub(crate) const SWEEP_CLIENTS: u32 = 64;

/// A plot against the number of clients has more points than the table.
const CLIENTS_SWEPT: [u32; 5] = [1, 4, 16, 64, 256];
const REPLICAS_SWEPT: [u32; 3] = [1, 3, FULL];
const VALUE_BYTES_SWEPT: [u32; 4] = [10, 100, 1_000, 10_000];
const KEYS_SWEPT: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Fewer than elsewhere: long values of all keys would be gigabytes on each of five.
pub(crate) const VALUE_SWEEP_KEYS: u32 = 10_000;

/// What a system is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) replicas: u32,
    pub(crate) value_bytes: u32,
    /// All are there before anything is measured.
    pub(crate) keys: u32,
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    Put,
    /// Linearizable where a system has that.
    Get,
}

impl Operation {
    /// As the drivers have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// What is measured in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Work {
    #[serde(rename = "op")]
    pub(crate) operation: Operation,
    pub(crate) pipeline: u32,
    pub(crate) clients: u32,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, clients) = (self.operation.name(), self.clients);
        let plural = if clients == 1 { "" } else { "s" };
        write!(f, "{operation}, {clients} client{plural}")?;
        if self.pipeline > 1 {
            write!(f, " x {}", self.pipeline)?;
        }
        Ok(())
    }
}

/// What a measurement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// Table and plots.
    Table,
    /// Plots alone.
    Sweep,
}

/// What each system is started for once in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) purpose: Purpose,
    pub(crate) setting: Setting,
    pub(crate) works: Vec<Work>,
}

/// All that a run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) seconds: f64,
    pub(crate) warm_up_seconds: f64,
    /// What each round has.
    pub(crate) rounds: Vec<Vec<Stage>>,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments, systems: Vec<System>) -> Self {
        let base = Setting {
            replicas: FULL,
            value_bytes: arguments.value_bytes,
            keys: arguments.keys(),
        };
        let clients = arguments.clients();
        let table = vec![table_stage(base, &clients)];
        let sweeps = sweep_stages(base, &clients);
        let mut rounds = vec![table; arguments.rounds() as usize];
        rounds.extend(vec![sweeps; arguments.sweep_rounds() as usize]);
        Self {
            systems,
            seconds: arguments.seconds(),
            warm_up_seconds: arguments.warm_up(),
            rounds,
        }
    }
}

fn table_stage(setting: Setting, clients: &[u32]) -> Stage {
    let mut works = works(Operation::Put, clients);
    works.extend(self::works(Operation::Get, clients));
    let (clients, pipeline) = PIPELINED;
    works.push(Work {
        operation: Operation::Put,
        pipeline,
        clients,
    });
    Stage {
        purpose: Purpose::Table,
        setting,
        works,
    }
}

fn works(operation: Operation, clients: &[u32]) -> Vec<Work> {
    let work = |&clients| Work {
        operation,
        pipeline: 1,
        clients,
    };
    clients.iter().map(work).collect()
}

/// What the table has, or another sweep, is not measured again.
fn sweep_stages(base: Setting, table_clients: &[u32]) -> Vec<Stage> {
    let sweep = |setting, works| Stage {
        purpose: Purpose::Sweep,
        setting,
        works,
    };
    let mut more_clients = CLIENTS_SWEPT.to_vec();
    more_clients.retain(|clients| !table_clients.contains(clients));
    let mut stages = Vec::new();
    if !more_clients.is_empty() {
        let puts = works(Operation::Put, &more_clients);
        let gets = works(Operation::Get, &more_clients);
        stages.push(sweep(base, [puts, gets].concat()));
    }
    let mut settings = vec![base];
    for setting in swept_settings(base) {
        if !settings.contains(&setting) {
            settings.push(setting);
            stages.push(sweep(setting, works(Operation::Put, &[SWEEP_CLIENTS])));
        }
    }
    stages
}

/// In each something else than the number of clients is not as in the table.
fn swept_settings(base: Setting) -> impl Iterator<Item = Setting> {
    let replicas = REPLICAS_SWEPT.map(|replicas| Setting { replicas, ..base });
    let value_bytes = VALUE_BYTES_SWEPT.map(|value_bytes| Setting {
        value_bytes,
        keys: VALUE_SWEEP_KEYS,
        ..base
    });
    let keys = KEYS_SWEPT.map(|keys| Setting { keys, ..base });
    replicas.into_iter().chain(value_bytes).chain(keys)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(arguments: &[&str]) -> Plan {
        let arguments = Arguments::parse_from([&["compare"], arguments].concat());
        Plan::new(&arguments, System::ALL.to_vec())
    }

    #[test]
    fn rounds_of_the_table_come_before_those_of_the_sweeps() {
        let plan = plan(&["--rounds", "2", "--sweep-rounds", "1", "--clients", "1,64"]);
        let purposes: Vec<_> = plan.rounds.iter().map(|stages| stages[0].purpose).collect();
        assert_eq!(purposes, [Purpose::Table, Purpose::Table, Purpose::Sweep]);
        let rows: Vec<_> = plan.rounds[0][0]
            .works
            .iter()
            .map(Work::to_string)
            .collect();
        let expected = [
            "put, 1 client",
            "put, 64 clients",
            "get, 1 client",
            "get, 64 clients",
            "put, 64 clients x 16",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_sweep_measures_nothing_twice() {
        for arguments in [
            &["--clients", "1,4,16,64,256"][..],
            &["--keys", "10000"],
            &[],
        ] {
            let mut all = Vec::new();
            let sweeps = [&["--rounds", "1", "--sweep-rounds", "1"], arguments].concat();
            for stage in plan(&sweeps).rounds.into_iter().flatten() {
                assert!(!stage.works.is_empty());
                all.extend(stage.works.iter().map(|work| (stage.setting, *work)));
            }
            for (at, one) in all.iter().enumerate() {
                assert!(!all[..at].contains(one), "{one:?}");
            }
        }
    }
}
