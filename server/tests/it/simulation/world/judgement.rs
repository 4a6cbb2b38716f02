//! What must hold: at every step of the replicas, and at the end of the history.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use client::history::{Kind, Operation, check_key};

use super::World;
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
            check_own_tags(client)?;
            for (key, operation) in client.history.drain(..) {
                keys.entry(key).or_default().push(operation);
            }
        }
        for (key, operations) in keys {
            check_key(&operations)
                .map_err(|error| format!("key {}: {error}", String::from_utf8_lossy(&key)))?;
        }
        self.report.simulated_us = self.now;
        self.report.trace_hash = self.hasher.finish();
        Ok(self.report)
    }
}

/// The client's own key got only its own appends: each answered one once, in order.
fn check_own_tags(client: &SimClient) -> Result<(), String> {
    let own = client.own_key();
    let last_read = client
        .history
        .iter()
        .filter(|(key, _)| *key == own)
        .filter_map(|(_, operation)| match &operation.kind {
            Kind::Get { value } => Some((operation.called, value.clone().unwrap_or_default())),
            _ => None,
        })
        .max();
    let Some((_, value)) = last_read else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&value).into_owned();
    let tags: Vec<u64> = text
        .split(';')
        .filter_map(|tag| tag.split_once('.')?.1.parse().ok())
        .collect();
    let in_order = tags.windows(2).all(|pair| pair[0] < pair[1]);
    if in_order {
        return Ok(());
    }
    Err(format!("client {}: its own appends are {text}", client.id))
}
