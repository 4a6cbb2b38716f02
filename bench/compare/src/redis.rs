//! Redis, alone or with replicas. Every server syncs its file before it answers, and answers before its replicas have anything.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::children::{Runner, Server, command};
use crate::cluster::{Cluster, FILLED_WITHIN, Place, READY_WITHIN, Report, address, limit};
use crate::plan::{Operation, Setting, Work};
use crate::trouble::{Doing, Trouble};

/// Durable on every answer; the file of commands alone, without snapshots beside it. Replicas are served at once when they
/// come instead of after 5 s.
const SETTINGS: [&str; 10] = [
    "--bind",
    "127.0.0.1",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--repl-diskless-sync-delay",
    "0",
];

/// How long redis-cli may take.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// How many operations a client does at first, where nobody knows yet how fast it is.
const FIRST_OPERATIONS: u64 = 20;

/// How many times more it does each time that this was too quick.
const MORE: u64 = 4;

/// A Redis that takes writes, and its replicas.
#[derive(Debug)]
pub(crate) struct Redis {
    servers: Vec<Server>,
    port: u16,
    replicas: u32,
    benchmark: PathBuf,
    cli: PathBuf,
    /// What all keys are put from.
    commands: PathBuf,
    setting: Setting,
}

impl Redis {
    /// So many servers: all but the first are its replicas.
    ///
    /// # Errors
    /// They do not serve, or the replicas do not follow.
    pub(crate) fn start(place: &mut Place<'_>, count: u32) -> Result<Self, Trouble> {
        let ports = place.ports.free(count as usize)?;
        let program = place.programs.find("redis-server")?;
        let mut servers = Vec::new();
        for (id, port) in ports.iter().enumerate() {
            let name = format!("redis-{id}");
            let mut command = command(&program);
            command.args(["--port", &port.to_string()]).args(SETTINGS);
            command.arg("--dir").arg(place.directory_for(&name)?);
            if id > 0 {
                command.args(["--replicaof", &format!("127.0.0.1 {}", ports[0])]);
            }
            servers.push(Server::start(&name, place.directory, command)?);
        }
        let mut redis = Self {
            servers,
            port: ports[0],
            replicas: count - 1,
            benchmark: place.programs.find("redis-benchmark")?,
            cli: place.programs.find("redis-cli")?,
            commands: place.directory.join("commands"),
            setting: place.setting,
        };
        redis.wait_until_followed(place.runner)?;
        Ok(redis)
    }

    fn cli(&self) -> Command {
        let mut command = command(&self.cli);
        command.args(["-p", &self.port.to_string()]);
        command
    }

    /// Waits until it answers and every replica has all that it has.
    fn wait_until_followed(&mut self, runner: &Runner) -> Result<(), Trouble> {
        let (mut info, replicas) = (self.cli(), self.replicas);
        info.args(["INFO", "replication"]);
        runner.wait_until("Redis is followed", READY_WITHIN, &mut self.servers, || {
            let said = runner.run(&mut info, ASKED_WITHIN);
            Ok(said.is_ok_and(|said| is_followed(&said, replicas)))
        })
    }

    /// Writes commands that put every key as redis-benchmark names it.
    fn write_commands(&self) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(&self.commands)?);
        let value = vec![b'x'; self.setting.value_bytes as usize];
        for number in 0..self.setting.keys {
            write!(
                file,
                "*3\r\n$3\r\nSET\r\n$16\r\nkey:{number:012}\r\n${}\r\n",
                value.len()
            )?;
            file.write_all(&value)?;
            file.write_all(b"\r\n")?;
        }
        file.flush()
    }

    fn run_benchmark(
        &self,
        runner: &Runner,
        work: &Work,
        operations: u64,
    ) -> Result<Report, Trouble> {
        let test = match work.operation {
            Operation::Put => "set",
            Operation::Get => "get",
        };
        let mut benchmark = command(&self.benchmark);
        benchmark.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "--csv",
            "-t",
            test,
        ]);
        benchmark.args([
            "-n",
            &operations.to_string(),
            "-c",
            &work.clients.to_string(),
        ]);
        benchmark.args(["-P", &work.pipeline.to_string()]);
        benchmark.args(["-d", &self.setting.value_bytes.to_string()]);
        benchmark.args(["-r", &self.setting.keys.to_string()]);
        let printed = runner.run(&mut benchmark, limit(operations as f64 / 100.0))?;
        report_of_csv(&printed, test, operations).ok_or_else(|| {
            let place = address(self.port);
            Trouble::Failed(format!("redis-benchmark on {place} printed {printed:?}"))
        })
    }
}

impl Cluster for Redis {
    fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    fn fill_in(&self, runner: &Runner) -> Result<(), Trouble> {
        let cannot = || format!("cannot write {}", self.commands.display());
        self.write_commands().doing(cannot)?;
        let file = File::open(&self.commands).doing(cannot)?;
        let said = runner.run(self.cli().arg("--pipe").stdin(file), FILLED_WITHIN)?;
        if !said.contains("errors: 0,") {
            return Err(Trouble::Failed(format!(
                "redis-cli --pipe: {}",
                said.trim()
            )));
        }
        fs::remove_file(&self.commands).doing(cannot)
    }

