//! A node whose process is about to stop: it hands its leadership over, and sends its clients to the heir (RULES R26).

use common::Refusal;
use paxos::{Ballot, ReplicaId};

use super::{Node, Phase};

/// How far the stopping has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopping {
    /// What this replica proposed is in flight; it is waited for until this tick.
    InFlight { until_tick: u64 },
    /// The heir was told, if there is one, and clients were sent there. Until this tick it may show that it heard.
    HandedOver {
        heir: Option<ReplicaId>,
        given_up: Ballot,
        until_tick: u64,
    },
}

impl Node {
    /// The process is about to stop: nothing more is proposed, and the lead goes to another as soon as nothing is in
    /// flight. Call it once; outputs and ticks go on until [`Node::may_stop`].
    pub fn begin_to_stop(&mut self) {
        if let Phase::Running(replica) = &mut self.phase {
            replica.stand_down();
        }
        self.stopping = Some(Stopping::InFlight {
            until_tick: self.now + IN_FLIGHT_WAIT_TICKS,
        });
    }

    /// Whether the process may end: another replica prepares in place of this one, or that was waited for long enough.
    #[must_use]
    pub fn may_stop(&self) -> bool {
        match self.stopping {
            None | Some(Stopping::InFlight { .. }) => false,
            Some(Stopping::HandedOver {
                heir,
                given_up,
                until_tick,
            }) => heir.is_none() || self.promised() > given_up || self.now >= until_tick,
        }
    }

    /// The process ends now: answers what is held, so that no client hangs. Takes one more output.
    pub fn stop(&mut self) {
        if let Some(Stopping::InFlight { .. }) | None = self.stopping {
            self.give_lead_away();
        }
        self.answer_all_held();
    }

    /// Hands over when nothing is in flight any more, and everything chosen is applied and so answered.
    pub(super) fn go_on_stopping(&mut self) {
        let Some(Stopping::InFlight { until_tick }) = self.stopping else {
            return;
        };
        let waits = self.replica().is_some_and(|replica| {
            replica.has_in_flight() || replica.chosen_watermark() > self.state.applied()
        });
        if waits && self.now < until_tick {
            return;
        }
        self.give_lead_away();
        self.answer_all_held();
    }

    fn give_lead_away(&mut self) {
        let given_up = self.promised();
        let heir = match &mut self.phase {
            Phase::Running(replica) => replica.hand_over_lead(),
            Phase::Founding(_) | Phase::Unfit(_) => None,
        };
        self.stopping = Some(Stopping::HandedOver {
            heir,
            given_up,
            until_tick: self.now + HEIR_WAIT_TICKS,
        });
    }

    /// Another replica is to be asked, if there is one: the heir, whoever leads, or any.
    fn answer_all_held(&mut self) {
        let me = self.settings.replica;
        let members = self.settings.members.iter().copied();
        let others = members.filter(|member| *member != me);
        let heir = match self.stopping {
            Some(Stopping::HandedOver { heir, .. }) => heir,
            None | Some(Stopping::InFlight { .. }) => None,
        };
        let next = heir
            .or_else(|| self.leader().filter(|leader| *leader != me))
            .or_else(|| others.min());
        self.answer_all_with(|proposed| match next {
            Some(next) => Refusal::AskReplica {
                replica: next.0,
                proposed,
            },
            None if proposed => Refusal::NoQuorum { proposed },
            None => Refusal::NotServing {
                reason: "the server is stopping".into(),
            },
        });
    }
}

/// One second, after which a majority that answers has chosen whatever it will choose (RULES R26).
const IN_FLIGHT_WAIT_TICKS: u64 = 100;

/// 200 ms for the heir's Prepare to come back: it shows that the word left the socket and arrived. It takes two messages.
const HEIR_WAIT_TICKS: u64 = 20;
