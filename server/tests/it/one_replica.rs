//! One real replica that is a cluster alone, with its files where the test says, and its log elsewhere.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use client::{Client, ClientOptions};
use tempfile::TempDir;

use crate::cluster::server_command;

/// Nothing that a test waits for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// It ends with this.
pub(crate) struct Replica {
    directory: TempDir,
    data: PathBuf,
    child: Child,
    lives: usize,
}

impl Replica {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(data: &Path) -> Self {
        let mut replica = Self::begin(data, &[]);
        replica.must_come_up();
        replica
    }

    /// Starts it, as the last argument of the command that `tracer` is, if that is not empty.
    pub(crate) fn begin(data: &Path, tracer: &[String]) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let child = spawn(&log_path(&directory, 1), data, tracer);
        Self {
            directory,
            data: data.to_owned(),
            child,
            lives: 1,
        }
    }

    /// Starts it once more, after it ended.
    pub(crate) fn start_again(&mut self) {
        self.lives += 1;
        self.child = spawn(&log_path(&self.directory, self.lives), &self.data, &[]);
        self.must_come_up();
    }

    fn must_come_up(&mut self) {
        assert!(self.comes_up(), "it ended\n{}", self.log());
    }

    /// Waits until it listens; `false` if it ends instead.
    pub(crate) fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + WAIT_MAX;
        while !self.present_log().contains(SERVED) {
            if !self.runs() {
                return false;
            }
            assert!(Instant::now() < deadline, "it starts\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end. Returns how long it took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let id = self.process_id().to_string();
        let sent = Command::new("kill").arg(&id).status();
        assert!(sent.unwrap().success());
        (self.child.wait().unwrap(), began.elapsed())
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged in all its lives.
    pub(crate) fn log(&self) -> String {
        (1..=self.lives).map(|life| self.log_of(life)).collect()
    }

    /// What it logged in its present life.
    pub(crate) fn present_log(&self) -> String {
        self.log_of(self.lives)
    }

    /// What it, or what it was started by, said beside its log in its present life.
    pub(crate) fn errors(&self) -> String {
        let path = errors_path(&log_path(&self.directory, self.lives));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Whole lines.
    fn log_of(&self, life: usize) -> String {
        let path = log_path(&self.directory, life);
        let mut log = fs::read_to_string(path).unwrap_or_default();
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        log
    }

    /// Where it listens in its present life.
    pub(crate) fn address(&self) -> String {
        let log = self.present_log();
        let line = log.lines().find_map(|line| line.split_once(SERVED));
        line.expect("it came up").1.to_owned()
    }

    /// A client that gives up soon.
    pub(crate) fn client(&self) -> Client {
        self.client_with(Duration::from_secs(2))
    }

    /// A client that waits for as long as a busy machine may take.
    pub(crate) fn patient_client(&self) -> Client {
        self.client_with(WAIT_MAX)
    }

    fn client_with(&self, timeout: Duration) -> Client {
        let mut options = ClientOptions::parse(&self.address()).unwrap();
        options.timeout = timeout;
        Client::new(options).unwrap()
    }

    /// Waits until the next segment and the room for the next start are there: until nothing is made in the background.
    pub(crate) fn wait_until_prepared(&mut self) {
        let data = self.data.clone();
        self.wait("the next segment and room for the next start", |_| {
            let names = ["segment-000000000002.log", "spare-reserve.tmp"];
            names.iter().all(|name| data.join(name).exists())
        });
    }

    pub(crate) fn wait(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            assert!(
                Instant::now() < deadline,
                "waited for {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("its log:\n{}{}", self.log(), self.errors());
            let files = fs::read_dir(&self.data).into_iter().flatten().flatten();
            for file in files {
                let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                println!("{:?}: {bytes} bytes", file.path());
            }
        }
    }
}

/// Each life has a log of its own: what one wrote when it was killed may be half a line.
fn log_path(directory: &TempDir, life: usize) -> PathBuf {
    directory.path().join(format!("log-{life}"))
}

/// What it says to whoever started it.
fn errors_path(log: &Path) -> PathBuf {
    log.with_extension("errors")
}

fn spawn(log: &Path, data: &Path, tracer: &[String]) -> Child {
    let server = server_command();
    let mut command = match tracer {
        [] => server_command(),
        [program, flags @ ..] => {
            let mut command = Command::new(program);
            command.args(flags).arg(server.get_program());
            for (name, value) in server.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            command
        }
    };
    command
        .args(["--tcp", "127.0.0.1:0", "--log-file"])
        .arg(log)
        .arg("--data")
        .arg(data)
        .stderr(File::create(errors_path(log)).unwrap())
        .spawn()
        .unwrap()
}

const SERVED: &str = "clients are served at ";
