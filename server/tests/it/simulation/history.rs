//! What clients asked and what they heard, with the times of both.

/// One operation of a client on one key.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: u64,
    pub(crate) kind: Kind,
    pub(crate) called: u64,
    /// When the answer came; none if the outcome is unknown: it may take effect at any later time, or never.
    pub(crate) returned: Option<u64>,
    /// It was sent once, on one connection: its place among the others of that connection must be kept (SPEC A6).
    pub(crate) in_order: bool,
    /// The revision of the change, as the answer said, if it is known: changes take effect in the order of theirs (SPEC A1).
    pub(crate) revision: Option<u64>,
}

/// What was asked, and what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put { value: Vec<u8> },
    Append { value: Vec<u8>, length: Option<u64> },
    Delete { existed: Option<bool> },
    Get { value: Option<Vec<u8>> },
}
