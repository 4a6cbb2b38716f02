//! Integration tests.

#[cfg(test)]
mod protocol_page;
