//! How a connection opens: the client says hello, the replica greets it and announces its limits.
//!
//! ```text
//! client -> replica   Hello     which protocol, which version, a label for the log
//! replica -> client   Greeting  who it is, who leads, what it allows    (or a refusal with tag 0: busy)
//! client -> replica   requests, as many at once as the greeting allows
//! ```

/// The version of the client protocol described by this crate.
pub const PROTOCOL_VERSION: u16 = 1;

/// The oldest version still spoken.
pub const PROTOCOL_VERSION_MIN: u16 = 1;

/// What both opening frames of a client connection begin with.
pub const MAGIC: [u8; 4] = *b"KVPX";

/// What a link between replicas begins with; known here so that a client on the wrong port is told so.
pub const PEER_MAGIC: [u8; 4] = *b"KVPP";

/// The longest label of a client, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;

/// How much longer than its value a frame may be, in bytes: room for the key and for every other field.
pub const FRAME_OVERHEAD_BYTES_MAX: u32 = 64 * 1024;

/// The first frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The highest version that the client speaks.
    pub version: u16,
    /// What the client calls itself in logs; at most [`LABEL_BYTES_MAX`] bytes, longer ones are cut.
    pub label: String,
}

/// The first frame of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version that this connection speaks: at most the client's.
    pub version: u16,
    /// The cluster's id; 0 before it is founded.
    pub cluster: u64,
    /// Which replica this is. A client notes which of its endpoints answers to this id (SPEC A7).
    pub replica: u8,
    /// The replica that leads, as far as this one knows.
    pub leader: Option<u8>,
    /// What may be sent on this connection.
    pub limits: WireLimits,
}

/// What a replica announces that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// The longest key, in bytes.
    pub key_bytes_max: u32,
    /// The longest value, in bytes.
    pub value_bytes_max: u32,
    /// The longest frame, in bytes, without its length.
    pub frame_bytes_max: u32,
    /// How many requests may be unanswered on one connection; at this number the replica stops reading it.
    pub outstanding_max: u32,
}

impl WireLimits {
    /// The limits that follow from the longest value, in bytes.
    #[must_use]
    pub const fn for_value_bytes_max(value_bytes_max: u32) -> Self {
        Self {
            key_bytes_max: 4_096,
            value_bytes_max,
            frame_bytes_max: value_bytes_max.saturating_add(FRAME_OVERHEAD_BYTES_MAX),
            outstanding_max: 1_024,
        }
    }
}

impl Default for WireLimits {
    /// Values of 8 MiB.
    fn default() -> Self {
        Self::for_value_bytes_max(8 << 20)
    }
}
