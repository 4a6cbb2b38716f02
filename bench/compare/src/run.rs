//! One run: every system in turn, each started anew, and ended before the next begins.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::children::{Runner, Stop};
use crate::cluster::{Cluster, Place, Report, start};
use crate::cpu;
use crate::machine::Machine;
use crate::plan::{Plan, Setting, Stage, Work};
use crate::ports::Ports;
use crate::programs::Programs;
use crate::record::{Measurement, Record, Writer};
use crate::system::System;
use crate::trouble::{Doing, Trouble};

/// What statfs says of a file system that keeps its files in memory.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// From so many processes that wanted to run in the minute before, it is said that figures may be off.
const LOAD_NOTED: f64 = 0.5;

/// Measures all that the command line asks for.
///
/// # Errors
/// A program is missing, something failed, or Ctrl-C was pressed. Nothing that was started runs on, and no file stays but
/// the record.
pub(crate) fn run(arguments: &Arguments) -> Result<Record, Trouble> {
    arguments.check()?;
    let programs = Programs::new()?;
    let systems = present(arguments, &programs)?;
    let plan = Plan::new(arguments, systems);
    let parent = arguments.dir.as_ref().unwrap_or(&programs.beside);
    refuse_memory(parent)?;
    let stop = Stop::listen()?;
    let scratch = scratch(parent)?;
    let runner = Runner::new(stop, scratch.path());
    let machine = Machine::look(&runner, &programs, scratch.path(), &plan)?;
    if machine.load_before >= LOAD_NOTED {
        eprintln!(
            "compare: {} processes wanted to run in the last minute; while something else runs, figures are off",
            machine.load_before
        );
    }
    let results = results_file(arguments, &programs);
    let mut run = Run {
        writer: Writer::create(&results, machine)?,
        runner: &runner,
        programs: &programs,
        ports: Ports::new(),
        scratch: scratch.path(),
        plan: &plan,
    };
    run.all()?;
    eprintln!("every measurement is in {}", results.display());
    Ok(run.writer.into_record())
}

/// The systems whose programs are there.
fn present(arguments: &Arguments, programs: &Programs) -> Result<Vec<System>, Trouble> {
    let mut present = arguments.systems.clone();
    let mut missing = Vec::new();
    present.retain(|&system| {
        let lacking = programs.lacking(system);
        missing.extend(lacking.clone());
        lacking.is_none()
    });
    if !missing.is_empty() && !arguments.skip_missing {
        let reason = missing.join("\n");
        return Err(Trouble::Usage(format!(
            "{reason}\n--skip-missing goes on without"
        )));
    }
    for reason in missing {
        eprintln!("left out: {reason}");
    }
    if present.is_empty() {
        return Err(Trouble::Usage("none of the systems is there".to_owned()));
    }
    Ok(present)
}

fn results_file(arguments: &Arguments, programs: &Programs) -> PathBuf {
    let given = arguments.results.clone();
    given.unwrap_or_else(|| programs.beside.join("compare.jsonl"))
}

/// In memory a sync costs nothing, and nothing is durable.
fn refuse_memory(directory: &Path) -> Result<(), Trouble> {
    let facts = rustix::fs::statfs(directory);
    let facts = facts.doing(|| format!("cannot use {}", directory.display()))?;
    if facts.f_type == TMPFS {
        let reason = format!(
            "{} is in memory, where nothing is durable; --dir names a directory on a disk",
            directory.display()
        );
        return Err(Trouble::Usage(reason));
    }
    Ok(())
}

/// A directory that is removed in the end.
fn scratch(parent: &Path) -> Result<TempDir, Trouble> {
    let made = tempfile::Builder::new()
        .prefix("compare-")
        .tempdir_in(parent);
    made.doing(|| format!("cannot make a directory in {}", parent.display()))
}

struct Run<'a> {
    writer: Writer,
    runner: &'a Runner,
    programs: &'a Programs,
    ports: Ports,
    scratch: &'a Path,
    plan: &'a Plan,
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Trouble> {
        let plan = self.plan;
        for (round, stages) in (1..).zip(&plan.rounds) {
            for stage in stages {
                for &system in &plan.systems {
                    if system.takes(&stage.setting) {
                        self.announce(round, stage, system);
                        self.one(round, stage, system)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn announce(&self, round: u32, stage: &Stage, system: System) {
        let Setting {
            value_bytes, keys, ..
        } = stage.setting;
        eprintln!(
            "round {round} of {}: {}, servers: {}, {keys} keys of {value_bytes} bytes",
            self.plan.rounds.len(),
            system.name(),
            system.servers(&stage.setting)
        );
    }

    /// All rows of one system in one stage. Its servers end and its files go when this is done or fails.
    fn one(&mut self, round: u32, stage: &Stage, system: System) -> Result<(), Trouble> {
        let directory = scratch(self.scratch)?;
        let mut place = Place {
            runner: self.runner,
            programs: self.programs,
            ports: &mut self.ports,
            directory: directory.path(),
            setting: stage.setting,
        };
        let mut cluster = start(system, &mut place)?;
        cluster.fill_in(self.runner)?;
        for work in stage.works.iter().filter(|work| system.does(work)) {
            let (report, cpu_us_per_op) = self.row(cluster.as_mut(), work)?;
            eprintln!("  {work}: {:.0} ops/s", report.ops_per_s);
            self.writer.push(Measurement {
                system,
                purpose: stage.purpose,
                round,
                setting: stage.setting,
                work: *work,
                report,
                cpu_us_per_op,
            })?;
        }
        // Servers that still ran could make files while theirs are removed.
        drop(cluster);
        directory
            .close()
            .doing(|| "cannot remove the servers' files".into())
    }

    /// The measured part of one row, after its warm-up, and the CPU time of the servers by operation.
    fn row(&self, cluster: &mut dyn Cluster, work: &Work) -> Result<(Report, f64), Trouble> {
        let plan = self.plan;
        let warm = cluster.load(self.runner, work, plan.warm_up_seconds, None)?;
        let pids: Vec<u32> = cluster
            .servers()
            .iter()
            .map(|server| server.pid())
            .collect();
        let before = cpu::used_us(pids.iter().copied())?;
        let expected = Some(warm.ops_per_s);
        let report = cluster.load(self.runner, work, plan.seconds, expected)?;
        let used = cpu::used_us(pids)? - before;
        for server in cluster.servers() {
            server.check()?;
        }
        if report.ops == 0 {
            return Err(Trouble::Failed(format!("{work}: nothing was answered")));
        }
        let cpu_us_per_op = used / report.ops as f64;
        Ok((report, cpu_us_per_op))
    }
}
