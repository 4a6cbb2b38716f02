//! What goes over UDP: the same requests and answers as over TCP, one in each datagram, and what UDP needs beside them.
//!
//! A sender's address can be forged. A replica therefore sends an address more bytes than it got from there only after
//! that address has *proved* itself: it sent back a [`Cookie`] that only whoever receives at that address can have.
//!
//! ```text
//! client -> replica   DatagramHello      who are you, what do you take, and a cookie please (padded)
//! replica -> client   DatagramGreeting   that, and a cookie; never longer than the hello
//! client -> replica   Request            with the cookie, in any number and order
//! replica -> client   Answer             or a cookie: the address is not proved (any more), and nothing was done
//! ```
//! The first two are for convenience: a request without a cookie may come at any time. No order holds between
//! datagrams, and any may be lost or come twice; answers are matched by tag and by the address that they come from.

use std::fmt;

use crate::answer::Answer;
use crate::request::Request;

/// What every datagram of a client begins with.
pub const DATAGRAM_MAGIC: [u8; 4] = *b"KVPU";

/// What every datagram of a replica begins with; another one, so that one that went the wrong way is named.
pub const REPLY_MAGIC: [u8; 4] = *b"KVPR";

/// The longest datagram that a replica takes and sends unless it is told otherwise, in bytes: it passes every usual
/// network in one piece.
pub const DATAGRAM_BYTES_MAX_DEFAULT: u32 = 1_200;

/// The longest that UDP over IPv4 can carry, in bytes.
pub const DATAGRAM_BYTES_MAX_MAX: u32 = 65_507;

/// The lowest limit that may be set, in bytes: every refusal and every status without its remark fit.
pub const DATAGRAM_BYTES_MAX_MIN: u32 = 512;

/// A hello is padded to this length, in bytes. The greeting has less than half of it, so that it can grow.
pub const HELLO_DATAGRAM_BYTES_MIN: usize = 128;

/// Bytes of a [`Cookie`].
pub const COOKIE_BYTES: usize = 16;

/// What a replica gives to an address and wants to see again, opaque to everybody else. All zero means "none".
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Cookie(pub [u8; COOKIE_BYTES]);

impl Cookie {
    /// What a client sends that has none.
    pub const NONE: Self = Self([0; COOKIE_BYTES]);

    /// Whether it is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Debug for Cookie {
    /// Not its bytes: whoever reads a log need not be able to use it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() {
            "no cookie"
        } else {
            "a cookie"
        })
    }
}

/// Asks a replica who it is, what it takes, and for a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramHello {
    /// The client's number for it; the greeting repeats it.
    pub tag: u64,
    /// What the client calls itself in logs; at most [`crate::LABEL_BYTES_MAX`] bytes, longer ones are cut.
    pub label: String,
}

/// What a replica says of itself, and a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramGreeting {
    /// The tag of the hello.
    pub tag: u64,
    /// For this client's address, at this replica.
    pub cookie: Cookie,
    /// The cluster's id; 0 before it is founded.
    pub cluster: u64,
    /// The replica that leads, as far as this one knows.
    pub leader: Option<u8>,
    /// The longest key, in bytes.
    pub key_bytes_max: u32,
    /// The longest value, in bytes; more than a datagram takes goes over TCP.
    pub value_bytes_max: u32,
    /// The longest datagram that this replica takes and sends, in bytes.
    pub datagram_bytes_max: u32,
}

/// What a client may say in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Who are you?
    Hello(DatagramHello),
    /// The same requests as over TCP.
    Request(Request),
}

/// A datagram of a replica. Which replica is said in each, since none comes over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDatagram {
    /// Who sends it. A client notes which of its endpoints answers to this id (SPEC A7).
    pub replica: u8,
    /// What it says.
    pub message: ServerMessage,
}

/// What a replica may say in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The answer to a hello.
    Greeting(DatagramGreeting),
    /// The request with this tag was *not* done, because its address is not proved: to be sent again with this cookie,
    /// which takes the place of any older one.
    Cookie {
        /// The tag of the request.
        tag: u64,
        /// For this client's address, at this replica.
        cookie: Cookie,
    },
    /// The same answers as over TCP.
    Answer(Answer),
}
