//! kvpaxos, as `deploy.sh` starts it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::children::{Runner, Server, command};
use crate::cluster::{
    Cluster, FILLED_WITHIN, Place, READY_WITHIN, Report, address, addresses, limit, report_of,
};
use crate::plan::{Setting, Work};
use crate::trouble::Trouble;

/// How long a replica may take to say whether it serves.
const HEALTH_WITHIN: Duration = Duration::from_secs(30);

/// How many clients fill in keys, and for how long they then read, as the load generator must measure something.
const FILLING: [&str; 4] = ["--clients", "64", "--seconds", "0.05"];

/// Our replicas that run.
#[derive(Debug)]
pub(crate) struct Kvpaxos {
    servers: Vec<Server>,
    client: PathBuf,
    tcp_endpoints: String,
    /// Those that the load goes to, and over what.
    endpoints: String,
    protocol: &'static str,
    setting: Setting,
}

impl Kvpaxos {
    /// Replicas whose clients talk over `protocol`, as the client names it.
    ///
    /// # Errors
    /// They do not serve.
    pub(crate) fn start(place: &mut Place<'_>, protocol: &'static str) -> Result<Self, Trouble> {
        let replicas = place.setting.replicas as usize;
        let tcp_ports = place.ports.free(replicas)?;
        let udp_ports = place.ports.free(replicas)?;
        let peer_ports = place.ports.free(replicas)?;
        let members = peer_ports.iter().enumerate();
        let members: Vec<String> = members
            .map(|(id, &port)| format!("{id}={}", address(port)))
            .collect();
        let program = place.programs.find("kvpaxos-server")?;
        let mut servers = Vec::new();
        for id in 0..replicas {
            let name = format!("replica-{id}");
            let mut command = command(&program);
            command.args(["--id", &id.to_string(), "--members", &members.join(",")]);
            command.args([
                "--tcp",
                &address(tcp_ports[id]),
                "--udp",
                &address(udp_ports[id]),
            ]);
            command.arg("--data").arg(place.directory_for(&name)?);
            servers.push(Server::start(&name, place.directory, command)?);
        }
        for &port in &tcp_ports {
            let mut ask = command(&program);
            ask.args(["--health", "--tcp", &address(port)]);
            place
                .runner
                .wait_until("kvpaxos serves", READY_WITHIN, &mut servers, || {
                    Ok(place.runner.run(&mut ask, HEALTH_WITHIN).is_ok())
                })?;
        }
        let tcp_endpoints = addresses(&tcp_ports);
        let endpoints = match protocol {
            "udp" => addresses(&udp_ports),
            _ => tcp_endpoints.clone(),
        };
        Ok(Self {
            servers,
            client: place.programs.find("kvpaxos-client")?,
            tcp_endpoints,
            endpoints,
            protocol,
            setting: place.setting,
        })
    }

    fn bench(&self, endpoints: &str, operation: &str) -> Command {
        let mut command = command(&self.client);
        command.args(["--endpoints", endpoints, "--json"]);
        command.args(["bench", "--op", operation]);
        command.args(["--keys", &self.setting.keys.to_string()]);
        command.args(["--value-bytes", &self.setting.value_bytes.to_string()]);
        command
    }
}

impl Cluster for Kvpaxos {
    fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// The load generator fills in what it is to read.
    fn fill_in(&self, runner: &Runner) -> Result<(), Trouble> {
        let mut bench = self.bench(&self.tcp_endpoints, "get");
        runner.run(bench.args(FILLING), FILLED_WITHIN).map(|_| ())
    }

    fn load(
        &self,
        runner: &Runner,
        work: &Work,
        seconds: f64,
        _expected_ops_per_s: Option<f64>,
    ) -> Result<Report, Trouble> {
        let mut bench = self.bench(&self.endpoints, work.operation.name());
        bench.args(["--no-fill", "--protocol", self.protocol]);
        bench.args(["--clients", &work.clients.to_string()]);
        bench.args(["--pipeline", &work.pipeline.to_string()]);
        bench.args(["--seconds", &seconds.to_string()]);
        report_of(&runner.run(&mut bench, limit(seconds))?)
    }
}
