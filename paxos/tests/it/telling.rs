//! What a cluster knows, as the golden scripts tell it.

use std::fmt::Write as _;

use paxos::{Note, Record, ReplicaId, ResignReason, Role, Slot};

use crate::cluster::Cluster;

/// What a replica knows, as a line.
pub(crate) fn show(cluster: &Cluster, id: ReplicaId) -> String {
    let node = cluster.node(id);
    let Some(replica) = &node.replica else {
        return format!("{id} is down, journal<{}", node.replayable());
    };
    let role = match replica.role() {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let mut text = format!("{id} {role} promised={}", replica.promised());
    let _ = if cluster.settings.sparse {
        let max = replica
            .max()
            .map_or_else(|| "none".to_owned(), |max| max.to_string());
        write!(text, " min={} max={max}", replica.min())
    } else {
        let chosen = replica.chosen_watermark();
        write!(text, " chosen<{chosen} journal<{}", node.replayable())
    };
    let mut also = |what: &str| text.push_str(what);
    if let Some(leader) = replica.leader().filter(|leader| *leader != id) {
        also(&format!(" leader={leader}"));
    }
    if let Some(leader) = replica.leader_elsewhere() {
        also(&format!(" leader-elsewhere={leader}"));
    }
    if !replica.votes() {
        also(" has-no-vote");
    }
    text
}

/// What a replica has forgotten, what its snapshot covers, and whether it lacks what others have forgotten.
pub(crate) fn kept(cluster: &Cluster, id: ReplicaId) -> String {
    let node = cluster.node(id);
    let Some(replica) = &node.replica else {
        return format!("{id} is down");
    };
    let mut text = format!("{id} trimmed<{}", replica.trimmed_watermark());
    if let Some(snapshot) = &node.snapshot {
        let _ = write!(text, " snapshot<{}", snapshot.slot());
    }
    if let Some(wanted) = replica.snapshot_wanted() {
        let _ = write!(text, " wants-snapshot>{} of", wanted.from_slot);
        for peer in wanted.peers {
            let _ = write!(text, " {peer}");
        }
    }
    text
}

/// A line for each batch.
pub(crate) fn journal(cluster: &Cluster, id: ReplicaId) -> Vec<String> {
    let node = cluster.node(id);
    let batches = node.journal.iter().enumerate().map(|(place, batch)| {
        let durable = if place < node.durable {
            "durable"
        } else {
            "waiting"
        };
        let state = batch.state;
        let mut line = format!(
            "{durable} promised={} chosen<{}",
            state.promised, state.chosen_watermark
        );
        if state.forget_watermark > Slot(0) {
            let _ = write!(line, " forget<{}", state.forget_watermark);
        }
        for record in &batch.records {
            let _ = match record {
                Record::Accepted {
                    slot,
                    ballot,
                    command,
                } => {
                    write!(line, " accepted={slot}:{ballot}:{command}")
                }
                Record::Learned { slot, command } => write!(line, " learned={slot}:{command}"),
            };
        }
        line
    });
    batches.collect()
}

pub(crate) fn tell_note(note: Note) -> String {
    match note {
        Note::Canvassing => "asks who would follow".to_owned(),
        Note::Preparing(ballot) => format!("prepares {ballot}"),
        Note::Leading(ballot) => format!("leads {ballot}"),
        Note::Resigned(ballot, ResignReason::HigherBallot) => {
            format!("gives up {ballot} for a higher ballot")
        }
        Note::Resigned(ballot, ResignReason::LostMajority) => {
            format!("gives up {ballot} without a majority")
        }
        Note::Resigned(ballot, ResignReason::NeedsSnapshot) => {
            format!("gives up {ballot} for want of a snapshot")
        }
        Note::Resigned(ballot, ResignReason::Asked) => format!("gives up {ballot} as told"),
        Note::Resigned(ballot, ResignReason::HandsOver) => {
            format!("gives up {ballot} to hand over")
        }
        Note::Resigned(ballot, ResignReason::Failed) => format!("fails in {ballot}"),
        Note::HandedOver(ballot, heir) => format!("hands {ballot} over to {heir}"),
        Note::TakingOver(ballot, leader) => format!("takes over from {leader} in {ballot}"),
        Note::ShortOfSpace(heir) => format!("has less space than {heir}"),
        Note::Following(ballot, leader) => format!("follows {leader} in {ballot}"),
    }
}
