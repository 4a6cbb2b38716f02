//! How a node comes to take part: by the founding record that it had, or by the one that its founding ends with.

use log::{error, info, warn};
use paxos::{Config, Configuration, Recovered, Replica};

use super::founding::FoundingStep;
use super::{Node, Phase, State};
use crate::identity::FoundingRecord;
use crate::peers::PeerMessage;

impl Node {
    pub(super) fn become_running(
        &mut self,
        founding: &FoundingRecord,
        configuration: Option<Configuration>,
        log: Recovered,
    ) {
        let mut config = Config::new(
            self.settings.replica,
            self.identity.incarnation,
            self.settings.birth,
        );
        config.window = u64::from(founding.settings.window);
        let configuration =
            configuration.unwrap_or_else(|| Configuration::founded(&founding.members));
        info!(
            "{} of cluster {:016x} starts with {} slots applied",
            self.settings.replica,
            founding.cluster,
            log.chosen_watermark()
        );
        config.kept_bytes_max = self.kept_log_bytes_max.unwrap_or(config.kept_bytes_max);
        self.phase = Phase::Running(Box::new(Replica::new(config, configuration, log)));
        self.pass_on_space();
    }

    pub(super) fn take_founding_step(&mut self, step: FoundingStep) {
        match step {
            FoundingStep::Wait => {}
            FoundingStep::Join(record) if record.settings != self.settings.cluster => {
                self.become_unfit(format!(
                    "the cluster is bound to {:?}, and this replica was started with {:?}",
                    record.settings, self.settings.cluster
                ));
            }
            FoundingStep::Join(record) => self.write_founding(record),
        }
    }

    /// The record is in force when it is durable; then it also goes round, if this replica made it.
    fn write_founding(&mut self, record: FoundingRecord) {
        let Phase::Founding(founding) = &mut self.phase else {
            unreachable!("only a replica that is being founded joins");
        };
        founding.settle();
        self.identity.founding = Some(record.clone());
        self.out.identity = Some(self.identity.clone());
        let me = self.settings.replica;
        self.out
            .send_when_durable
            .push((me, PeerMessage::Founded { nonce: 0, record }));
    }

    /// The founding record of this replica is durable.
    pub(super) fn join_cluster(&mut self, message: PeerMessage) {
        let PeerMessage::Founded { record, .. } = message else {
            warn!(
                "{} sent itself {message:?} before its founding",
                self.settings.replica
            );
            return;
        };
        let own = (self.settings.replica, self.identity.incarnation);
        let (cluster, members) = (record.cluster, record.members.len());
        let word = if members == 1 { "member" } else { "members" };
        info!("this replica belongs to cluster {cluster:016x} of {members} {word}");
        self.state = State::new(record.settings);
        self.become_running(&record, None, Recovered::new());
        if !record.members.contains(&own) {
            self.become_learner(format!(
                "cluster {cluster:016x} was founded with another life of it, whose memory is lost"
            ));
        }
    }

    pub(super) fn become_unfit(&mut self, reason: String) {
        error!("{} stays silent: {reason}", self.settings.replica);
        self.phase = Phase::Unfit(reason);
    }
}
