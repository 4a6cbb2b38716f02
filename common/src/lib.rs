//! The client protocol of kvpaxos: what a client asks, what a replica answers, and the bytes of both.
//!
//! Owns requests, answers, the opening of a connection, their encoding, the framing of a stream, and how byte strings
//! are shown and typed. It has no socket, no clock and no thread, and depends on nothing else of ours.

pub mod codec;
pub mod frame;
pub mod quote;
pub mod wire;

mod answer;
mod datagram;
mod display;
mod greeting;
mod request;

pub use answer::{Answer, DatagramCounts, Limit, Outcome, Refusal, Role, StatusReport};
pub use codec::{ChangeRef, ClientDatagram, ClientFrame, RequestError, ServerFrame, WriteRef};
pub use datagram::{
    COOKIE_BYTES, ClientMessage, Cookie, DATAGRAM_BYTES_MAX_DEFAULT, DATAGRAM_BYTES_MAX_MAX,
    DATAGRAM_BYTES_MAX_MIN, DATAGRAM_MAGIC, DatagramGreeting, DatagramHello,
    HELLO_DATAGRAM_BYTES_MIN, REPLY_MAGIC, ServerDatagram, ServerMessage,
};
pub use frame::{FrameBuffer, FrameError};
pub use greeting::{
    FRAME_OVERHEAD_BYTES_MAX, Greeting, Hello, LABEL_BYTES_MAX, MAGIC, PEER_MAGIC,
    PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, WireLimits,
};
pub use request::{Change, Request, SessionId, Write};
pub use wire::DecodeError;
