//! The client protocol of kvpaxos: what a client asks, what a replica answers, and the bytes of both.

mod answer;
mod request;

pub use answer::{Answer, Limit, Outcome, Refusal, Role, StatusReport};
pub use request::{Change, Request, SessionId, Write};
