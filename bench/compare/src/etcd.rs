//! etcd, as its Debian package comes: every write is on the disks of a majority when it is answered, every read linearizable.

use std::path::PathBuf;
use std::process::Command;

use crate::children::{Runner, Server, command};
use crate::cluster::{Cluster, FILLED_WITHIN, Place, Report, address, addresses, limit, report_of};
use crate::plan::{Setting, Work};
use crate::trouble::Trouble;

/// etcd keeps every version of a key, and refuses writes when its file is 2 GiB long, its default.
const FILE_BYTES_MAX: &str = "8589934592";

/// Members of etcd that run.
#[derive(Debug)]
pub(crate) struct Etcd {
    servers: Vec<Server>,
    endpoints: String,
    load: PathBuf,
    setting: Setting,
}

impl Etcd {
    /// # Errors
    /// A member cannot be started. Whether they serve is seen when they are filled in.
    pub(crate) fn start(place: &mut Place<'_>) -> Result<Self, Trouble> {
        let members = place.setting.replicas as usize;
        let client_ports = place.ports.free(members)?;
        let peer_ports = place.ports.free(members)?;
        let url = |port: u16| format!("http://{}", address(port));
        let named = peer_ports.iter().enumerate();
        let cluster: Vec<String> = named
            .map(|(id, port)| format!("m{id}={}", url(*port)))
            .collect();
        let program = place.programs.find("etcd")?;
        let mut servers = Vec::new();
        for id in 0..members {
            let (client, peer) = (url(client_ports[id]), url(peer_ports[id]));
            let name = format!("m{id}");
            let mut command = command(&program);
            command.arg("--data-dir").arg(place.directory_for(&name)?);
            command.args(["--name", &name]);
            command.args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ]);
            command.args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ]);
            command.args([
                "--initial-cluster",
                &cluster.join(","),
                "--initial-cluster-state",
                "new",
            ]);
            command.args(["--quota-backend-bytes", FILE_BYTES_MAX, "--logger", "zap"]);
            servers.push(Server::start(
                &format!("etcd-{id}"),
                place.directory,
                command,
            )?);
        }
        Ok(Self {
            servers,
            endpoints: addresses(&client_ports),
            load: place.programs.find("etcd-load")?,
            setting: place.setting,
        })
    }

    fn driver(&self, operation: &str) -> Command {
        let mut command = command(&self.load);
        command.args(["--endpoints", &self.endpoints, "--op", operation]);
        command.args(["--keys", &self.setting.keys.to_string()]);
        command.args(["--value-bytes", &self.setting.value_bytes.to_string()]);
        command
    }
}

impl Cluster for Etcd {
    fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    fn fill_in(&self, runner: &Runner) -> Result<(), Trouble> {
        runner
            .run(&mut self.driver("fill"), FILLED_WITHIN)
            .map(|_| ())
    }

    fn load(
        &self,
        runner: &Runner,
        work: &Work,
        seconds: f64,
        _expected_ops_per_s: Option<f64>,
    ) -> Result<Report, Trouble> {
        let mut driver = self.driver(work.operation.name());
        driver.args(["--clients", &work.clients.to_string()]);
        driver.args(["--seconds", &seconds.to_string()]);
        report_of(&runner.run(&mut driver, limit(seconds))?)
    }
}
