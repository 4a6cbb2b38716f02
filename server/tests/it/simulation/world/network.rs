//! Messages between replicas: lost, late, twice, or cut off.

use kvpaxos_server::peers::PeerMessage;
use paxos::{Ballot, Message, ReplicaId};

use super::World;
use super::event::Event;
use super::linking::HELD_MESSAGES_MAX;
use crate::simulation::bugs::Bug;
use crate::simulation::links::Carriage;

impl World {
    /// What a replica addresses to itself goes back into it at once; the rest goes through the network.
    pub(super) fn send_all(&mut self, from: usize, messages: Vec<(ReplicaId, PeerMessage)>) {
        let sender = ReplicaId(from as u8);
        for (to, mut message) in messages {
            if to != sender {
                self.keep_in_memory(&mut message);
            }
            self.trace(|| format!("    {}", describe(sender, to, &message)));
            self.note_leader(&message);
            if let PeerMessage::Agreement(Message::Heartbeat { ballot, nonce, .. }) = &message {
                self.last_nonce.insert(sender, *nonce);
                if self.bug == Some(Bug::LeaderReadsAlone) {
                    self.forge_echoes(from, *ballot, *nonce);
                }
            }
            if to == sender {
                if let Some(process) = &mut self.replicas[from].process {
                    process.node.peer(sender, message);
                    self.want_turn(from);
                }
            } else {
                self.send(sender, usize::from(to.0), message);
            }
        }
    }

    fn send(&mut self, from: ReplicaId, to: usize, message: PeerMessage) {
        let is_deaf = self.replicas[to].deaf_until > self.now;
        let carriage = self.links.at(usize::from(from.0), to);
        if is_deaf || carriage == Carriage::Cut || self.random.chance(self.faults.loss) {
            self.trace(|| format!("        the last one to r{to} is lost"));
            return;
        }
        if carriage == Carriage::Stopped {
            let held = self.held.entry((usize::from(from.0), to)).or_default();
            if held.len() < HELD_MESSAGES_MAX {
                held.push(message);
            }
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.faults.duplication));
        for _ in 0..copies {
            let mut delay = self.random.between(20, 21 + self.faults.delay_us_max);
            if self.random.chance(self.faults.late) {
                // Most of what is late is a little late, and a few messages are very late.
                let longest = self.faults.late_us_max >> self.random.between(0, 8);
                delay += self.random.between(0, longest);
            }
            let message = message.clone();
            self.schedule(delay, Event::Peer { from, to, message });
        }
    }

    /// Counts the ballots that come to be led.
    fn note_leader(&mut self, message: &PeerMessage) {
        if let PeerMessage::Agreement(
            Message::Heartbeat { ballot, .. } | Message::Accept { ballot, .. },
        ) = message
            && *ballot > self.led
        {
            self.report.leader_changes += u64::from(self.led > Ballot::NONE);
            self.led = *ballot;
        }
    }

    pub(super) fn deliver(&mut self, mut from: ReplicaId, to: usize, mut message: PeerMessage) {
        if self.replicas[to].process.is_none() {
            return;
        }
        self.trace(|| {
            format!(
                "> deliver {}",
                describe(from, ReplicaId(to as u8), &message)
            )
        });
        self.spoil_message(&mut from, to, &mut message);
        self.feed(from, to, message);
    }

    pub(super) fn feed(&mut self, from: ReplicaId, to: usize, message: PeerMessage) {
        if let Some(process) = &mut self.replicas[to].process {
            process.node.peer(from, message);
            self.want_turn(to);
        }
    }
}

fn describe(from: ReplicaId, to: ReplicaId, message: &PeerMessage) -> String {
    match message {
        PeerMessage::Agreement(message) => format!("{from} -> {to} {message}"),
        PeerMessage::Forward { requests } => {
            format!("{from} -> {to} Forward ({} bytes)", requests.len())
        }
        other => format!("{from} -> {to} {other:?}"),
    }
}
