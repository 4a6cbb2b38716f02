//! The end of a run: the faults are over, a majority is there, and every client must get what it waits for.

use super::{Event, World};
use crate::simulation::client::SimClient;
use crate::simulation::faults::{Links, MS};

impl World {
    /// The faults end. A majority comes back and can hear each other; half of the time the rest stays away for ever.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = true;
        self.trace(|| "the faults have ended".to_owned());
        self.faults.calm();
        self.links = Links::whole(self.replicas.len());
        let count = self.replicas.len();
        let blank = self.blank_replicas();
        let mut with_memory = (0..count).filter(|replica| !blank.contains(replica));
        let founded = with_memory.all(|replica| self.replicas[replica].is_founded());
        // One that is full alone is as good as away (RULES R18): where some are, the others come back.
        let may_stay_away = founded && self.filling.tight_us() == 0;
        let stays_away = self.random.chance(500) && may_stay_away;
        let mut away = if stays_away {
            count - (count / 2 + 1) - blank.len()
        } else {
            0
        };
        for replica in 0..count {
            self.replicas[replica].deaf_until = self.now;
            if away > 0 && !blank.contains(&replica) && self.random.chance(600) {
                away -= 1;
                self.replicas[replica].crash(true, &mut self.random);
                self.events
                    .retain(|_, event| !matches!(event, Event::Restart { replica: other } if *other == replica));
            } else if self.replicas[replica].process.is_none() {
                self.start_replica(replica)?;
            }
        }
        for client in &mut self.clients {
            client.operations_left = client.operations_left.min(10);
            client.wake_up();
        }
        Ok(())
    }

    pub(super) fn is_settled(&self) -> bool {
        if !self.clients.iter().all(SimClient::is_finished) {
            return false;
        }
        let running = || {
            self.replicas
                .iter()
                .filter_map(|replica| replica.process.as_ref())
        };
        if !running().all(|process| process.node.votes()) {
            return false;
        }
        let mut states =
            running().map(|process| (process.node.applied(), process.node.state_hash()));
        let first = states.next();
        states.all(|state| Some(state) == first)
    }

    pub(super) fn what_hangs(&self) -> String {
        let clients: Vec<String> = self.clients.iter().map(SimClient::state).collect();
        let replicas: Vec<String> = self
            .replicas
            .iter()
            .map(|replica| {
                let state = replica.process.as_ref().map(|process| {
                    (
                        process.node.applied().0,
                        process.node.leader(),
                        process.node.votes(),
                        process.node.state_hash(),
                    )
                });
                format!("{} {state:?}", replica.id)
            })
            .collect();
        format!(
            "not done in time: {}; {}",
            clients.join("; "),
            replicas.join("; ")
        )
    }
}

/// How long clients may take after the faults have ended: what they have left, and ten election timeouts.
pub(super) const LIVENESS_US: u64 = 15_000 * MS;
