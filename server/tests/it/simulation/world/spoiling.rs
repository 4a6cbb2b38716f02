//! Planted bugs of the network and of the clients: what they make of a message or a request.

use common::{Answer, Outcome, Request, WriteRef};
use kvpaxos_server::node::ConnectionId;
use kvpaxos_server::peers::PeerMessage;
use paxos::{Command, Message, ReplicaId, Slot};

use super::World;
use crate::simulation::bugs::{Bug, hide_what_is_forgotten};

impl World {
    /// What arrives under a planted bug.
    pub(super) fn spoil_message(
        &mut self,
        from: &mut ReplicaId,
        to: usize,
        message: &mut PeerMessage,
    ) {
        match self.bug {
            Some(Bug::QuorumOffByOne) => self.vote_again(*from, to, message),
            Some(Bug::WatermarkAcrossBallots) => self.believe_watermark(*from, to, message),
            Some(Bug::EchoReused) => self.renew_echo(to, message),
            Some(Bug::HoleSkipped) => self.skip_hole(*from, to, message),
            Some(Bug::NobodyTeaches) => teach_nothing(message),
            Some(Bug::AppliesInHashOrder) => change_order(to, message),
            Some(Bug::AppliesSomethingElse) if to == 0 => change_last_byte(message),
            Some(Bug::PromiseWithoutAccepted) => forget_accepted(message),
            Some(Bug::PromiseBelowTrimPoint) => hide_what_is_forgotten(message),
            Some(Bug::LowerBallotAccepted) => self.raise_ballot(to, from, message),
            _ => {}
        }
    }

    /// The planted bugs of the client's side.
    pub(super) fn spoil_request(
        &self,
        mut connection: ConnectionId,
        mut request: Request,
    ) -> (ConnectionId, Request) {
        match (self.bug, &mut request) {
            (Some(Bug::HighestNumberSessions), Request::Write { write, .. }) => {
                write.floor = write.sequence;
            }
            (Some(Bug::WritesUnordered), Request::Write { write, .. }) => write.after = 0,
            (Some(Bug::TwoSessionsInOneBatch), Request::Write { write, .. }) => {
                let other = self.aliases.get(&write.session);
                write.session = other.copied().unwrap_or(write.session);
            }
            (Some(Bug::ReadOvertakesWrite), Request::Get { .. })
            | (Some(Bug::WriteOvertakesRead), Request::Write { .. }) => {
                connection.serial |= READ_SERIAL;
            }
            _ => {}
        }
        (connection, request)
    }

    pub(super) fn forge_echoes(&mut self, leader: usize, ballot: paxos::Ballot, nonce: u64) {
        for voter in self.voters() {
            let echo = Message::Echo {
                ballot,
                nonce,
                incarnation: voter.1,
                durable_watermark: Slot(0),
                space: paxos::Space::Ample,
            };
            self.feed(voter.0, leader, PeerMessage::Agreement(echo));
        }
    }

    fn vote_again(&mut self, from: ReplicaId, to: usize, message: &PeerMessage) {
        if let PeerMessage::Agreement(Message::Accepted {
            ballot,
            slots,
            durable_watermark,
            ..
        }) = message
            && let Some((other, incarnation)) =
                self.voters().into_iter().find(|(voter, _)| *voter != from)
        {
            let again = Message::Accepted {
                ballot: *ballot,
                incarnation,
                slots: slots.clone(),
                durable_watermark: *durable_watermark,
            };
            self.feed(other, to, PeerMessage::Agreement(again));
        }
    }

    fn believe_watermark(&mut self, from: ReplicaId, to: usize, message: &PeerMessage) {
        let PeerMessage::Agreement(
            Message::Accept {
                chosen_watermark, ..
            }
            | Message::Heartbeat {
                chosen_watermark, ..
            }
            | Message::Advance {
                chosen_watermark, ..
            },
        ) = message
        else {
            return;
        };
        let believed: Vec<_> = self.replicas[to]
            .accepted
            .range(..*chosen_watermark)
            .rev()
            .take(8)
            .map(|(slot, command)| (*slot, command.clone()))
            .collect();
        for (slot, command) in believed {
            let chosen = Message::Chosen {
                from_slot: slot,
                commands: vec![command],
                chosen_watermark: Slot(0),
                trimmed_watermark: Slot(0),
            };
            self.feed(from, to, PeerMessage::Agreement(chosen));
        }
    }

