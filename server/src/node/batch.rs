//! What a slot of the store's log holds: the requests that arrived in one turn, with the leader's time.
//!
//! ```text
//! version u8 = 1 | log time in ms u64 | item | item | ...
//! item: 1 | nonce u64                        open a session
//!       2 | the write as a client sends it   (see `common`)
//!       3 | replica u8 | ticket u64          a read, where `--reads log` puts reads through the log
//!       4 | slot u64 | agreed u8 | hash u128  the state hash after the slots below it that a majority noted; none if
//!                                            `agreed` is 0 and so is the hash
//! ```
//! The log holds requests, never results. A follower forwards items in the same bytes.

use std::cmp::Reverse;

use common::wire::{FieldReader, put_u64, put_u128};
use common::{DecodeError, Write, WriteRef};

/// One request in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    OpenSession { nonce: u64 },
    Write(WriteRef<'a>),
    Read { replica: u8, ticket: u64 },
    Hash { slot: u64, agreed: Option<u128> },
}

/// Appends an item that opens a session.
pub(crate) fn put_open_session(out: &mut Vec<u8>, nonce: u64) {
    out.push(OPEN_SESSION);
    put_u64(out, nonce);
}

/// Appends an item that writes.
pub(crate) fn put_write(out: &mut Vec<u8>, write: &Write) {
    out.push(WRITE);
    write.encode_into(out);
}

/// Appends an item that marks the place of a read.
pub(crate) fn put_read(out: &mut Vec<u8>, replica: u8, ticket: u64) {
    out.push(READ);
    out.push(replica);
    put_u64(out, ticket);
}

/// Appends an item that says which state hash a majority noted, if any.
pub(crate) fn put_hash(out: &mut Vec<u8>, slot: u64, agreed: Option<u128>) {
    out.push(HASH);
    put_u64(out, slot);
    out.push(agreed.is_some().into());
    put_u128(out, agreed.unwrap_or_default());
}

/// The write that an item is, if it is one.
pub(crate) fn write_of(item: &[u8]) -> Option<WriteRef<'_>> {
    match Items::new(item).next() {
        Some(Ok(Item::Write(write))) => Some(write),
        Some(Ok(Item::OpenSession { .. } | Item::Read { .. } | Item::Hash { .. }) | Err(_))
        | None => None,
    }
}

/// Whether, of two copies of one write, `copy` was made later than `other`: the client had given more up, or waited for
/// less. These are not part of what makes two copies the same (RULES R8).
pub(crate) fn is_later(copy: &[u8], other: &[u8]) -> bool {
    let made = |item| write_of(item).map(|write| (write.floor, Reverse(write.after)));
    made(copy) > made(other)
}