    fn load(
        &self,
        runner: &Runner,
        work: &Work,
        seconds: f64,
        expected_ops_per_s: Option<f64>,
    ) -> Result<Report, Trouble> {
        let outstanding = u64::from(work.clients * work.pipeline);
        if let Some(rate) = expected_ops_per_s {
            let operations = ((rate * seconds) as u64).max(outstanding);
            return self.run_benchmark(runner, work, operations);
        }
        let mut operations = FIRST_OPERATIONS * outstanding;
        loop {
            let report = self.run_benchmark(runner, work, operations)?;
            if report.seconds >= seconds / 2.0 {
                return Ok(report);
            }
            operations *= MORE;
        }
    }
}

/// Whether so many replicas follow, and have all.
fn is_followed(info: &str, replicas: u32) -> bool {
    let Some(offset) = field(info, "master_repl_offset:") else {
        return false;
    };
    let offset = format!("offset={offset}");
    (0..replicas).all(|number| {
        field(info, &format!("slave{number}:")).is_some_and(|line| {
            let mut facts = line.split(',');
            facts.clone().any(|fact| fact == "state=online") && facts.any(|fact| fact == offset)
        })
    })
}

/// What stands after a name.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim().strip_prefix(name))
}

/// What `redis-benchmark --csv` printed of a test. Columns go by their names, as versions have had more and fewer; times are
/// in milliseconds.
fn report_of_csv(printed: &str, test: &str, operations: u64) -> Option<Report> {
    let mut lines = printed.lines().map(cells);
    let header = lines.find(|cells| cells.first().is_some_and(|cell| *cell == "test"))?;
    let row = lines.find(|cells| {
        cells
            .first()
            .is_some_and(|cell| cell.eq_ignore_ascii_case(test))
    })?;
    let column = |name: &str| -> Option<f64> {
        let at = header.iter().position(|cell| *cell == name)?;
        row.get(at)?.parse().ok()
    };
    let ops_per_s = column("rps").filter(|rate| *rate > 0.0)?;
    Some(Report {
        seconds: operations as f64 / ops_per_s,
        ops: operations,
        ops_per_s,
        p50_us: column("p50_latency_ms")? * 1_000.0,
        p99_us: column("p99_latency_ms")? * 1_000.0,
        errors: 0,
        first_error: None,
    })
}

fn cells(line: &str) -> Vec<&str> {
    line.split(',')
        .map(|cell| cell.trim().trim_matches('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#""test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms""#;

    #[test]
    fn the_row_of_the_test_is_read_by_the_names_of_columns() {
        let printed = format!(
            "{HEADER}\n\"SET\",\"50000.00\",\"1.1\",\"0.2\",\"1.007\",\"1.9\",\"2.103\",\"9.9\"\n"
        );
        let report = report_of_csv(&printed, "set", 100_000).unwrap();
        assert_eq!(
            (report.ops, report.ops_per_s, report.seconds),
            (100_000, 50_000.0, 2.0)
        );
        assert!((report.p50_us - 1_007.0).abs() < 0.01, "{report:?}");
        assert!((report.p99_us - 2_103.0).abs() < 0.01, "{report:?}");
        let fewer = "WARNING: no config\n\"test\",\"p99_latency_ms\",\"p50_latency_ms\",\"rps\"\n\"GET\",\"4\",\"2\",\"10\"";
        let report = report_of_csv(fewer, "get", 10).unwrap();
        assert_eq!(
            (report.p50_us, report.p99_us, report.seconds),
            (2_000.0, 4_000.0, 1.0)
        );
    }

    #[test]
    fn what_is_no_such_table_is_refused() {
        let row = "\"SET\",\"50000.00\",\"1\",\"1\",\"1\",\"1\",\"1\",\"1\"";
        let no_rate = row.replace("50000.00", "nan?");
        let zero = row.replace("50000.00", "0.00");
        let short = "\"SET\",\"50000.00\"";
        let cases = [
            "",
            HEADER,
            row,
            "Error from server: ERR",
            &format!("{HEADER}\n{no_rate}"),
        ];
        for printed in cases {
            assert_eq!(report_of_csv(printed, "set", 1), None, "{printed}");
        }
        for row in [&zero, short, &row.replace("SET", "GET")] {
            assert_eq!(
                report_of_csv(&format!("{HEADER}\n{row}"), "set", 1),
                None,
                "{row}"
            );
        }
    }

    #[test]
    fn replicas_follow_when_all_are_online_and_have_all() {
        let slave = |number, state, offset| {
            format!("slave{number}:ip=127.0.0.1,port=1,state={state},offset={offset},lag=0\r\n")
        };
        let info = |slaves: &[String]| {
            format!(
                "# Replication\r\nrole:master\r\n{}master_repl_offset:140\r\n",
                slaves.concat()
            )
        };
        assert!(is_followed(&info(&[]), 0));
        let both = info(&[slave(0, "online", 140), slave(1, "online", 140)]);
        assert!(is_followed(&both, 2));
        assert!(!is_followed(&both, 3));
        assert!(!is_followed(&info(&[slave(0, "online", 14)]), 1));
        assert!(!is_followed(&info(&[slave(0, "send_bulk", 140)]), 1));
        assert!(!is_followed("", 0));
    }
}
