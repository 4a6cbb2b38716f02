//! The client of kvpaxos, as a library.
//!
//! [`Client`] is for programs that do one thing after the other; [`Fleet`] keeps many clients busy on one thread.
//! Both give the guarantees of the cluster: an operation that was answered is done and stays done, a write is done
//! once however often it had to be sent, and an error says whether the write may have run.

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
