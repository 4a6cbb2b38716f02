//! Integration tests.

mod peers_codec;
mod peers_links;
