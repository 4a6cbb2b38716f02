//! What is done with an input: arbitrary bytes go to a parser that is shipped, and what must hold for all bytes is checked.
//!
//! - Nothing panics.
//! - What is read is written as the same bytes, where there is one way to write it.
//! - A stream that comes in two pieces, cut anywhere, is read as if it came in one.
//! - What is refused changes nothing.
//!
//! How much memory is asked for is measured around all of this, by who runs it. A fuzzer cannot guess checksums: where the
//! parser asks for them, the target makes them right, so that what is behind them is reached.

mod datagrams;
mod frames;
mod history;
mod journal;
mod snapshot;

pub use datagrams::datagrams;
pub use frames::{client_frames, peer_frames};
pub use history::history;
pub use journal::{OWNER as JOURNAL_OWNER, SETTINGS as JOURNAL_SETTINGS, journal, journal_input};
pub use snapshot::snapshot;

/// A target and its name, which is that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("client_frames", client_frames),
    ("datagrams", datagrams),
    ("peer_frames", peer_frames),
    ("journal", journal),
    ("snapshot", snapshot),
    ("history", history),
];

/// Where an input of so many bytes is cut in two: everywhere if it is short, and else in a few places that its length
/// decides.
fn cuts(bytes: usize) -> impl Iterator<Item = usize> {
    let step = bytes / CUTS_MAX + 1;
    (bytes % step..=bytes).step_by(step)
}

/// More would cost the fuzzer more than they find.
const CUTS_MAX: usize = 16;
