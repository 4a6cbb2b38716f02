//! The log: one line an event, with UTC date and milliseconds, to standard error or a file.
//!
//! simplelog makes the lines; a thread of this module writes them. Between the two stands a bounded channel, so that
//! a slow disk or terminal never stalls the service: what does not fit is counted, and the count is logged (SPEC C6).
//! Also owns what happens on a panic, which is a line like any other and then the end of the process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger, format_description};

/// Keeps the log's writer reachable. The log works for as long as the process does; this only flushes it.
#[derive(Clone, Debug)]
pub struct Logging {
    lines: Sender<Line>,
}

impl Logging {
    /// Starts the log of the whole process.
    ///
    /// # Errors
    /// The file cannot be opened, or the process has a log already.
    pub fn start(level: LevelFilter, file: Option<&Path>) -> io::Result<Self> {
        let target: Box<dyn Write + Send> = match file {
            None => Box::new(io::stderr()),
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (lines, waiting) = crossbeam_channel::bounded(LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer_dropped = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(target, &waiting, &writer_dropped))?;
        let queue = LineQueue {
            lines: lines.clone(),
            line: Vec::new(),
            dropped,
        };
        let config = ConfigBuilder::new()
            .set_time_format_custom(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
            .set_time_level(LevelFilter::Error)
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .build();
        WriteLogger::init(level, config, queue).map_err(io::Error::other)?;
        Ok(Self { lines })
    }

    /// Waits until every line so far is written, at most half a second.
    pub fn flush(&self) {
        let (written, all_written) = crossbeam_channel::bounded(1);
        if self
            .lines
            .send_timeout(Line::Flush(written), FLUSH_WAIT_MAX)
            .is_ok()
        {
            // A time-out means that the target is stuck, and there is nobody left to tell.
            let _ = all_written.recv_timeout(FLUSH_WAIT_MAX);
        }
    }

    /// From now on a panic in any thread is logged, with its place, and ends the process with exit code 1: a thread
    /// that is missing would leave a replica that looks alive and is not.
    pub fn stop_process_on_panic(&self) {
        let logging = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("unnamed");
            let backtrace = Backtrace::capture();
            let trace = match backtrace.status() {
                BacktraceStatus::Captured => backtrace.to_string(),
                _ => String::new(),
            };
            logging.log_from_another_thread(format!("thread {name}: {panic}\n{trace}"));
            std::process::exit(1);
        }));
    }

    /// The panicking thread may hold the logger's lock, so that it cannot log itself without risk of waiting for ever.
    fn log_from_another_thread(&self, line: String) {
        let (logged, done) = crossbeam_channel::bounded(1);
        let logging = self.clone();
        let spawned = thread::Builder::new().spawn(move || {
            log::error!("{}", line.trim_end());
            logging.flush();
            let _ = logged.send(());
        });
        if spawned.is_ok() {
            let _ = done.recv_timeout(FLUSH_WAIT_MAX * 2);
        }
    }
}

/// Lines that may wait for the writer; with [`LINE_BYTES_MAX`] this bounds the memory of the log at 16 MiB.
const LINES_WAITING_MAX: usize = 4_096;
/// A longer line is cut: it would be a mistake of ours, and a disk full of it helps nobody.
const LINE_BYTES_MAX: usize = 4_096;
/// How long the end of the process may be held up for its last lines.
const FLUSH_WAIT_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    Flush(Sender<()>),
}

/// Gathers the pieces of a line as simplelog writes them, and hands whole lines over without ever waiting.
struct LineQueue {
    lines: Sender<Line>,
    line: Vec<u8>,
    dropped: Arc<AtomicU64>,
}

impl Write for LineQueue {
    /// simplelog ends a line with a piece that is a newline alone. A newline within any other piece belongs to the
    /// message and is escaped, so that every line of the log begins with its date.
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece == b"\n" {
            self.end_line();
        } else {
            self.append(piece);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LineQueue {
    fn append(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        for &byte in piece.iter().take(room) {
            match byte {
                b'\n' => self.line.extend_from_slice(b"\\n"),
                b'\r' => self.line.extend_from_slice(b"\\r"),
                0x1b => self.line.extend_from_slice(b"\\x1b"),
                _ => self.line.push(byte),
            }
        }
    }

    fn end_line(&mut self) {
        if self.line.len() >= LINE_BYTES_MAX {
            self.line.extend_from_slice(b"... (cut)");
        }
        let mut line = std::mem::take(&mut self.line);
        line.push(b'\n');
        if self.lines.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes until the process ends. An error of the target cannot be reported anywhere, so it is passed over: the
/// service goes on without a log rather than not at all.
fn write_lines(mut target: Box<dyn Write + Send>, waiting: &Receiver<Line>, dropped: &AtomicU64) {
    let mut gathered = Vec::new();
    while let Ok(first) = waiting.recv() {
        let mut flushes = Vec::new();
        for line in std::iter::once(first).chain(waiting.try_iter().take(LINES_WAITING_MAX)) {
            match line {
                Line::Text(text) => gathered.extend_from_slice(&text),
                Line::Flush(written) => flushes.push(written),
            }
        }
        let _ = target.write_all(&gathered).and_then(|()| target.flush());
        gathered.clear();
        gathered.shrink_to(GATHERED_BYTES_KEPT);
        for written in flushes {
            let _ = written.send(());
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            log::warn!("{lost} lines of this log were dropped because its writer was too slow");
        }
    }
}

/// Enough to gather a burst of lines without allocating again.
const GATHERED_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(room: usize) -> (LineQueue, Receiver<Line>) {
        let (lines, waiting) = crossbeam_channel::bounded(room);
        let queue = LineQueue {
            lines,
            line: Vec::new(),
            dropped: Arc::default(),
        };
        (queue, waiting)
    }

    fn text(line: Line) -> String {
        match line {
            Line::Text(text) => String::from_utf8(text).unwrap(),
            Line::Flush(_) => panic!("a flush is no text"),
        }
    }

    #[test]
    fn a_message_with_newlines_is_one_line() {
        let (mut queue, waiting) = queue(1);
        writeln!(queue, "{}", ["one\ntwo", "three"].join(" ")).unwrap();
        assert_eq!(text(waiting.recv().unwrap()), "one\\ntwo three\n");
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_and_nobody_waits() {
        let (mut queue, waiting) = queue(1);
        for number in 0..3 {
            writeln!(queue, "line {number}").unwrap();
        }
        assert_eq!(text(waiting.recv().unwrap()), "line 0\n");
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_long_line_is_cut() {
        let (mut queue, waiting) = queue(1);
        writeln!(queue, "{}", "x".repeat(LINE_BYTES_MAX * 2)).unwrap();
        let line = text(waiting.recv().unwrap());
        assert!(line.ends_with("... (cut)\n"), "{} bytes", line.len());
        assert!(line.len() < LINE_BYTES_MAX + 64);
    }
}
