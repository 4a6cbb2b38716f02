//! System calls of a real process that are counted, or made to fail, by strace: a fault where no test could put one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The calls by which a process changes files.
const CHANGING_CALLS: &str =
    "pwrite64,write,fdatasync,fsync,ftruncate,fallocate,rename,unlink,openat";

/// Nothing that a test waits for takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It is not done, and fails like a broken disk.
    Eio,
    /// It is not done, and fails like a full one.
    Enospc,
    /// It is not done, and the process is killed.
    Kill,
    /// It is not done, and says that it has written a block.
    Lie,
}

impl Fault {
    /// Those after which nothing may be lost, whichever call they meet.
    pub(crate) const HONEST: [Self; 3] = [Self::Eio, Self::Enospc, Self::Kill];

    fn injection(self) -> &'static str {
        match self {
            Self::Eio => "error=EIO",
            Self::Enospc => "error=ENOSPC",
            Self::Kill => "signal=KILL",
            Self::Lie => "retval=4096",
        }
    }

    /// What the system says of it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Eio => "Input/output error",
            Self::Enospc => "No space left on device",
            Self::Kill => "killed by SIGKILL",
            Self::Lie => "INJECTED",
        }
    }
}

/// One call of a thread that changed a file below a directory.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Which file, seen from that directory; empty for the directory itself.
    pub(crate) file: String,
    /// The how-manieth call of that name on that file it was in its thread, from 1. Of a file that [`varies`], the
    /// how-manieth on any file: another run meets this one or its neighbour.
    pub(crate) number: usize,
}

impl Call {
    /// What strace is told so that this call fails.
    fn injection(&self, fault: Fault, base: &Path) -> Vec<String> {
        let Self { name, file, number } = self;
        let how = fault.injection();
        let mut flags = vec![
            "-e".to_owned(),
            format!("trace={name}"),
            "-e".to_owned(),
            format!("inject={name}:{how}:when={number}"),
        ];
        if !varies(file) {
            // Sockets, and what wakes threads, are left alone.
            let path = base.join(file);
            let path = path.to_str().unwrap().trim_end_matches('/').to_owned();
            flags.extend(["-P".to_owned(), path]);
        }
        flags
    }
}

/// Whether the next run may call it something else, or have another number of calls for it: snapshots bear the number of a
/// slot, and how often an idle segment is sealed is a matter of time.
fn varies(file: &str) -> bool {
    file.ends_with(".snap") || file.ends_with(".log")
}

/// What is asked of strace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose<'a> {
    /// To tell which calls there are.
    Count,
    /// To make one fail.
    Inject(&'a Call, Fault),
}

/// What strace says of the calls of one process, or of one thread of it.
#[derive(Debug)]
pub(crate) struct Trace {
    base: PathBuf,
    output: PathBuf,
    /// None if the process itself was started by strace.
    tracer: Option<Child>,
}

impl Trace {
    /// The command under which a process is to be started, so that the calls of its first thread to files below `base` are
    /// traced, or of all if `follows`. The process is not strace's child.
    pub(crate) fn of_start(
        purpose: Purpose<'_>,
        base: &Path,
        output: PathBuf,
        follows: bool,
    ) -> (Self, Vec<String>) {
        let mut command = vec!["strace".to_owned(), "-D".to_owned()];
        command.extend(follows.then(|| "-f".to_owned()));
        command.extend(flags(purpose, base, &output));
        assert_installed();
        let trace = Self {
            base: base.to_owned(),
            output,
            tracer: None,
        };
        (trace, command)
    }

