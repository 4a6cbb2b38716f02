//! The client protocol of kvpaxos: what a client asks, what a replica answers, and the bytes of both.
//!
//! Owns requests, answers, the opening of a connection, their encoding, the framing of a stream, and how byte strings
//! are shown and typed. It has no socket, no clock and no thread, and depends on nothing else of ours.
//!
//! ```text
//! over TCP   │ length │ message │ length │ message │ ..      FrameBuffer gives whole messages
//! over UDP   │ header with a cookie │ message │              one in each datagram
//!                                       │
//!                                       ▼
//!                    client  ──▶ ClientFrame::decode  ──▶ Request, or Hello
//!                    replica ──▶ ServerFrame::decode  ──▶ Answer, or Greeting
//! ```
//!
//! A request is written at one end and read at the other, in whatever pieces it comes:
//!
//! ```
//! use common::{ClientFrame, FrameBuffer, Request, WireLimits};
//!
//! let request = Request::Get { tag: 4, key: b"colour".to_vec() };
//! let mut bytes = Vec::new();
//! request.append_to(&mut bytes);
//! assert_eq!(bytes, b"\0\0\0\x11\x04\0\0\0\0\0\0\0\x04\0\x06colour");
//!
//! let limits = WireLimits::default();
//! let mut frames = FrameBuffer::new(limits.frame_bytes_max);
//! frames.extend(&bytes[..10]);
//! assert_eq!(frames.next_frame(), Ok(None));
//! frames.extend(&bytes[10..]);
//! let frame = frames.next_frame().unwrap().expect("the rest has come");
//! assert_eq!(ClientFrame::decode(frame, &limits), Ok(ClientFrame::Request(request)));
//! ```
//!
//! What the fields mean, and how a request is repeated without running twice, is told in `docs/PROTOCOL.md`; a test
//! checks each of its examples against this codec. Start here with [`Request`], [`Outcome`] and [`Refusal`].

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
