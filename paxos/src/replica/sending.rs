//! How messages get into a turn's output.

use super::Replica;
use crate::ballot::ReplicaId;
use crate::message::{Envelope, Message};

impl Replica {
    pub(super) fn send(&mut self, to: ReplicaId, message: Message) {
        let from = self.config.me;
        debug_assert!(to != from, "{from} sends to itself: {message}");
        self.pending.messages.push(Envelope { from, to, message });
    }

    pub(super) fn send_when_durable(&mut self, to: ReplicaId, message: Message) {
        let from = self.config.me;
        self.pending
            .messages_when_durable
            .push(Envelope { from, to, message });
    }

    pub(super) fn send_to_others(&mut self, message: &Message) {
        let me = self.config.me;
        let others: Vec<ReplicaId> = self
            .configuration
            .members()
            .filter(|member| *member != me)
            .collect();
        for other in others {
            self.send(other, message.clone());
        }
    }
}
