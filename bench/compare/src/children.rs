//! Processes: servers that end when they are no longer needed, and programs that run to their end.
//!
//! Each has a process group of its own, so that Ctrl-C reaches this program alone, which then ends them all by their ids.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register;

use crate::trouble::{Doing, Trouble};

/// How often it is looked whether a process has ended. A driver's own figures do not depend on it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Environment variables that would change what servers and drivers do.
const NOT_PASSED_ON: [&str; 4] = ["KVPAXOS_", "ETCD_", "ETCDCTL_", "REDISCLI_"];

/// How many lines of a log are shown when a process failed.
const LINES_SHOWN: usize = 5;

/// Whether this program is to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From here on Ctrl-C and what else asks a program to end is noted, and everything waits for no longer than that.
    ///
    /// # Errors
    /// The system lets nobody listen for it.
    pub(crate) fn listen() -> Result<Self, Trouble> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            register(signal, Arc::clone(&stopped)).doing(|| "cannot listen for Ctrl-C".into())?;
        }
        Ok(Self(stopped))
    }

    /// # Errors
    /// This program is to end.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Trouble::Stopped);
        }
        Ok(())
    }
}

/// A process that is killed when nobody needs it any more. What it had on disk is thrown away with it, so it need not end
/// in good order.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    /// All that it printed.
    log: PathBuf,
}

impl Server {
    /// Starts it; what it prints goes to a file `name`.log in the directory.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        name: &str,
        directory: &Path,
        mut command: Command,
    ) -> Result<Self, Trouble> {
        let log = directory.join(format!("{name}.log"));
        let output = file(&log)?;
        let errors = output
            .try_clone()
            .doing(|| format!("cannot open {}", log.display()))?;
        command.stdout(output).stderr(errors);
        let child = spawn(&mut command)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// It has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        let ended = self
            .child
            .try_wait()
            .doing(|| format!("cannot wait for {}", self.name))?;
        ended.map_or(Ok(()), |status| {
            let last = last_lines(&self.log);
            Err(Trouble::Failed(format!(
                "{} ended by itself ({status}): {last}",
                self.name
            )))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A driver whose run is being waited for.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// One that has ended already has been waited for, and then both calls do nothing.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs programs to their end.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) stop: Stop,
    /// What programs print goes to files here first.
    directory: PathBuf,
}

impl Runner {
    pub(crate) fn new(stop: Stop, directory: &Path) -> Self {
        Self {
            stop,
            directory: directory.to_owned(),
        }
    }

    /// Runs a program and gives back what it printed.
    ///
    /// # Errors
    /// It cannot be started, failed, or did not end in time; or this program is to end.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Result<String, Trouble> {
        let name = name_of(command);
        let (output, errors) = (self.directory.join("output"), self.directory.join("errors"));
        command.stdout(file(&output)?).stderr(file(&errors)?);
        let mut driver = Driver(spawn(command)?);
        let end = Instant::now() + limit;
        let status = loop {
            self.stop.check()?;
            let ended = driver
                .0
                .try_wait()
                .doing(|| format!("cannot wait for {name}"))?;
            if let Some(status) = ended {
                break status;
            }
            if Instant::now() >= end {
                let reason = format!("{name} did not end within {} s", limit.as_secs());
                return Err(Trouble::Failed(reason));
            }
            sleep(LOOK_EVERY);
        };
        let printed =
            fs::read_to_string(&output).doing(|| format!("cannot read what {name} printed"))?;
        if !status.success() {
            let last = [last_lines(&errors), last_lines(&output)].join(" ");
            return Err(Trouble::Failed(format!(
                "{name} failed ({status}): {}",
                last.trim()
            )));
        }
        Ok(printed)
    }

    /// Asks again and again until something is so.
    ///
    /// # Errors
    /// It is not so in time, a server has ended, or this program is to end.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        servers: &mut [Server],
        mut is_so: impl FnMut() -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let end = Instant::now() + limit;
        while !is_so()? {
            self.stop.check()?;
            servers.iter_mut().try_for_each(Server::check)?;
            if Instant::now() >= end {
                let seconds = limit.as_secs();
                return Err(Trouble::Failed(format!("not within {seconds} s: {what}")));
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn spawn(command: &mut Command) -> Result<Child, Trouble> {
    for (name, _) in std::env::vars_os() {
        let is_like = |prefix| name.to_str().is_some_and(|name| name.starts_with(prefix));
        if NOT_PASSED_ON.into_iter().any(is_like) {
            command.env_remove(name);
        }
    }
    let child = command.process_group(0).spawn();
    child.doing(|| format!("cannot start {}", name_of(command)))
}

/// A command for a program that reads nothing.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn file(path: &Path) -> Result<File, Trouble> {
    File::create(path).doing(|| format!("cannot write {}", path.display()))
}

/// The last lines of a file, in one.
fn last_lines(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_else(|error: io::Error| error.to_string().into_bytes());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(directory: &Path) -> Runner {
        Runner::new(Stop(Arc::new(AtomicBool::new(false))), directory)
    }

    fn shell(script: &str) -> Command {
        let mut command = command(Path::new("/bin/sh"));
        command.args(["-c", script]);
        command
    }

    /// A process that has ended and was waited for has no directory any more.
    fn runs(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn what_a_program_printed_or_why_it_failed() {
        let directory = tempfile::tempdir().unwrap();
        let runner = runner(directory.path());
        let limit = Duration::from_secs(30);
        assert_eq!(
            runner.run(&mut shell("echo said"), limit).unwrap(),
            "said\n"
        );
        let trouble = runner
            .run(&mut shell("echo no disk >&2; exit 3"), limit)
            .unwrap_err();
        let text = trouble.to_string();
        assert!(text.contains("no disk") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let mut endless = shell(&format!("echo $$ > {}; exec sleep 600", pid_file.display()));
        let trouble = runner(directory.path()).run(&mut endless, Duration::from_millis(500));
        assert!(trouble.unwrap_err().to_string().contains("did not end"));
        let pid = fs::read_to_string(&pid_file).unwrap();
        assert!(!runs(pid.trim().parse().unwrap()));
    }

    #[test]
    fn to_be_stopped_ends_what_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let runner = runner(directory.path());
        runner.stop.0.store(true, Ordering::Relaxed);
        let result = runner.run(&mut shell("exec sleep 600"), Duration::from_secs(600));
        assert!(matches!(result, Err(Trouble::Stopped)), "{result:?}");
    }

    #[test]
    fn a_server_ends_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start("sleeper", directory.path(), shell("exec sleep 600")).unwrap();
        let pid = server.pid();
        assert!(runs(pid));
        drop(server);
        assert!(!runs(pid));
    }

    #[test]
    fn a_server_that_ended_by_itself_is_noticed_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let script = shell("echo port is taken >&2; exit 1");
        let mut servers = [Server::start("failing", directory.path(), script).unwrap()];
        let limit = Duration::from_secs(30);
        let waited =
            runner(directory.path()).wait_until("it serves", limit, &mut servers, || Ok(false));
        let text = waited.unwrap_err().to_string();
        assert!(
            text.contains("failing ended by itself") && text.contains("port is taken"),
            "{text}"
        );
    }
}
