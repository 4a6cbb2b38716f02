//! The client of kvpaxos, as a library.
//!
//! [`Client`] is for programs that do one thing after the other; [`Fleet`] keeps many clients busy on one thread.
//! Both give the guarantees of the cluster: an operation that was answered is done and stays done, a write is done
//! once however often it had to be sent, and an error says whether the write may have run.
//!
//! ```no_run
//! use kvpaxos_client::{Client, ClientOptions};
//!
//! let options = ClientOptions::parse("10.0.0.1:1111,10.0.0.2:1111,udp://10.0.0.3:5555")?;
//! let mut client = Client::new(options)?;
//! match client.append(b"log", b"one line\n") {
//!     Ok(appended) => println!("the log has {} bytes", appended.length),
//!     // Nothing is repeated under another name, so what may have run has run once at most.
//!     Err(error) if error.outcome_unknown() => println!("{error}: read the key to know"),
//!     Err(error) => println!("{error}: it did not run"),
//! }
//! # Ok::<(), kvpaxos_client::ClientError>(())
//! ```
//!
//! ```text
//!   Client (waits) ──▶ Fleet (one poll, all sockets) ──▶ Courier, one a client: no socket, no clock
//!                                                         ├─ Session    opened with the first write
//!                                                         ├─ Numbering  sequence, floor, after
//!                                                         ├─ Route      whom to ask, and whom next
//!                                                         └─ a Lane for each endpoint: TCP frames or datagrams
//! ```
//!
//! The courier is where the rules of `docs/PROTOCOL.md` are kept, sections 6 to 8: read `courier.rs` first, then
//! `courier/answers.rs`, which says what is done about each refusal. [`Check`] judges what clients of a running cluster
//! see. The program of the same name, with its prompt, is built on this library and on nothing beside it.

mod blocking;
mod check;
mod courier;
mod directory;
mod error;
mod fleet;
pub mod history;
mod numbering;
mod operation;
mod options;
mod throttle;
mod trouble;

pub use blocking::{Appended, Client, Deleted, Versioned};
pub use check::{Check, CheckPlan, CheckReport};
pub use courier::{Completion, Ticket};
pub use error::{ClientError, Fate};
pub use fleet::Fleet;
pub use operation::{Operation, Reply};
pub use options::{ClientOptions, ENDPOINTS_MAX, Endpoint, Transport};
pub use trouble::{Trouble, Troubles};
