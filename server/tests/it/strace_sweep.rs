//! Every call by which a real replica changes its files fails, or is the last, one after the other (FAULTS 5 and 9).
//!
//! One replica is a cluster alone. A client writes a fixed list, long enough that segments are left and trimmed and snapshots
//! taken. One run of it is traced for the calls that there are; then each of them is met by EIO, by ENOSPC, and by SIGKILL,
//! each time in a run of its own. Whatever becomes of the process, it is started again without strace, the client asks once
//! more for what was not answered, and each write must have happened once, in order.
//!
//! `cargo test` takes so many of the cases as fit into a minute or so, evenly from all of them; `STRACE_SWEEP=all` takes all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::cluster;
use crate::one_replica::Replica;
use crate::strace::{Call, Fault, Purpose, Trace, file_of};
use crate::tagged_writes::Writes;

/// So many cases are taken unless all are asked for.
const CASES_MAX: usize = 100;

#[test]
#[ignore = "with strace: makes system calls fail"]
fn every_call_that_changes_a_file_may_fail_or_be_the_last() {
    let _turn = cluster::turn();
    let stage = Stage::new();
    let all = stage.cases();
    let is_whole = std::env::var("STRACE_SWEEP").is_ok_and(|value| value == "all");
    let count = if is_whole { all.len() } else { CASES_MAX };
    assert!(all.len() > 300, "{} cases are too few", all.len());
    let chosen: Vec<&Case> = (0..count)
        .map(|place| &all[place * all.len() / count])
        .collect();
    let began = Instant::now();
    let (table, failed) = stage.run_all(&chosen);
    print_table(&table);
    println!(
        "strace sweep: {count} of {} cases in {:.0} s, {} failed",
        all.len(),
        began.elapsed().as_secs_f64(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Which thread, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scene {
    /// The first start, in an empty directory.
    FirstStart,
    /// The founding, in a directory whose replica has not been founded.
    Founding,
    /// A start in a directory with segments and snapshots, whose last life was killed.
    LaterStart,
    /// The thread of this name, while clients are served.
    Thread(&'static str),
}

impl Scene {
    const ALL: [Self; 6] = [
        Self::FirstStart,
        Self::Founding,
        Self::LaterStart,
        Self::Thread("journal"),
        Self::Thread("segments"),
        Self::Thread("snapshots"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::FirstStart => "first start",
            Self::Founding => "founding",
            Self::LaterStart => "later start",
            Self::Thread(name) => name,
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    scene: Scene,
    call: Call,
    fault: Fault,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Killed,
    /// By itself, with a line that names the file and the error.
    Stopped,
    /// Not at all, and its log names the error.
    ServedOn,
    /// Not at all, and nothing was said.
    ServedOnSilently,
}

/// What became of the cases of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cases: usize,
    killed: usize,
    stopped: usize,
    served_on: usize,
    silently: usize,
    /// After another start every write had happened once.
    restarted_right: usize,
}

impl Tally {
    fn add(&mut self, ending: Ending) {
        self.restarted_right += 1;
        *match ending {
            Ending::Killed => &mut self.killed,
            Ending::Stopped => &mut self.stopped,
            Ending::ServedOn => &mut self.served_on,
            Ending::ServedOnSilently => &mut self.silently,
        } += 1;
    }
}

type Table = BTreeMap<(Scene, String, Fault), Tally>;

fn print_table(table: &Table) {
    println!(
        "{:<12} {:<10} {:<7} {:>5} {:>6} {:>7} {:>9} {:>8} {:>15}",
        "where",
        "call",
        "fault",
        "cases",
        "killed",
        "stopped",
        "served on",
        "silently",
        "restarted right"
    );
    for ((scene, call, fault), tally) in table {
        println!(
            "{:<12} {call:<10} {:<7} {:>5} {:>6} {:>7} {:>9} {:>8} {:>15}",
            scene.name(),
            format!("{fault:?}").to_uppercase(),
            tally.cases,
            tally.killed,
            tally.stopped,
            tally.served_on,
            tally.silently,
            tally.restarted_right
        );
    }
}

/// Directories to begin with.
struct Stage {
    /// With an identity of no cluster.
    unfounded: TempDir,
    /// After the whole list, killed.
    used: TempDir,
    used_writes: Writes,
}

impl Stage {
    fn new() -> Self {
        let unfounded = directory();
        leave_unfounded(&data(&unfounded));
        let used = directory();
        let mut replica = Replica::start(&data(&used));
        let mut used_writes = Writes::default();
        used_writes.write_rounds(&mut replica, ROUNDS_MIN, &|| false);
        replica.kill();
        Self {
            unfounded,
            used,
            used_writes,
        }
    }

    /// Every call of every scene with every fault.
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for scene in Scene::ALL {
            for call in self.calls(scene) {
                let case = |fault| Case {
                    scene,
                    call: call.clone(),
                    fault,
                };
                cases.extend(Fault::HONEST.map(case));
            }
        }
        cases
    }

    fn calls(&self, scene: Scene) -> Vec<Call> {
        let mut run = Run::begin(self, scene, Purpose::Count);
        assert!(run.replica.comes_up());
        run.writes
            .write_rounds(&mut run.replica, ROUNDS_MIN, &|| false);
        run.replica.kill();
        let mut calls = run.trace.calls();
        if scene == Scene::Founding {
            // The rest are those of the first start.
            calls.retain(|call| call.file == "data/identity.tmp");
        }
        assert!(calls.len() > 3, "{scene:?}: {calls:?}");
        calls
    }

    /// Runs the cases, as many at a time as there are processors.
    fn run_all(&self, cases: &[&Case]) -> (Table, Vec<String>) {
        let table = Mutex::new(Table::new());
        let failed = Mutex::new(Vec::new());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let done = catch_unwind(AssertUnwindSafe(|| self.run(case)));
                let done = done.unwrap_or_else(|panic| {
                    let text = panic.downcast_ref::<String>().cloned();
                    Err(text.unwrap_or_default())
                });
                let kind = (case.scene, case.call.name.clone(), case.fault);
                let mut table = table.lock();
                let tally = table.entry(kind).or_default();
                tally.cases += 1;
                match done {
                    Ok(ending) => tally.add(ending),
                    Err(why) => failed.lock().push(format!("{case:?}: {why}")),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(work);
            }
        });
        (table.into_inner(), failed.into_inner())
    }

    fn run(&self, case: &Case) -> Result<Ending, String> {
        let mut run = Run::begin(self, case.scene, Purpose::Inject(&case.call, case.fault));
        run.write_until_injected(case.fault);
        let ending = run.judge(case)?;
        run.restart_and_check();
        Ok(ending)
    }
}

/// One replica, traced, and what is written to it.
struct Run {
    replica: Replica,
    trace: Trace,
    writes: Writes,
    directory: TempDir,
}

impl Run {
    fn begin(stage: &Stage, scene: Scene, purpose: Purpose<'_>) -> Self {
        let directory = directory();
        let base = directory.path().to_owned();
        let data = data(&directory);
        let output = stage.used.path().join(format!(
            "strace-{}",
            base.file_name().unwrap().to_str().unwrap()
        ));
        let mut writes = Writes::default();
        match scene {
            Scene::FirstStart | Scene::Thread(_) => {}
            Scene::Founding => copy(&self::data(&stage.unfounded), &data),
            Scene::LaterStart => {
                copy(&self::data(&stage.used), &data);
                writes = stage.used_writes;
            }
        }
        let (replica, trace) = match scene {
            Scene::Thread(thread) => {
                let mut replica = Replica::start(&data);
                assert!(writes.go_on_by(&replica, 1));
                replica.wait_until_prepared();
                let process = replica.process_id();
                let trace = Trace::of_thread(purpose, &base, output, process, thread);
                (replica, trace)
            }
            _ => {
                let follows = scene == Scene::Founding;
                let (trace, command) = Trace::of_start(purpose, &base, output, follows);
                (Replica::begin(&data, &command), trace)
            }
        };
        Self {
            replica,
            trace,
            writes,
            directory,
        }
    }

    /// Writes until the fault has come, and a little more, unless the process goes away.
    fn write_until_injected(&mut self, fault: Fault) {
        if !self.replica.comes_up() {
            return;
        }
        let Self {
            replica,
            trace,
            writes,
            ..
        } = self;
        let is_injected = || trace.injected(fault).is_some();
        writes.write_rounds(replica, ROUNDS_MAX, &is_injected);
        if !writes.go_on_by(replica, 3) {
            replica.wait("its end", |replica| !replica.runs());
        }
    }

    /// Checks that the fault came about and how the process took it.
    fn judge(&mut self, case: &Case) -> Result<Ending, String> {
        let ended = self.replica.ended();
        if ended.is_none() {
            self.replica.kill();
        }
        self.trace.wait_for_end();
        let injected = self.trace.injected(case.fault);
        let injected = injected.ok_or_else(|| {
            let errors = self.replica.errors();
            format!("nothing was injected: {errors}")
        })?;
        let file = file_of(&injected, self.directory.path())
            .ok_or_else(|| format!("injected elsewhere: {injected}"))?;
        let log = self.replica.log();
        let last = log.lines().rfind(|line| line.contains("[ERROR]"));
        let is_said = log.contains(case.fault.text());
        match ended {
            None if case.fault == Fault::Kill => Err("nothing was killed".to_owned()),
            Some(status) if status.signal() == Some(9) && case.fault == Fault::Kill => {
                Ok(Ending::Killed)
            }
            Some(status) if status.code() == Some(1) && case.fault != Fault::Kill => {
                let last = last.unwrap_or_default();
                if last.contains(case.fault.text()) && names(last, &file) {
                    return Ok(Ending::Stopped);
                }
                Err(format!("it does not name file and error: {last}"))
            }
            None if case.fault == Fault::Eio && case.is_sync() => {
                Err(format!("it serves on after a failed sync: {injected}"))
            }
            None if is_said => Ok(Ending::ServedOn),
            None => Ok(Ending::ServedOnSilently),
            Some(status) => Err(format!("it ended with {status}: {injected}")),
        }
    }

    /// What was answered is there, and what was not happens now.
    fn restart_and_check(&mut self) {
        self.replica.start_again();
        assert!(self.writes.go_on_by(&self.replica, 3), "it serves again");
        self.writes.assert_all_there(&self.replica);
        self.replica.kill();
    }
}

impl Case {
    fn is_sync(&self) -> bool {
        self.call.name.ends_with("sync")
    }
}

/// Whether a line names the file that a call was about, by the kind of file, or the directory.
fn names(line: &str, file: &str) -> bool {
    match file.strip_prefix("data/") {
        // The lock is the directory's; the directory of a new identity is synced for it.
        None | Some("lock") => line.contains("directory") || line.contains("identity"),
        Some(file) => line.contains(file.split(['.', '-']).next().unwrap_or(file)),
    }
}

/// Leaves a directory of a replica that waits for another member, so that it is of no cluster.
fn leave_unfounded(data: &Path) {
    let mut waiting = cluster::server_command()
        .args(["--members", "0=127.0.0.1:0,1=127.0.0.1:9"])
        .args(["--tcp", "127.0.0.1:0", "--log-level", "off", "--data"])
        .arg(data)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !data.join("identity").exists() {
        assert!(Instant::now() < deadline, "no identity was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

fn directory() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// So many leave two segments, and have the first one trimmed.
const ROUNDS_MIN: usize = 2;
/// A call that is not met in so many is not met.
const ROUNDS_MAX: usize = 4;
