//! What must hold: at every step of the replicas, and at the end of the history.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::BufWriter;

use client::history::{Kind, Line, Operation, Status, check_key};

use super::World;
use super::calm::{OPERATIONS_MIN, SIMULATED_US_MAX};
use crate::simulation::bugs::Bug;
use crate::simulation::client::SimClient;
use crate::simulation::report::Report;

impl World {
    /// Replicas that applied the same slots are in the same state, at every moment.
    pub(super) fn check_state(&mut self, replica: usize) -> Result<(), String> {
        if self.bug == Some(Bug::AppliesSomethingElse) {
            return Ok(()); // The replicas are to find it by themselves.
        }
        let Some(process) = &self.replicas[replica].process else {
            return Ok(());
        };
        let (applied, hash) = (process.node.applied(), process.node.state_hash());
        if applied.0 > self.report.chosen {
            self.report.chosen = applied.0;
            self.standstill_us = self.standstill_us.max(self.now - self.chosen_at);
            self.chosen_at = self.now;
        }
        (applied, hash).hash(&mut self.hasher);
        let known = *self.states.entry(applied).or_insert(hash);
        if known == hash {
            return Ok(());
        }
        Err(format!(
            "r{replica} has another state than others after {applied} slots"
        ))
    }

    pub(super) fn judge(mut self) -> Result<Report, String> {
        let mut keys: BTreeMap<Vec<u8>, Vec<Operation>> = BTreeMap::new();
        for client in &mut self.clients {
            self.report.operations += client.done;
            self.report.large_values += client.workload.large_values_written;
            check_own_tags(client)?;
            for (key, operation) in client.history.drain(..) {
                keys.entry(key).or_default().push(operation);
            }
        }
        for (key, operations) in keys {
            check_history(&operations).map_err(|error| {
                write_history(&key, &operations);
                format!("key {}: {error}", String::from_utf8_lossy(&key))
            })?;
        }
        self.report.simulated_us = self.now;
        if self.report.operations < OPERATIONS_MIN || self.now > SIMULATED_US_MAX {
            return Err(format!(
                "{} operations in {} us",
                self.report.operations, self.now
            ));
        }
        self.report.trace_hash = self.hasher.finish();
        Ok(self.report)
    }
}

/// Writes the operations of a key to the file that `SIM_HISTORY` names, as `kvpaxos-client check` reads them.
fn write_history(key: &[u8], operations: &[Operation]) {
    let Ok(path) = std::env::var("SIM_HISTORY") else {
        return;
    };
    let mut file = BufWriter::new(File::create(&path).expect("SIM_HISTORY can be written"));
    for operation in operations {
        let line = Line {
            key: key.to_vec(),
            operation: operation.clone(),
            status: operation.returned.map_or(Status::Unknown, |_| Status::Ok),
            ended: operation.returned.unwrap_or(u64::MAX),
        };
        line.write_to(&mut file)
            .expect("SIM_HISTORY can be written");
    }
}

/// Judges the operations of one key. What nobody saw is first taken not to have run, which is quickly judged and mostly so.
fn check_history(operations: &[Operation]) -> Result<(), String> {
    let is_seen =
        |operation: &&Operation| operation.returned.is_some() || was_read(operation, operations);
    let seen: Vec<Operation> = operations.iter().filter(is_seen).cloned().collect();
    check_key(&seen).or_else(|_| check_key(operations))
}

/// Whether somebody read what the operation wrote.
fn was_read(write: &Operation, operations: &[Operation]) -> bool {
    let (Kind::Put { value } | Kind::Append { value, .. }) = &write.kind else {
        return false;
    };
    operations.iter().any(|operation| match &operation.kind {
        Kind::Get { value: Some(read) } => read
            .windows(value.len())
            .any(|part| part == value.as_slice()),
        _ => false,
    })
}

/// The keys to which the client alone appends got only its own appends: each answered one once, in order.
fn check_own_tags(client: &SimClient) -> Result<(), String> {
    let stem = client.workload.own_stem() + ".";
    let mut last_reads: BTreeMap<&[u8], (u64, &[u8])> = BTreeMap::new();
    for (key, operation) in &client.history {
        if let Kind::Get { value } = &operation.kind
            && key.starts_with(stem.as_bytes())
        {
            let read = (operation.called, value.as_deref().unwrap_or_default());
            let last = last_reads.entry(key).or_default();
            *last = read.max(*last);
        }
    }
    for (_, value) in last_reads.values() {
        let text = String::from_utf8_lossy(value);
        let tags: Vec<u64> = text
            .split(';')
            .filter_map(|tag| tag.split_once('.')?.1.parse().ok())
            .collect();
        if !tags.is_sorted_by(|one, next| one < next) {
            return Err(format!("client {}: its own appends are {text}", client.id));
        }
    }
    Ok(())
}
