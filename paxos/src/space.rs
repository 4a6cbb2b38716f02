//! How much more the acceptors' disks take (RULES R18).
//!
//! What was proposed must be accepted, and an acceptor whose disk is full cannot. So each says how much room it has
//! before it has none, and a leader stops proposing what can wait while there is still room for what cannot.

use std::fmt;

/// What may still be written to a disk; more is greater. What the steps are in bytes is the driver's to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Hardly anything: what is left is for agreement itself, for no-ops and rejoins.
    Spent,
    /// Enough for all that is in flight, and for what will make room.
    Reserve,
    /// Enough for anything.
    #[default]
    Ample,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spent => "spent",
            Self::Reserve => "reserve",
            Self::Ample => "ample",
        })
    }
}