    /// [`Bug::TwoSessionsInOneBatch`]: what is answered at once came from one batch.
    pub(super) fn spoil_answers(&mut self, answers: &[(ConnectionId, Answer)]) {
        if self.bug != Some(Bug::TwoSessionsInOneBatch) {
            return;
        }
        let mut opened = answers
            .iter()
            .filter_map(|(_, answer)| match answer.outcome {
                Outcome::SessionOpened { session, .. } => Some(session),
                _ => None,
            });
        if let Some(first) = opened.next() {
            self.aliases.extend(opened.map(|session| (session, first)));
        }
    }

    fn renew_echo(&self, to: usize, message: &mut PeerMessage) {
        if let PeerMessage::Agreement(Message::Echo { nonce, .. }) = message
            && let Some(last) = self.last_nonce_of(ReplicaId(to as u8))
        {
            *nonce = last;
        }
    }

    fn skip_hole(&mut self, from: ReplicaId, to: usize, message: &PeerMessage) {
        let (
            PeerMessage::Agreement(
                Message::Advance {
                    chosen_watermark, ..
                }
                | Message::Heartbeat {
                    chosen_watermark, ..
                },
            ),
            Some(process),
        ) = (message, &self.replicas[to].process)
        else {
            return;
        };
        let hole = process.node.applied();
        if hole < *chosen_watermark && !self.replicas[to].accepted.contains_key(&hole) {
            let chosen = Message::Chosen {
                from_slot: hole,
                commands: vec![Command::Noop],
                chosen_watermark: Slot(0),
                trimmed_watermark: Slot(0),
            };
            self.feed(from, to, PeerMessage::Agreement(chosen));
        }
    }

    fn raise_ballot(&self, to: usize, from: &mut ReplicaId, message: &mut PeerMessage) {
        let promised = self.replicas[to]
            .process
            .as_ref()
            .map(|process| process.node.promised());
        if let PeerMessage::Agreement(Message::Accept { ballot, .. }) = message
            && let Some(promised) = promised.filter(|promised| promised > ballot)
        {
            *ballot = promised;
            *from = promised.replica;
        }
    }

    /// The nonce of the last heartbeat that a replica sent.
    fn last_nonce_of(&self, replica: ReplicaId) -> Option<u64> {
        self.last_nonce.get(&replica).copied()
    }

    /// The members and the lives in which they vote, as far as they are running and founded.
    fn voters(&self) -> Vec<(ReplicaId, paxos::Incarnation)> {
        self.replicas
            .iter()
            .filter_map(|replica| replica.process.as_ref())
            .map(|process| process.node.identity())
            .map(|identity| (identity.replica, identity.incarnation))
            .collect()
    }
}

/// A batch that ends with a value ends with another one.
fn change_last_byte(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Accept { command, .. }) = message
        && let Command::Opaque(bytes) = command
        && bytes.ends_with(b";")
    {
        let mut other = bytes.to_vec();
        other.pop();
        other.push(b',');
        *command = Command::Opaque(other.into());
    }
}

/// The last two requests of a batch change places, at every other replica.
fn change_order(to: usize, message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Accept { command, .. }) = message
        && let Command::Opaque(bytes) = command
        && to.is_multiple_of(2)
        && let Some((head, [.., one, last])) = split_batch(bytes)
            .as_ref()
            .map(|(head, items)| (head, &items[..]))
    {
        let others = &bytes[..bytes.len() - one.len() - last.len()];
        assert!(others.starts_with(head), "a batch begins with its head");
        *command = Command::Opaque([others, last, one].concat().into());
    }
}

/// The head of a batch and its requests, if it holds nothing else.
fn split_batch(bytes: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (head, mut rest) = bytes.split_at_checked(BATCH_HEAD_BYTES)?;
    let mut items = Vec::new();
    while let Some(kind) = rest.first() {
        let mut after = &rest[1..];
        match kind {
            1 => after = after.get(8..)?,
            2 => {
                WriteRef::decode(&mut after).ok()?;
            }
            _ => return None,
        }
        items.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    Some((head, items))
}

fn teach_nothing(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Chosen { commands, .. }) = message {
        commands.clear();
    }
}

fn forget_accepted(message: &mut PeerMessage) {
    if let PeerMessage::Agreement(Message::Promise { accepted, .. }) = message {
        accepted.clear();
    }
}

/// Version and log time.
const BATCH_HEAD_BYTES: usize = 9;

/// Marks a connection that [`Bug::ReadOvertakesWrite`] made up.
pub(super) const READ_SERIAL: u64 = 1 << 40;
