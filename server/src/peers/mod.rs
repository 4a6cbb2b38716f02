//! Links to the other replicas.
mod message;
pub use message::PeerMessage;
