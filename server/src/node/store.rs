//! The keys and their values.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::hash::{RunningHash, digest_of_key};
use super::image::{entry_bytes, put_entry};
use super::walk::{Visit, Walk};

/// A key. One of up to 24 bytes stands in the map itself, so that to find it the processor waits for the nodes on the way
/// and not for each key in them: with a hundred thousand keys a fifth of the time of a PUT was spent there.
type Key = SmallVec<[u8; 24]>;

/// An ordered map from keys to values, which keeps count of its bytes and a hash of all that is in it.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: BTreeMap<Key, Entry>,
    /// Bytes of all keys and values.
    bytes: u64,
    /// The sum of the digests of all entries.
    hash: u128,
    /// The pass of a snapshot that is being taken.
    walk: Option<Walk<Key, Entry>>,
}

/// A value with what is told and checked about it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    /// The revision of the key's last change.
    pub(crate) revision: u64,
    hash: RunningHash,
}

impl Entry {
    fn digest(&self, key: &[u8]) -> u128 {
        digest_of_key(key, self.hash, self.value.len() as u64, self.revision)
    }
}

impl Store {
    pub(crate) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn hash(&self) -> u128 {
        self.hash
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], revision: u64) {
        let hash = RunningHash::of(value);
        let is_awaited = self.is_awaited(key);
        if let Some(entry) = self.entries.get_mut(key) {
            self.hash = self.hash.wrapping_sub(entry.digest(key));
            self.bytes -= entry.value.len() as u64;
            if let Some(walk) = self.walk.as_mut().filter(|_| is_awaited) {
                let before = Entry {
                    value: std::mem::take(&mut entry.value),
                    ..*entry
                };
                walk.put_aside(key.into(), Some(before));
            }
            entry.value.clear();
            entry.value.extend_from_slice(value);
            entry.value.shrink_to(2 * value.len());
            entry.revision = revision;
            entry.hash = hash;
            self.hash = self.hash.wrapping_add(entry.digest(key));
        } else {
            let entry = Entry {
                value: value.to_vec(),
                revision,
                hash,
            };
            self.put_aside(is_awaited, key, None);
            self.hash = self.hash.wrapping_add(entry.digest(key));
            self.bytes += key.len() as u64;
            self.entries.insert(key.into(), entry);
        }
        self.bytes += value.len() as u64;
    }

    /// Adds to the end of the value, and gives its new length. A put where the key is absent.
    pub(crate) fn append(&mut self, key: &[u8], value: &[u8], revision: u64) -> u64 {
        let is_awaited = self.is_awaited(key);
        let Some(entry) = self.entries.get_mut(key) else {
            self.put(key, value, revision);
            return value.len() as u64;
        };
        if let Some(walk) = self.walk.as_mut().filter(|_| is_awaited) {
            walk.put_aside(key.into(), Some(entry.clone()));
        }
        self.hash = self.hash.wrapping_sub(entry.digest(key));
        entry.value.extend_from_slice(value);
        entry.revision = revision;
        entry.hash = entry.hash.extended(value);
        self.hash = self.hash.wrapping_add(entry.digest(key));
        self.bytes += value.len() as u64;
        entry.value.len() as u64
    }

    /// Says whether the key was there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        let is_awaited = self.is_awaited(key);
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.hash = self.hash.wrapping_sub(entry.digest(key));
        self.bytes -= (key.len() + entry.value.len()) as u64;
        self.put_aside(is_awaited, key, Some(entry));
        true
    }

    /// Begins a pass for a snapshot: [`Store::step`] sees all entries as they are now. One pass at a time.
    pub(super) fn begin_walk(&mut self) {
        self.walk = Some(Walk::begin());
    }

    /// Ends the pass, finished or not.
    pub(super) fn end_walk(&mut self) {
        self.walk = None;
    }

    /// Appends the next entries of the pass to `out`, at most `bytes_max` unless the first alone is more. Returns
    /// whether these were the last.
    pub(super) fn step(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let Some(walk) = &mut self.walk else {
            return true;
        };
        walk.step(&self.entries, |key, seen| {
            let entry = match seen {
                Visit::Present(entry) | Visit::Aside(entry) => entry,
            };
            if !out.is_empty() && out.len() + entry_bytes(key, &entry.value) > bytes_max {
                return ControlFlow::Break(());
            }
            put_entry(out, key, &entry.value, entry.revision);
            ControlFlow::Continue(())
        })
    }

    fn is_awaited(&self, key: &[u8]) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.awaits(key))
    }

    fn put_aside(&mut self, is_awaited: bool, key: &[u8], before: Option<Entry>) {
        if let Some(walk) = self.walk.as_mut().filter(|_| is_awaited) {
            walk.put_aside(key.into(), before);
        }
    }

    /// How many entries are put aside for the pass.
    #[cfg(test)]
    pub(super) fn aside_len(&self) -> usize {
        self.walk.as_ref().map_or(0, Walk::aside_len)
    }
}

/// What an entry with these bytes adds to the hash.
pub(super) fn digest_of_entry(key: &[u8], value: &[u8], revision: u64) -> u128 {
    digest_of_key(key, RunningHash::of(value), value.len() as u64, revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_state_has_the_same_hash_however_it_came_about() {
        let mut one = Store::default();
        one.put(b"a", b"xyz", 7);
        one.put(b"b", b"", 3);
        let mut other = Store::default();
        other.put(b"c", b"gone", 1);
        other.put(b"b", b"longer", 2);
        other.put(b"b", b"", 3);
        other.append(b"a", b"x", 4);
        other.append(b"a", b"", 5);
        assert!(other.delete(b"c"));
        assert_eq!(other.append(b"a", b"yz", 7), 3);
        assert_eq!(
            (one.hash(), one.bytes(), one.len()),
            (other.hash(), other.bytes(), other.len())
        );
        other.append(b"a", b"", 8);
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn an_empty_store_has_no_bytes_and_no_hash() {
        let mut store = Store::default();
        store.put(b"key", b"value", 1);
        assert_eq!(store.bytes(), 8);
        assert!(store.delete(b"key"));
        assert!(!store.delete(b"key"));
        assert_eq!((store.hash(), store.bytes(), store.len()), (0, 0, 0));
    }
}
