//! Links to the other replicas: what is said on them, its bytes, and the sockets.

mod codec;
mod connection;
mod dialer;
mod fields;
mod greeting;
mod link;
mod links;
mod message;
mod outgoing;

pub use codec::{PeerFrame, append_peer_frame, peer_frame_bytes_max};
pub use greeting::{GreetingError, PEER_VERSION, PeerGreeting};
pub use links::{LinkEvent, Links, LinksSettings};
pub use message::PeerMessage;
