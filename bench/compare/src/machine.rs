//! On what machine, with which programs, and how something was measured: without that a figure means nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::children::{Runner, command};
use crate::plan::Plan;
use crate::programs::Programs;
use crate::statistics::summary;
use crate::system::System;
use crate::trouble::{Doing, Trouble};

/// How often, and how much, is written and synced to see how long that takes.
const SYNCS: usize = 200;
const SYNCED_BYTES: usize = 4_096;

/// How long a program may take to say which version it is.
const VERSION_WITHIN: Duration = Duration::from_secs(30);

/// The machine and the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// When the run began.
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// The median time of a write of 4 KiB with fdatasync, where the servers' files are.
    pub(crate) sync_us: f64,
    /// How many processes wanted to run in the minute before.
    pub(crate) load_before: f64,
    /// What each system's program says of itself.
    pub(crate) versions: BTreeMap<System, String>,
    pub(crate) seconds: f64,
    pub(crate) warm_up_seconds: f64,
}

impl Machine {
    /// # Errors
    /// The system does not say, a program does not say which version it is, or nothing can be written in the directory.
    pub(crate) fn look(
        runner: &Runner,
        programs: &Programs,
        directory: &Path,
        plan: &Plan,
    ) -> Result<Self, Trouble> {
        let mut versions = BTreeMap::new();
        for &system in &plan.systems {
            versions.insert(system, version(runner, programs, system)?);
        }
        let kernel = rustix::system::uname();
        let cores = available_parallelism().doing(|| "cannot count the processors".into())?;
        let file = directory.join("synced");
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            processor: field("/proc/cpuinfo", "model name")?,
            cores: cores.get(),
            memory_gib: memory_gib()?,
            kernel: kernel.release().to_string_lossy().into_owned(),
            sync_us: sync_us(&file).doing(|| format!("cannot write {}", file.display()))?,
            load_before: load()?,
            versions,
            seconds: plan.seconds,
            warm_up_seconds: plan.warm_up_seconds,
        })
    }
}

fn read(path: &str) -> Result<String, Trouble> {
    fs::read_to_string(path).doing(|| format!("cannot read {path}"))
}

/// What stands after a name and a colon; "unknown" if nothing does, as the names differ between processors.
fn field(path: &str, name: &str) -> Result<String, Trouble> {
    let text = read(path)?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    Ok(value.unwrap_or_else(|| "unknown".to_owned()))
}

fn memory_gib() -> Result<u64, Trouble> {
    let total = field("/proc/meminfo", "MemTotal")?;
    let kib = total.trim_end_matches(" kB").parse().unwrap_or(0.0);
    Ok((kib / f64::from(1 << 20)).round() as u64)
}

fn load() -> Result<f64, Trouble> {
    let text = read("/proc/loadavg")?;
    let minute = text.split(' ').next().and_then(|load| load.parse().ok());
    minute.ok_or_else(|| Trouble::Failed(format!("/proc/loadavg has no load: {text:?}")))
}

fn sync_us(path: &Path) -> io::Result<f64> {
    let mut file = File::create(path)?;
    let bytes = [0; SYNCED_BYTES];
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(summary(times).expect("there were some").median)
}

fn version(runner: &Runner, programs: &Programs, system: System) -> Result<String, Trouble> {
    let program = programs.find(match system {
        System::Etcd => "etcd",
        System::Redis | System::RedisReplicated => "redis-server",
        System::Kvpaxos | System::KvpaxosUdp => "kvpaxos-server",
    })?;
    let said = runner.run(command(&program).arg("--version"), VERSION_WITHIN)?;
    Ok(short_version(&said))
}

/// The number, and the commit where the program knows it.
fn short_version(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let has_digit = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
    let number = words.find(has_digit).unwrap_or(line);
    let number = number.trim_start_matches("v=");
    match (words.next(), words.next()) {
        (Some("commit"), Some(commit)) => format!("{number} (commit {commit})"),
        _ => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_says_its_version_in_its_own_way() {
        let cases = [
            ("etcd Version: 3.4.23\nGit SHA: 1\n", "3.4.23"),
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0\n",
                "7.0.15",
            ),
            (
                "kvpaxos-server 0.1.0 commit 29ba51041b02 wire 1 peers 1\n",
                "0.1.0 (commit 29ba51041b02)",
            ),
            ("kvpaxos-server 0.1.0\n", "0.1.0"),
            ("something else\n", "something else"),
        ];
        for (said, version) in cases {
            assert_eq!(short_version(said), version);
        }
    }

    #[test]
    fn this_machine_says_what_it_is() {
        assert!(memory_gib().unwrap() > 0);
        assert!(load().unwrap() >= 0.0);
        let directory = tempfile::tempdir().unwrap();
        assert!(sync_us(&directory.path().join("file")).unwrap() > 0.0);
    }
}
