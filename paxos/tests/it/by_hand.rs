//! One replica that is spoken to with messages made by hand, and what it did about them.

use paxos::{
    AcceptedCommand, Ballot, Command, Config, Configuration, Envelope, Incarnation, Message,
    Output, Recovered, Replica, ReplicaId, Role, Slot,
};

use crate::cluster::word;

pub(crate) fn config(id: u8) -> Config {
    Config::new(ReplicaId(id), Incarnation(u64::from(id)), 5)
}

pub(crate) fn configuration(members: u8) -> Configuration {
    let members: Vec<_> = (0..members)
        .map(|id| (ReplicaId(id), Incarnation(u64::from(id))))
        .collect();
    Configuration::founded(&members)
}

/// One of three, which knows nothing yet.
pub(crate) fn replica(id: u8) -> Replica {
    Replica::new(config(id), configuration(3), Recovered::new())
}

/// Replica 0 of so many, which has asked for promises; nobody has promised yet, and its own is not durable.
pub(crate) fn candidate(members: u8) -> (Replica, Ballot) {
    let replica = Replica::new(config(0), configuration(members), Recovered::new());
    let (mut candidate, ballot) = until_candidate(replica, members);
    let own = promise(ballot, 0, &[]);
    candidate.step(Envelope {
        from: ReplicaId(0),
        to: ReplicaId(0),
        message: own,
    });
    (candidate, ballot)
}

/// Lets time pass until all have said that they would follow.
pub(crate) fn until_candidate(mut replica: Replica, members: u8) -> (Replica, Ballot) {
    for _ in 0..100 {
        replica.tick();
        let asked = replica.take_output().messages;
        let canvass = asked
            .into_iter()
            .find_map(|envelope| match envelope.message {
                Message::Canvass { nonce, .. } => Some((envelope.from, nonce)),
                _ => None,
            });
        let Some((me, nonce)) = canvass else {
            continue;
        };
        for from in (0..members).map(ReplicaId).filter(|from| *from != me) {
            let message = Message::CanvassReply {
                nonce,
                follow: true,
                incarnation: Incarnation(u64::from(from.0)),
                leader: None,
                chosen_watermark: Slot(0),
            };
            replica.step(Envelope {
                from,
                to: me,
                message,
            });
        }
        let prepared = replica.take_output().messages;
        let ballot = prepared
            .into_iter()
            .find_map(|envelope| match envelope.message {
                Message::Prepare { ballot, .. } => Some(ballot),
                _ => None,
            });
        return (replica, ballot.expect("all would follow"));
    }
    panic!("it never asks who would follow");
}

/// Replica 0 of so many, which found nothing.
pub(crate) fn leader(members: u8) -> (Replica, Ballot) {
    let (mut leader, own) = candidate(members);
    for from in 1..members {
        let _ = hear(&mut leader, from, promise(own, from, &[]));
    }
    assert_eq!(leader.role(), Role::Leader);
    (leader, own)
}

/// What replica 0 does about one message.
pub(crate) fn hear(replica: &mut Replica, from: u8, message: Message) -> Output {
    replica.step(Envelope {
        from: ReplicaId(from),
        to: ReplicaId(0),
        message,
    });
    replica.take_output()
}

pub(crate) fn ballot(round: u64, id: u8) -> Ballot {
    Ballot {
        round,
        replica: ReplicaId(id),
        birth: 5,
    }
}

pub(crate) fn prepare(ballot: Ballot, from_slot: u64) -> Message {
    Message::Prepare {
        ballot,
        from_slot: Slot(from_slot),
    }
}

pub(crate) fn accept(ballot: Ballot, slot: u64, text: &str) -> Message {
    Message::Accept {
        ballot,
        slot: Slot(slot),
        command: word(text),
        chosen_watermark: Slot(0),
    }
}

pub(crate) fn promise(ballot: Ballot, from: u8, accepted: &[AcceptedCommand]) -> Message {
    Message::Promise {
        ballot,
        incarnation: Incarnation(u64::from(from)),
        from_slot: Slot(0),
        part: 0,
        parts: 1,
        accepted: accepted.to_vec(),
        chosen_watermark: Slot(0),
        trimmed_watermark: Slot(0),
    }
}

pub(crate) fn accepted(ballot: Ballot, from: u8, slot: Slot) -> Message {
    Message::Accepted {
        ballot,
        incarnation: Incarnation(u64::from(from)),
        slots: vec![slot],
        durable_watermark: Slot(0),
    }
}

pub(crate) fn entry(slot: u64, ballot: Ballot, text: &str) -> AcceptedCommand {
    AcceptedCommand {
        slot: Slot(slot),
        ballot,
        command: word(text),
    }
}

/// What was sent without waiting for the disk.
pub(crate) fn sent(output: &Output) -> Vec<Message> {
    let messages = output.messages.iter();
    messages.map(|envelope| envelope.message.clone()).collect()
}

/// What was proposed to replica 1.
pub(crate) fn proposals(output: &Output) -> Vec<(Slot, Command)> {
    let to_one = output
        .messages
        .iter()
        .filter(|envelope| envelope.to == ReplicaId(1));
    to_one
        .filter_map(|envelope| match &envelope.message {
            Message::Accept { slot, command, .. } => Some((*slot, command.clone())),
            _ => None,
        })
        .collect()
}

pub(crate) fn promises(output: &Output) -> usize {
    let messages = output.messages_when_durable.iter();
    let promises = messages.filter(|envelope| matches!(envelope.message, Message::Promise { .. }));
    promises.count()
}

pub(crate) fn reported(output: &Output) -> Vec<AcceptedCommand> {
    let messages = output.messages_when_durable.iter();
    messages
        .filter_map(|envelope| match &envelope.message {
            Message::Promise { accepted, .. } => Some(accepted.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

/// The slots confirmed to others.
pub(crate) fn accepted_slots(output: &Output) -> Vec<Slot> {
    let messages = output.messages_when_durable.iter();
    messages
        .filter(|envelope| envelope.to != envelope.from)
        .filter_map(|envelope| match &envelope.message {
            Message::Accepted { slots, .. } => Some(slots.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}