    /// Traces the thread of this name of a process that runs, from when this returns.
    pub(crate) fn of_thread(
        purpose: Purpose<'_>,
        base: &Path,
        output: PathBuf,
        process: u32,
        thread: &str,
    ) -> Self {
        assert_installed();
        let mut tracer = Command::new("strace")
            .args(flags(purpose, base, &output))
            .args(["-p", &thread_id(process, thread).to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if !line.ends_with(" attached\n") {
            said.read_to_string(&mut line).unwrap();
            panic!("this test traces a running process, and may not: {line}");
        }
        Self {
            base: base.to_owned(),
            output,
            tracer: Some(tracer),
        }
    }

    /// The line of the call that failed, if it has come about.
    pub(crate) fn injected(&self, fault: Fault) -> Option<String> {
        let said = self.said();
        let mut before = None;
        for line in said.lines() {
            if fault == Fault::Kill && line.contains(fault.text()) {
                return before.map(str::to_owned);
            }
            if fault != Fault::Kill && line.ends_with("(INJECTED)") {
                return Some(line.to_owned());
            }
            before = Some(line);
        }
        None
    }

    /// All calls that changed a file, once the process has ended.
    pub(crate) fn calls(mut self) -> Vec<Call> {
        self.wait_for_end();
        calls(&self.said(), &self.base)
    }

    /// Waits until strace has said everything, after the process has ended.
    pub(crate) fn wait_for_end(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            tracer.wait().unwrap();
            return;
        }
        let deadline = Instant::now() + WAIT_MAX;
        while !self.said().contains("+++\n") {
            assert!(
                Instant::now() < deadline,
                "strace says of no end:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            let _ = tracer.kill();
            let _ = tracer.wait();
        }
    }
}

fn assert_installed() {
    let found = Command::new("strace").arg("-V").output();
    assert!(
        found.is_ok(),
        "this test makes system calls fail by strace, and there is none: apt-get install strace"
    );
}

fn flags(purpose: Purpose<'_>, base: &Path, output: &Path) -> Vec<String> {
    let mut flags = ["-y", "-s", "0", "-o", output.to_str().unwrap()]
        .map(str::to_owned)
        .to_vec();
    match purpose {
        Purpose::Count => flags.extend(["-e".to_owned(), format!("trace={CHANGING_CALLS}")]),
        Purpose::Inject(call, fault) => flags.extend(call.injection(fault, base)),
    }
    flags
}

/// The id of the thread of this name.
fn thread_id(process: u32, name: &str) -> u32 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let named = threads.map(Result::unwrap).find(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let id = named.expect("every thread has a name").file_name();
    id.to_str().unwrap().parse().unwrap()
}

/// The calls in what strace said that changed, or opened to change, a file below `base`.
fn calls(said: &str, base: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut counts = BTreeMap::new();
    for line in said.lines() {
        let thread_digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let (thread, call) = line.split_at(thread_digits);
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        let mut count = |file: Option<&str>| {
            let count = counts.entry((thread, name, file.map(str::to_owned)));
            *count.and_modify(|count| *count += 1).or_insert(1)
        };
        let number = count(None);
        let Some(file) = file_of(arguments, base) else {
            continue;
        };
        let number_on_file = count(Some(&file));
        if name != "openat" || arguments.contains("O_WRONLY") {
            calls.push(Call {
                name: name.to_owned(),
                number: match varies(&file) {
                    true => number,
                    false => number_on_file,
                },
                file,
            });
        }
    }
    calls
}

/// The first file below `base` in the arguments of a call, seen from there.
pub(crate) fn file_of(arguments: &str, base: &Path) -> Option<String> {
    let base = base.to_str().unwrap();
    let ends = |c: char| c == '>' || c == '"';
    arguments.match_indices(base).find_map(|(at, _)| {
        let (path, _) = arguments[at + base.len()..].split_once(ends)?;
        let is_below = path.is_empty() || path.starts_with('/');
        is_below.then(|| path.trim_start_matches('/').to_owned())
    })
}

#[test]
fn what_strace_says_is_understood() {
    let said = r#"openat(AT_FDCWD</srv>, "/tmp/b/data/lock", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 8</tmp/b/data/lock>
openat(AT_FDCWD</srv>, "/tmp/b/data", O_RDONLY|O_CLOEXEC) = 9</tmp/b/data>
write(13<anon_inode:[eventfd]>, ""..., 8) = 8
17 write(12</tmp/b/data/identity.tmp>, ""..., 34) = 34
18 write(12</tmp/b/data/identity.tmp>, ""..., 34) = 34
18 write(12</tmp/bc/data/identity.tmp>, ""..., 34) = 34
fsync(8</tmp/b>)               = 0
rename("/tmp/b/data/x", "/tmp/b/data/y") = 0
rename("/tmp/b/data/x", "/tmp/b/data/z") = 0
openat(AT_FDCWD</srv>, "/tmp/b/data/lock", O_WRONLY|O_CREAT, 0666 <unfinished ...>
<... openat resumed>) = 9
+++ exited with 1 +++
"#;
    let found = calls(said, Path::new("/tmp/b"));
    let found: Vec<(&str, &str, usize)> = found
        .iter()
        .map(|call| (call.name.as_str(), call.file.as_str(), call.number))
        .collect();
    let expected = [
        ("openat", "data/lock", 1),
        ("write", "data/identity.tmp", 1),
        ("write", "data/identity.tmp", 1),
        ("fsync", "", 1),
        ("rename", "data/x", 1),
        ("rename", "data/x", 2),
        ("openat", "data/lock", 2),
    ];
    assert_eq!(found, expected);
}
