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
    /// The revision that the answer named, if one did: of the change, or, where nothing was changed, the one that was seen.
    pub(crate) revision: Option<u64>,
}

impl Operation {
    /// Where it stands among others whose answers named a revision (SPEC A1): changes in the order of theirs, and what saw
    /// a revision behind the change that made it.
    pub(crate) fn revision(&self) -> Option<(u64, bool)> {
        let sees = matches!(
            self.kind,
            Kind::Get { .. }
                | Kind::Delete {
                    existed: Some(false)
                }
        );
        self.revision.map(|revision| (revision, sees))
    }
}

/// What was asked, and what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put { value: Vec<u8> },
    Append { value: Vec<u8>, length: Option<u64> },
    Delete { existed: Option<bool> },
    Get { value: Option<Vec<u8>> },
}