/// Of items one after the other those that are to be kept. What cannot be read is not.
pub(crate) fn retain(items: &[u8], keep: impl Fn(&Item<'_>) -> bool) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut reader = Items::new(items);
    loop {
        let before = reader.rest;
        let Some(Ok(item)) = reader.next() else {
            return kept;
        };
        if keep(&item) {
            kept.extend_from_slice(&before[..before.len() - reader.rest.len()]);
        }
    }
}

/// Begins a batch; items are appended after it.
pub(crate) fn begin(log_time_ms: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_u64(&mut out, log_time_ms);
    out
}

/// Reads a batch: its log time, and its items one by one.
///
/// # Errors
/// The batch is of another version, or too short to have a time.
pub(crate) fn open(command: &[u8]) -> Result<(u64, Items<'_>), DecodeError> {
    let mut fields = FieldReader::new(command);
    let version = fields.u8("batch version")?;
    if version != VERSION {
        return Err(DecodeError::UnknownValue {
            field: "batch version",
            value: version.into(),
            allowed: "1",
        });
    }
    let log_time_ms = fields.u64("log time")?;
    Ok((
        log_time_ms,
        Items {
            rest: fields.rest(),
        },
    ))
}

/// Items one after the other, as in a batch or a forward.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self) -> Result<Item<'a>, DecodeError> {
        let mut fields = FieldReader::new(self.rest);
        let item = match fields.u8("item kind")? {
            OPEN_SESSION => Item::OpenSession {
                nonce: fields.u64("nonce")?,
            },
            WRITE => {
                let mut rest = fields.rest();
                let write = WriteRef::decode(&mut rest)?;
                self.rest = rest;
                return Ok(Item::Write(write));
            }
            READ => Item::Read {
                replica: fields.u8("replica")?,
                ticket: fields.u64("ticket")?,
            },
            HASH => {
                let slot = fields.u64("slot")?;
                let is_agreed = fields.bool("agreed")?;
                let hash = fields.u128("state hash")?;
                Item::Hash {
                    slot,
                    agreed: is_agreed.then_some(hash),
                }
            }
            found => {
                return Err(DecodeError::UnknownValue {
                    field: "item kind",
                    value: found.into(),
                    allowed: "1 to 4",
                });
            }
        };
        self.rest = fields.rest();
        Ok(item)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, DecodeError>;

    /// The next item; after an error nothing more can be found.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.take();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

const VERSION: u8 = 1;
const OPEN_SESSION: u8 = 1;
const WRITE: u8 = 2;
const READ: u8 = 3;
const HASH: u8 = 4;

#[cfg(test)]
mod tests {
    use common::{Change, SessionId};

    use super::*;

    fn batch() -> Vec<u8> {
        let mut batch = begin(0x0102);
        put_open_session(&mut batch, 7);
        let write = Write {
            session: SessionId {
                revision: 3,
                nonce: 4,
            },
            sequence: 2,
            floor: 1,
            after: 0,
            change: Change::Append {
                key: b"k".to_vec(),
                value: b"v".to_vec(),
            },
        };
        put_write(&mut batch, &write);
        put_read(&mut batch, 4, 9);
        put_hash(&mut batch, 64, Some(1 << 100));
        put_hash(&mut batch, 65, None);
        batch
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let batch = batch();
        assert_eq!(batch[..9], [1, 0, 0, 0, 0, 0, 0, 1, 2]);
        let (log_time_ms, items) = open(&batch).unwrap();
        let items: Vec<_> = items.map(Result::unwrap).collect();
        assert_eq!(log_time_ms, 0x0102);
        assert_eq!(items[0], Item::OpenSession { nonce: 7 });
        assert!(matches!(&items[1], Item::Write(write) if write.sequence == 2));
        assert_eq!(
            items[2],
            Item::Read {
                replica: 4,
                ticket: 9
            }
        );
        let agreed = Some(1 << 100);
        assert_eq!(items[3], Item::Hash { slot: 64, agreed });
        let agreed = None;
        assert_eq!(items[4], Item::Hash { slot: 65, agreed });
        assert_eq!(items.len(), 5);
    }

    #[test]
    fn a_truncated_batch_is_an_error_or_ends_between_items() {
        let batch = batch();
        for length in 0..batch.len() {
            let whole =
                open(&batch[..length]).is_ok_and(|(_, mut items)| items.all(|item| item.is_ok()));
            let end = batch.len();
            let between = [9, 18, end - 62, end - 52, end - 26].contains(&length);
            assert_eq!(whole, between, "cut at {length}");
        }
    }

    #[test]
    fn only_what_is_kept_is_left() {
        let batch = batch();
        let (_, items) = open(&batch).unwrap();
        let all = retain(items.rest, |_| true);
        assert_eq!(all, items.rest);
        let opening = retain(items.rest, |item| matches!(item, Item::OpenSession { .. }));
        assert_eq!(opening, items.rest[..9]);
        let without = retain(items.rest, |item| !matches!(item, Item::OpenSession { .. }));
        assert_eq!(without, items.rest[9..]);
    }

    #[test]
    fn another_version_is_refused() {
        assert!(open(&[2, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
