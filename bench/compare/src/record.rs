//! Everything that was measured, as lines of JSON: the machine first, then one line a measurement.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cluster::Report;
use crate::machine::Machine;
use crate::plan::{FULL, Purpose, Setting, Work};
use crate::statistics::{Summary, ratios, summary};
use crate::system::System;
use crate::trouble::{Doing, Trouble};

/// One row of one system in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    pub(crate) system: System,
    pub(crate) purpose: Purpose,
    pub(crate) round: u32,
    #[serde(flatten)]
    pub(crate) setting: Setting,
    #[serde(flatten)]
    pub(crate) work: Work,
    #[serde(flatten)]
    pub(crate) report: Report,
    /// CPU time of all servers of the system, while the driver ran, by the operations that it counted.
    pub(crate) cpu_us_per_op: f64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Machine(Machine),
    Measurement(Measurement),
}

/// What a run measured.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    pub(crate) measurements: Vec<Measurement>,
}

impl Record {
    /// # Errors
    /// The file cannot be read, or is no such record.
    pub(crate) fn read(path: &Path) -> Result<Self, Trouble> {
        let text = fs::read_to_string(path).doing(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|reason| {
            Trouble::Failed(format!(
                "{} is no record of measurements: {reason}",
                path.display()
            ))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut machine = None;
        let mut measurements = Vec::new();
        for (at, line) in text.lines().enumerate() {
            match serde_json::from_str(line) {
                Ok(Line::Machine(line)) => machine = Some(line),
                Ok(Line::Measurement(line)) => measurements.push(line),
                Err(error) => return Err(format!("line {}: {error}", at + 1)),
            }
        }
        let machine = machine.ok_or("it does not say of which machine")?;
        Ok(Self {
            machine,
            measurements,
        })
    }

    /// The setting of the table, which plots have where they vary nothing.
    pub(crate) fn base(&self) -> Setting {
        let mut all = self.measurements.iter();
        let in_table = all.find(|measurement| measurement.purpose == Purpose::Table);
        let default = Setting {
            replicas: FULL,
            value_bytes: 100,
            keys: 100_000,
        };
        in_table.map_or(default, |measurement| measurement.setting)
    }

    /// All rounds of a system at some work.
    pub(crate) fn rounds(
        &self,
        system: System,
        setting: Setting,
        work: Work,
    ) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |measurement| {
            (measurement.system, measurement.setting, measurement.work) == (system, setting, work)
        })
    }

    /// What all rounds have of one figure.
    pub(crate) fn summary(
        &self,
        system: System,
        setting: Setting,
        work: Work,
        figure: impl Fn(&Measurement) -> f64,
    ) -> Option<Summary> {
        summary(self.rounds(system, setting, work).map(figure))
    }

    /// Our rate by that of a system, round by round.
    pub(crate) fn ratio(&self, system: System, setting: Setting, work: Work) -> Option<Summary> {
        let rates = |system| {
            let rounds = self.rounds(system, setting, work);
            let rates = rounds.map(|one| (one.round, one.report.ops_per_s));
            rates.collect::<Vec<_>>()
        };
        ratios(&rates(System::Kvpaxos), &rates(system))
    }
}

/// Writes a record as it comes to be, so that what was measured is there whatever happens later.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    record: Record,
}

impl Writer {
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(path: &Path, machine: Machine) -> Result<Self, Trouble> {
        let file = File::create(path).doing(|| format!("cannot write {}", path.display()))?;
        let record = Record {
            machine: machine.clone(),
            measurements: Vec::new(),
        };
        let mut writer = Self {
            path: path.to_owned(),
            file,
            record,
        };
        writer.write(&Line::Machine(machine))?;
        Ok(writer)
    }

    /// # Errors
    /// The file cannot be written.
    pub(crate) fn push(&mut self, measurement: Measurement) -> Result<(), Trouble> {
        self.write(&Line::Measurement(measurement.clone()))?;
        self.record.measurements.push(measurement);
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), Trouble> {
        let text = serde_json::to_string(line).expect("all of it has names and finite numbers");
        let written = writeln!(self.file, "{text}");
        written.doing(|| format!("cannot write {}", self.path.display()))
    }

    pub(crate) fn into_record(self) -> Record {
        self.record
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Operation;

    /// A measurement at the usual setting.
    pub(crate) fn measurement(
        system: System,
        round: u32,
        clients: u32,
        ops_per_s: f64,
    ) -> Measurement {
        Measurement {
            system,
            purpose: Purpose::Table,
            round,
            setting: Setting {
                replicas: FULL,
                value_bytes: 100,
                keys: 100_000,
            },
            work: Work {
                operation: Operation::Put,
                pipeline: 1,
                clients,
            },
            report: Report {
                seconds: 5.0,
                ops: (ops_per_s * 5.0) as u64,
                ops_per_s,
                p50_us: 1_000.0,
                p99_us: 20_000.0,
                errors: 0,
                first_error: None,
            },
            cpu_us_per_op: 40.0,
        }
    }

    pub(crate) fn record(measurements: Vec<Measurement>) -> Record {
        Record {
            machine: Machine::default(),
            measurements,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("results.jsonl");
        let mut writer = Writer::create(&file, Machine::default()).unwrap();
        for round in 1..=2 {
            writer
                .push(measurement(System::RedisReplicated, round, 64, 1_234.5))
                .unwrap();
        }
        let written = writer.into_record();
        let read = Record::read(&file).unwrap();
        assert_eq!(read.measurements, written.measurements);
        assert_eq!(read.machine, written.machine);
    }

    #[test]
    fn a_line_says_all_of_a_measurement_by_name() {
        let line = Line::Measurement(measurement(System::Etcd, 3, 64, 2_000.0));
        let expected = r#"{"measurement":{"system":"etcd","purpose":"table","round":3,"replicas":5,"value_bytes":100,"keys":100000,"op":"put","pipeline":1,"clients":64,"seconds":5.0,"ops":10000,"ops_per_s":2000.0,"p50_us":1000.0,"p99_us":20000.0,"errors":0,"first_error":null,"cpu_us_per_op":40.0}}"#;
        assert_eq!(serde_json::to_string(&line).unwrap(), expected);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_line() {
        let machine = serde_json::to_string(&Line::Machine(Machine::default())).unwrap();
        assert!(Record::parse("").unwrap_err().contains("which machine"));
        let reason = Record::parse(&format!("{machine}\n{{}}\n")).unwrap_err();
        assert!(reason.contains("line 2"), "{reason}");
        assert!(Record::parse(&machine).unwrap().measurements.is_empty());
    }
}
