//! Log lines that input from outside causes: at most ten a second for each cause, the others are counted.
//!
//! Owns the counters, one window per cause, for the whole process, as the log itself is. Whoever floods a port can
//! therefore neither fill the disk nor hide other lines. It never logs bytes as they came: callers give lengths,
//! addresses and words.

use std::fmt;
use std::time::{Duration, Instant};

use log::Level;
use parking_lot::Mutex;

/// What kind of input a line is about. Each kind has an allowance of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A client connection that does not keep to frames or does not greet as a client.
    ClientFraming,
    /// A frame of a client that could be delimited but not understood.
    ClientMalformed,
    /// A client that is too slow, reads too little, or vanishes in the middle of a frame.
    ClientSlow,
    /// A limit of the server that clients ran into.
    ClientLimit,
    /// A connection on the peer port that is no replica of this cluster.
    PeerStranger,
    /// A peer that greeted well and then sent what is not a message.
    PeerMalformed,
    /// A link to a peer that comes and goes.
    PeerLink,
    /// A datagram that could not be understood, or is too long.
    DatagramMalformed,
    /// A datagram with a cookie that was made for somebody else.
    DatagramCookie,
}

impl Cause {
    const COUNT: usize = 9;

    /// What the lines that were not written were about.
    fn subject(self) -> &'static str {
        match self {
            Self::ClientFraming => "client connections that broke framing or did not greet",
            Self::ClientMalformed => "malformed requests",
            Self::ClientSlow => "slow or vanishing clients",
            Self::ClientLimit => "limits that clients ran into",
            Self::PeerStranger => "strangers on the peer port",
            Self::PeerMalformed => "malformed messages between replicas",
            Self::PeerLink => "links between replicas",
            Self::DatagramMalformed => "malformed datagrams",
            Self::DatagramCookie => "datagrams with others' cookies",
        }
    }
}

/// Logs a line about input of this kind, or counts it if there were too many in this second. Lines of level debug are
/// not limited: who asks for them wants all.
pub fn log(cause: Cause, level: Level, line: fmt::Arguments<'_>) {
    if level >= Level::Debug {
        log::log!(level, "{line}");
        return;
    }
    let admission = WINDOWS[cause as usize].lock().admit(Instant::now());
    if let Some(suppressed) = admission.suppressed_before {
        warn_suppressed(cause, suppressed);
    }
    if admission.admitted {
        log::log!(level, "{line}");
    } else {
        log::debug!("{line}");
    }
}

/// Logs how many lines were not written, for every kind whose second is over. To be called about once a second.
pub fn report_suppressed() {
    let now = Instant::now();
    for cause in ALL_CAUSES {
        let suppressed = WINDOWS[cause as usize].lock().close_if_over(now);
        if let Some(suppressed) = suppressed {
            warn_suppressed(cause, suppressed);
        }
    }
}

fn warn_suppressed(cause: Cause, suppressed: u64) {
    log::warn!(
        "{suppressed} more lines about {} were not written: at most {LINES_PER_SECOND_MAX} a second are",
        cause.subject()
    );
}

const ALL_CAUSES: [Cause; Cause::COUNT] = [
    Cause::ClientFraming,
    Cause::ClientMalformed,
    Cause::ClientSlow,
    Cause::ClientLimit,
    Cause::PeerStranger,
    Cause::PeerMalformed,
    Cause::PeerLink,
    Cause::DatagramMalformed,
    Cause::DatagramCookie,
];

/// Enough to see what goes on, and 100 MB a day at worst.
const LINES_PER_SECOND_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

static WINDOWS: [Mutex<Window>; Cause::COUNT] = [const { Mutex::new(Window::new()) }; Cause::COUNT];

/// The allowance of one kind in one second.
struct Window {
    began: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Admission {
    admitted: bool,
    /// Lines that the second before this one counted and did not write.
    suppressed_before: Option<u64>,
}

impl Window {
    const fn new() -> Self {
        Self {
            began: None,
            admitted: 0,
            suppressed: 0,
        }
    }

    fn admit(&mut self, now: Instant) -> Admission {
        let suppressed_before = self.close_if_over(now);
        if self.began.is_none() {
            self.began = Some(now);
        }
        let admitted = self.admitted < LINES_PER_SECOND_MAX;
        if admitted {
            self.admitted += 1;
        } else {
            self.suppressed += 1;
        }
        Admission {
            admitted,
            suppressed_before,
        }
    }

    fn close_if_over(&mut self, now: Instant) -> Option<u64> {
        let began = self.began?;
        if now.duration_since(began) < WINDOW {
            return None;
        }
        let suppressed = self.suppressed;
        *self = Self::new();
        (suppressed > 0).then_some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_pass_and_the_rest_is_counted() {
        let mut window = Window::new();
        let start = Instant::now();
        let admitted = (0..25).filter(|_| window.admit(start).admitted).count();
        assert_eq!(admitted, 10);
        let later = window.admit(start + WINDOW);
        let expected = Admission {
            admitted: true,
            suppressed_before: Some(15),
        };
        assert_eq!(later, expected);
    }

    #[test]
    fn counts_are_reported_although_nothing_more_comes() {
        let mut window = Window::new();
        let start = Instant::now();
        for _ in 0..11 {
            window.admit(start);
        }
        assert_eq!(window.close_if_over(start), None);
        assert_eq!(window.close_if_over(start + WINDOW), Some(1));
        assert_eq!(window.close_if_over(start + WINDOW * 2), None);
    }

    #[test]
    fn every_cause_has_its_own_place() {
        for (place, cause) in ALL_CAUSES.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
    }
}
