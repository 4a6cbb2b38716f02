//! What happens on a connection before it is a link: each side says who it is, and judges the other.

use std::time::Instant;

use mio::Token;
use paxos::ReplicaId;

use super::{LinkEvent, Links};
use crate::peers::codec::peer_frame_bytes_max;
use crate::peers::connection::{Connection, Loss, Stage};
use crate::peers::greeting::{GreetingError, PEER_VERSION, PeerGreeting};
use crate::peers::link::{Link, keeps_new, log_up};
impl Links {
    /// What this replica says of itself to a peer.
    pub(super) fn greeting_for(&self, peer: ReplicaId) -> PeerGreeting {
        let seen = self.peers.get(&peer).map(|peer| peer.highest_serial);
        let (seen_incarnation, seen_serial) = seen.unwrap_or_default();
        PeerGreeting {
            version: PEER_VERSION,
            cluster: self.cluster,
            replica: self.settings.replica,
            incarnation: self.incarnation,
            birth: self.settings.birth,
            settings: self.settings.cluster_settings,
            seen_incarnation,
            seen_serial,
        }
    }

    /// The other side said who it is: this connection becomes the link, or it ends.
    pub(super) fn greeted(
        &mut self,
        connection: &mut Connection,
        token: Token,
        greeting: &PeerGreeting,
        now: Instant,
        events: &mut Vec<LinkEvent>,
    ) -> Result<(), Loss> {
        self.judge(connection, greeting)?;
        self.become_link(connection, token, greeting, now, events)
    }

    /// Whether the other side is a member of this cluster under the same settings; notes what else it is.
    fn judge(&mut self, connection: &mut Connection, greeting: &PeerGreeting) -> Result<(), Loss> {
        let id = greeting.replica;
        if let Some(dialed) = connection.dialed.filter(|dialed| *dialed != id) {
            let found = id;
            return Err(GreetingError::WrongReplica { found, dialed }.into());
        }
        let own = self.greeting_for(id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return Err(GreetingError::UnknownReplica { replica: id }.into());
        };
        let founds = self
            .settings
            .members
            .first()
            .is_some_and(|first| first.id == id);
        let checked = own.check(greeting);
        let differs = matches!(&checked, Err(GreetingError::Settings { .. }));
        let elsewhere = match &checked {
            Err(GreetingError::Cluster { found, .. }) => Some(*found),
            _ => None,
        };
        if connection.dialed.is_some() {
            peer.elsewhere = elsewhere;
            let is_unfit = differs && own.cluster == 0 && (greeting.cluster != 0 || founds);
            peer.other_settings = checked.clone().err().filter(|_| is_unfit);
        } else if elsewhere.is_some() || differs {
            // Who dialed may be the one in the wrong place, and can only learn it from the answer.
            connection.greet(&own);
            connection.flush()?;
        }
        Ok(checked?)
    }

    /// Takes the place of an older link to the same peer, if it is the one of two that both sides keep.
    fn become_link(
        &mut self,
        connection: &mut Connection,
        token: Token,
        greeting: &PeerGreeting,
        now: Instant,
        events: &mut Vec<LinkEvent>,
    ) -> Result<(), Loss> {
        let id = greeting.replica;
        let peer = self.peers.get_mut(&id).expect("only a member is fit");
        if peer.highest_serial.0 != greeting.incarnation {
            peer.highest_serial = (greeting.incarnation, 0);
        }
        let dialed_here = connection.dialed.is_some();
        let link = Link {
            token,
            birth: greeting.birth,
            since: now,
            dialed_by_higher: dialed_here == (self.settings.replica > id),
        };
        if let Some(old) = peer.link {
            if !keeps_new(&old, &link) {
                return Err(Loss::Duplicate);
            }
            self.connections.remove(&old.token);
            events.push(LinkEvent::Down(id));
        }
        peer.link = Some(link);
        peer.dialer.forget();
        if dialed_here || link.dialed_by_higher {
            // An attempt that is still under way could only end as the duplicate that both sides drop.
            let attempt = peer.dialing.take().filter(|attempt| *attempt != token);
            attempt.map(|attempt| self.connections.remove(&attempt));
        }
        if !dialed_here {
            let own = self.greeting_for(id);
            connection.greet(&own);
        }
        connection.stage = Stage::Up { peer: id };
        connection
            .incoming
            .set_frame_bytes_max(peer_frame_bytes_max(&self.settings.cluster_settings));
        events.push(LinkEvent::Up(id));
        log_up(connection, greeting);
        Ok(())
    }

    /// The cluster to which a majority of the members belongs, if that is another than this replica's: its files are then
    /// in the wrong place. Only what was heard at the members' own addresses counts, so that nobody who merely connects
    /// can say so.
    #[must_use]
    pub fn majority_elsewhere(&self) -> Option<u64> {
        let majority = self.peers.len().div_ceil(2) + 1;
        let named = self.peers.values().filter_map(|peer| peer.elsewhere);
        named.clone().find(|cluster| {
            let same = named.clone().filter(|other| other == cluster);
            same.count() >= majority
        })
    }

    /// Why this replica is not fit for the cluster that it would belong to: it was started with other settings than the
    /// cluster was founded with, or than the member with the lowest id, which founds it. As above, only what was heard at
    /// the members' own addresses counts.
    #[must_use]
    pub fn other_settings(&self) -> Option<&GreetingError> {
        self.peers
            .values()
            .find_map(|peer| peer.other_settings.as_ref())
    }
}
