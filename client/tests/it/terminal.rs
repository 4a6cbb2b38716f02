//! The prompt at a terminal of 80 columns: what a person types, and what then stands on the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Outcome, Request};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::fake::{Fake, Reaction, endpoints};

const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// Nothing takes so long unless it is broken.
const WAIT_MAX: Duration = Duration::from_secs(30);

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

/// The program at a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Seen>>,
    /// Of its history, unless it is to be found again.
    _home: TempDir,
}

/// What the terminal was sent.
struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    fn start(fakes: &[&Fake]) -> Self {
        Self::start_with(fakes, |_| {})
    }

    fn start_with(fakes: &[&Fake], change: impl FnOnce(&mut Command)) -> Self {
        Self::start_waiting(fakes, "2s", change)
    }

    /// With so much time for each operation.
    fn start_waiting(fakes: &[&Fake], timeout: &str, change: impl FnOnce(&mut Command)) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&keyboard, size).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let line = File::from(rustix::fs::open(name, flags, Mode::empty()).unwrap());
        let home = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"));
        command
            .args([
                "--endpoints",
                &endpoints(fakes),
                "--timeout",
                timeout,
                "repl",
            ])
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", home.path())
            .env_remove("NO_COLOR")
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line);
        change(&mut command);
        let child = command.spawn().unwrap();
        let keyboard = File::from(keyboard);
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            bytes: Vec::new(),
        }));
        let (mut shown, sink) = (keyboard.try_clone().unwrap(), Arc::clone(&seen));
        // It ends with the program: nobody has the other side open then.
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                let mut seen = sink.lock().unwrap();
                seen.screen.process(&bytes[..count]);
                seen.bytes.extend_from_slice(&bytes[..count]);
            }
        });
        let terminal = Self {
            child,
            keyboard,
            seen,
            _home: home,
        };
        terminal.wait_for(|screen| screen.ends_with("tcp>"));
        terminal
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// What stands on the screen, without spaces at the end.
    fn screen(&self) -> String {
        let seen = self.seen.lock().unwrap();
        seen.screen.screen().contents().trim_end().to_owned()
    }

    fn wait_for(&self, is_there: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !is_there(&self.screen()) {
            let screen = self.screen();
            assert!(began.elapsed() < WAIT_MAX, "it shows\n{screen}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_until_it_writes_to(&self, fake: &Fake) {
        self.wait_for(|_| !fake.writes().is_empty());
    }

    /// Waits until the last lines are these.
    fn shows(&self, end: &str) {
        self.wait_for(|screen| screen.ends_with(end));
    }

    /// Types a command and waits for its answer, and for the next prompt.
    fn asks(&mut self, command: &str, answer: &str) {
        self.types(&format!("{command}\r"));
        self.shows(&format!("{command}\n{answer}\nkvpaxos 1/1 leader=r3 tcp>"));
    }

    fn ends(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < WAIT_MAX, "it shows\n{}", self.screen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn has_been_sent(&self, sequence: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        let wanted = sequence.as_bytes();
        seen.bytes.windows(wanted.len()).any(|part| part == wanted)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_arrow_brings_back_what_was_typed_also_before_a_restart() {
    let fake = Fake::store();
    let home = TempDir::new().unwrap();
    let at_home = |command: &mut Command| {
        command.env("XDG_STATE_HOME", home.path());
    };
    let mut terminal = Terminal::start_with(&[&fake], at_home);
    terminal.asks("APPEND a one", "OK length=3 revision=2");
    terminal.asks("GET a", "one");
    terminal.types(UP);
    terminal.shows("tcp> GET a");
    terminal.types(UP);
    terminal.shows("tcp> APPEND a one");
    terminal.types("two\r");
    terminal.shows("OK length=9 revision=3\nkvpaxos 1/1 leader=r3 tcp>");
    terminal.types(CTRL_D);
    assert!(terminal.ends().success());
    let mut terminal = Terminal::start_with(&[&fake], at_home);
    terminal.types(UP);
    terminal.shows("tcp> APPEND a onetwo");
}

#[test]
fn the_tab_completes_commands_and_keys() {
    let fake = Fake::store();
    let mut terminal = Terminal::start(&[&fake]);
    terminal.asks("PUT colour blue", "OK revision=2");
    terminal.types("ge\t");
    terminal.shows("tcp> GET key");
    terminal.types("col\t");
    terminal.shows("tcp> GET colour");
    terminal.types("\r");
    terminal.shows("blue\nkvpaxos 1/1 leader=r3 tcp>");
}

#[test]
fn a_line_is_given_up_with_ctrl_c_and_the_prompt_with_ctrl_d() {
    let fake = Fake::store();
    let mut terminal = Terminal::start(&[&fake]);
    terminal.types("PUT a one");
    terminal.shows("tcp> PUT a one");
    terminal.types(CTRL_C);
    terminal.shows("PUT a one\n^C\nkvpaxos 1/1 leader=r3 tcp>");
    assert_eq!(fake.value(b"a"), None);
    // In a line it is no end, as in every other editor of lines.
    terminal.types("PUT a two");
    terminal.types(CTRL_D);
    terminal.types("\r");
    terminal.shows("OK revision=2\nkvpaxos 1/1 leader=r3 tcp>");
    terminal.types(CTRL_D);
    assert_eq!(terminal.ends().code(), Some(0));
}

#[test]
fn a_value_of_100_kb_can_be_pasted() {
    let fake = Fake::store();
    let mut terminal = Terminal::start(&[&fake]);
    let value = "0123456789".repeat(10_000);
    terminal.types(&format!("\x1b[200~PUT a {value}\x1b[201~"));
    terminal.shows("0123456789");
    terminal.types("\r");
    terminal.shows("OK revision=2\nkvpaxos 1/1 leader=r3 tcp>");
    assert_eq!(fake.value(b"a").unwrap(), value.as_bytes());
}

#[test]
fn keys_that_come_before_the_prompt_is_back_are_not_lost() {
    let fake = Fake::store();
    let mut terminal = Terminal::start(&[&fake]);
    terminal.types("PUT a one\rAPPEND a two\rGET a\r");
    terminal.shows("tcp> GET a\nonetwo\nkvpaxos 1/1 leader=r3 tcp>");
}

/// A store that answers each write only when it is told to.
fn slow_store() -> (Fake, Sender<()>) {
    let (go_on, is_to_go_on) = channel();
    let fake = Fake::with(move |request, outcome| {
        if matches!(request, Request::Write { .. }) {
            is_to_go_on.recv().unwrap();
        }
        Reaction::Answer(outcome)
    });
    (fake, go_on)
}

#[test]
fn ctrl_d_that_comes_while_a_command_runs_ends_the_prompt_after_it() {
    let (fake, go_on) = slow_store();
    let mut terminal = Terminal::start(&[&fake]);
    terminal.types("PUT a one\r");
    terminal.wait_until_it_writes_to(&fake);
    terminal.types(CTRL_D);
    go_on.send(()).unwrap();
    assert_eq!(terminal.ends().code(), Some(0));
    terminal.wait_for(|screen| screen.contains("OK revision=2"));
}

#[test]
fn keys_that_come_while_a_command_runs_are_not_lost() {
    let (fake, go_on) = slow_store();
    let mut terminal = Terminal::start(&[&fake]);
    terminal.types("PUT a one\r");
    terminal.wait_until_it_writes_to(&fake);
    terminal.types("GET a\rGET ");
    terminal.shows("GET");
    go_on.send(()).unwrap();
    terminal.shows("tcp> GET a\none\nkvpaxos 1/1 leader=r3 tcp> GET key");
    terminal.types("a\r");
    terminal.shows("tcp> GET a\none\nkvpaxos 1/1 leader=r3 tcp>");
}

#[test]
fn colours_are_shown_unless_they_are_not_wanted() {
    let fake = Fake::store();
    let mut coloured = Terminal::start(&[&fake]);
    coloured.asks("GET a", "(absent)");
    coloured.types("PUT");
    coloured.shows("tcp> PUT key value");
    assert!(coloured.has_been_sent("\x1b[32mkvpaxos 1/1"));
    let mut plain = Terminal::start_with(&[&fake], |command| {
        command.env("NO_COLOR", "1");
    });
    plain.asks("GET a", "(absent)");
    plain.types("PUT");
    plain.shows("tcp> PUT");
    let seen = plain.seen.lock().unwrap();
    let text = String::from_utf8_lossy(&seen.bytes);
    let mut sequences = text.split("\x1b[").skip(1);
    let is_colour = |sequence: &str| {
        let end = sequence.find(|letter: char| letter.is_ascii_alphabetic());
        end.is_some_and(|end| &sequence[end..=end] == "m")
    };
    assert!(!sequences.any(is_colour), "{text:?}");
}

#[test]
fn a_replica_that_is_gone_is_seen_in_the_prompt_and_the_command_runs_elsewhere() {
    let (first, second) = (Fake::store().numbered(1), Fake::store().numbered(2));
    let mut terminal = Terminal::start(&[&first, &second]);
    terminal.types("PUT a one\r");
    terminal.shows("OK revision=2\nkvpaxos 2/2 leader=r3 tcp>");
    first.go();
    terminal.types("PUT a two\r");
    terminal.shows(
        "-- connected to r2 instead of r1; the command ran once\nkvpaxos 1/2 leader=r3 tcp>",
    );
    second.go();
    terminal.types("PUT a three\r");
    terminal.wait_for(|screen| screen.contains("ms; the outcome of the write is unknown"));
    terminal.shows("GET a then tells\nkvpaxos 0/2 no leader tcp>");
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_prompt() {
    let mut writes = 0;
    let fake = Fake::with(move |request, outcome| {
        writes += u32::from(matches!(request, Request::Write { .. }));
        match request {
            Request::Write { .. } if writes == 1 => Reaction::Silence,
            _ => Reaction::Answer(outcome),
        }
    });
    let mut terminal = Terminal::start_waiting(&[&fake], "1h", |_| {});
    terminal.types("PUT a one\r");
    terminal.wait_until_it_writes_to(&fake);
    // This terminal is nobody's own, so it sends no signal by itself.
    let process = terminal.child.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &process]).status();
    assert!(interrupted.unwrap().success());
    terminal.wait_for(|screen| {
        screen.contains("stopped waiting for an answer; the outcome of the write is unknown")
    });
    terminal
        .shows("your next write settles that, and GET a then tells\nkvpaxos 1/1 leader=r3 tcp>");
    terminal.asks("PUT a two", "OK revision=3");
}

#[test]
fn a_cluster_that_was_founded_anew_is_told_from_the_one_before() {
    let cluster = Arc::new(Mutex::new(7));
    let shown = Arc::clone(&cluster);
    let fake = Fake::with(move |_, outcome| {
        Reaction::Answer(match outcome {
            Outcome::Status(mut report) => {
                report.cluster = *shown.lock().unwrap();
                Outcome::Status(report)
            }
            other => other,
        })
    });
    let mut terminal = Terminal::start(&[&fake]);
    terminal.asks("GET a", "(absent)");
    *cluster.lock().unwrap() = 8;
    let said = "(absent)\n-- this is another cluster than before, with other data";
    terminal.asks("GET a", said);
    terminal.asks("GET a", "(absent)");
}
