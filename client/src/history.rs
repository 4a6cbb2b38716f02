//! What clients asked and what they heard, and whether a linearizable store could have answered so.
//!
//! A history is a list of operations, each with the time at which it was called and the time at which its answer came. The
//! history is *linearizable* (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", 1990) if
//! every operation can be thought to take effect at one moment between the two, so that all answers are what one copy of
//! the data would have given, one operation after the other. An operation whose outcome is unknown has no end: it takes
//! effect at any moment after its call, or never. One that failed certainly took no effect.
//!
//! ```text
//! client 1  |---- PUT k a ----|
//! client 2       |--- GET k: a ---|          right: the PUT takes effect before the first GET
//! client 3                     |--- GET k: (absent) ---|         wrong: ... and stays in effect
//! ```
//!
//! Keys are independent objects, and linearizability is *local* (Herlihy and Wing, section 3): a history is linearizable if
//! the part of each key is. So each key is judged alone, by [`check_key`], and each begins absent.
//!
//! To judge is to search for an order ([`judge_key`]). The store of this project helps: its answers name revisions, and
//! changes must come in the order of theirs. But a history without revisions, from any store, can be judged as well.

mod content;
mod explain;
mod line;
mod linearizability;
mod recorder;
mod shrink;

pub use explain::Explanation;
pub use line::{Line, LineError, ReadError, Status, read_lines};
pub use linearizability::{Judge, Reason, Verdict, check_key, judge_key, value_after};
pub use recorder::Recorder;
pub use shrink::shrink;

/// One operation of a client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u64,
    /// What was asked and heard.
    pub kind: Kind,
    /// When it was asked, in any unit that all operations share.
    pub called: u64,
    /// When the answer came; none if the outcome is unknown: it may take effect at any later time, or never.
    pub returned: Option<u64>,
    /// It was sent once, on one connection: its place among the others of that client must be kept (SPEC A6).
    pub in_order: bool,
    /// The revision that the answer named, if one did: of the change, or, where nothing was changed, the one that was seen.
    pub revision: Option<u64>,
}

/// What was asked, and what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value was replaced.
    Put {
        /// By this.
        value: Vec<u8>,
    },
    /// The value was extended, or made where there was none.
    Append {
        /// What was added.
        value: Vec<u8>,
        /// The length of the value after it, if that was heard.
        length: Option<u64>,
    },
    /// The key was removed.
    Delete {
        /// Whether it was there, if that was heard.
        existed: Option<bool>,
    },
    /// The value was read.
    Get {
        /// What was there; none if the key was absent.
        value: Option<Vec<u8>>,
    },
}
