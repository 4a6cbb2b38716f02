//! Clients and their connections: what is sent on one arrives in order, or the connection goes silent.

use common::{Answer, Request};
use kvpaxos_server::node::ConnectionId;

use super::World;
use super::event::Event;
use super::spoiling::READ_SERIAL;
use crate::simulation::faults::MS;

#[derive(Debug, Default)]
pub(super) struct Connection {
    life: Option<u64>,
    to_replica_us: u64,
    to_client_us: u64,
}

impl World {
    pub(super) fn wake(&mut self, client: usize) {
        let think_us_max = self.clients[client].think_us_max;
        let think = self.random.between(MS, think_us_max);
        self.schedule(think, Event::Wake { client });
        let sent = self.clients[client].wake(self.now, &mut self.shared);
        let target = self.clients[client].target;
        for (serial, request) in sent {
            let connection = ConnectionId {
                worker: client as u16,
                serial,
            };
            self.trace(|| format!("    c{client} -> r{target} connection={serial} {request}"));
            if self.random.chance(self.faults.copied) {
                self.send_copy(client, &request);
            }
            self.send_request(connection, target, request);
        }
    }

    /// A second copy of a request, on a connection of its own to any replica; its answer is not listened to.
    fn send_copy(&mut self, client: usize, request: &Request) {
        self.clients[client].copied(request.tag());
        let replica = self.random.between(0, self.replicas.len() as u64) as usize;
        let connection = ConnectionId {
            worker: client as u16,
            serial: (1 << 32) + self.scheduled,
        };
        self.send_request(connection, replica, request.clone());
    }

    fn send_request(&mut self, connection: ConnectionId, replica: usize, request: Request) {
        if self.random.chance(self.faults.broken) {
            self.silent.insert(connection);
            let after = self.random.between(MS, 2_000 * MS);
            self.schedule(
                after,
                Event::Gone {
                    connection,
                    replica,
                },
            );
        }
        let delay = self.random.between(20, 21 + self.faults.delay_us_max);
        let state = self.connections.entry(connection).or_default();
        state.to_replica_us = state.to_replica_us.max(self.now + delay) + 1;
        let delay = state.to_replica_us - self.now;
        let event = Event::Request {
            connection,
            replica,
            request,
        };
        self.schedule(delay, event);
    }

    pub(super) fn deliver_request(
        &mut self,
        connection: ConnectionId,
        replica: usize,
        request: Request,
    ) {
        let life = self.replicas[replica].life;
        let state = self.connections.entry(connection).or_default();
        let reached = *state.life.get_or_insert(life);
        if self.replicas[replica].process.is_none() || reached != life {
            self.schedule(MS, Event::Closed { connection });
            return;
        }
        if self.silent.contains(&connection) {
            return;
        }
        let (connection, request) = self.spoil_request(connection, request);
        self.trace(|| format!("> deliver c{} -> r{replica} {request}", connection.worker));
        let node = &mut self.replicas[replica].running().node;
        node.client(connection, request);
        self.want_turn(replica);
    }

    pub(super) fn send_answer(&mut self, mut connection: ConnectionId, answer: Answer) {
        connection.serial &= !READ_SERIAL;
        if connection.serial >= 1 << 32 {
            return;
        }
        if self.random.chance(self.faults.broken) {
            self.silent.insert(connection);
        }
        let delay = self.random.between(20, 21 + self.faults.delay_us_max);
        let state = self.connections.entry(connection).or_default();
        state.to_client_us = state.to_client_us.max(self.now + delay) + 1;
        let delay = state.to_client_us - self.now;
        self.schedule(delay, Event::Answer { connection, answer });
    }

    pub(super) fn deliver_answer(
        &mut self,
        connection: ConnectionId,
        answer: &Answer,
    ) -> Result<(), String> {
        if self.silent.contains(&connection) {
            return Ok(());
        }
        let client = usize::from(connection.worker);
        self.trace(|| {
            format!(
                "> deliver -> c{client} connection={} {answer}",
                connection.serial
            )
        });
        self.clients[client].standstill_us = self.standstill_us;
        self.clients[client].answered(connection.serial, answer, self.now, &mut self.shared)
    }
}
