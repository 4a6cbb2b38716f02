//! What every system can be asked for, whichever it is: to be started, filled in, and put under load.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::children::{Runner, Server};
use crate::etcd::Etcd;
use crate::kvpaxos::Kvpaxos;
use crate::plan::{Setting, Work};
use crate::ports::Ports;
use crate::programs::Programs;
use crate::redis::Redis;
use crate::system::System;
use crate::trouble::{Doing, Trouble};

/// How long servers may take until all of them serve.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long filling in all keys may take.
pub(crate) const FILLED_WITHIN: Duration = Duration::from_secs(1_800);

/// What a driver measured, as all of them print it, and as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) ops: u64,
    pub(crate) ops_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// What servers are started with.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) programs: &'a Programs,
    pub(crate) ports: &'a mut Ports,
    /// For this cluster alone.
    pub(crate) directory: &'a Path,
    pub(crate) setting: Setting,
}

impl Place<'_> {
    /// A new directory for one server.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn directory_for(&self, name: &str) -> Result<PathBuf, Trouble> {
        let directory = self.directory.join(name);
        let made = fs::create_dir(&directory);
        made.doing(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }
}

/// The servers of one system.
pub(crate) trait Cluster {
    fn servers(&mut self) -> &mut [Server];

    /// Puts every key once.
    ///
    /// # Errors
    /// It cannot be done.
    fn fill_in(&self, runner: &Runner) -> Result<(), Trouble>;

    /// Has clients do some work for so many seconds. A driver that counts operations instead of seconds does as many as
    /// are to be expected; without an expectation it finds out how many that are.
    ///
    /// # Errors
    /// The driver failed.
    fn load(
        &self,
        runner: &Runner,
        work: &Work,
        seconds: f64,
        expected_ops_per_s: Option<f64>,
    ) -> Result<Report, Trouble>;
}

/// Starts a system and waits until all its servers serve.
///
/// # Errors
/// They do not.
pub(crate) fn start(system: System, place: &mut Place<'_>) -> Result<Box<dyn Cluster>, Trouble> {
    Ok(match system {
        System::Etcd => Box::new(Etcd::start(place)?),
        System::Redis | System::RedisReplicated => {
            Box::new(Redis::start(place, system.servers(&place.setting))?)
        }
        System::Kvpaxos => Box::new(Kvpaxos::start(place, "tcp")?),
        System::KvpaxosUdp => Box::new(Kvpaxos::start(place, "udp")?),
    })
}

/// How long a driver may take that is to measure for so many seconds.
pub(crate) fn limit(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds * 10.0 + 60.0)
}

/// What a driver printed as JSON.
///
/// # Errors
/// It is something else.
pub(crate) fn report_of(printed: &str) -> Result<Report, Trouble> {
    let report = serde_json::from_str(printed);
    report.map_err(|error| Trouble::Failed(format!("a driver printed {printed:?}: {error}")))
}

/// These ports of this machine, for a command line.
pub(crate) fn addresses(ports: &[u16]) -> String {
    let addresses = ports.iter().map(|&port| address(port));
    addresses.collect::<Vec<_>>().join(",")
}

pub(crate) fn address(port: u16) -> String {
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}
