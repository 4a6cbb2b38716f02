//! One pass over an ordered map that goes on changing, such that the pass sees the map as it was when it began (RULES R22).
//!
//! The pass goes in steps. Before an entry that lies ahead changes for the first time, its owner puts aside what was
//! there, once; the pass takes what was put aside in the place of what is there. So a step costs what it visits, a change
//! costs one look-up, and the memory is what has changed ahead of the pass.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// Where a pass stands, and what was put aside for it. `V` is an entry as it was.
#[derive(Debug)]
pub(super) struct Walk<K, V> {
    /// The last key that was visited.
    last: Option<K>,
    /// Keys ahead whose entries have changed: as they were, or `None` where there was none.
    aside: BTreeMap<K, Option<V>>,
}

/// An entry as it was when the pass began.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visit<'a, T, V> {
    /// It has not changed.
    Present(&'a T),
    /// It was put aside.
    Aside(&'a V),
}

impl<K: Ord + Clone, V> Walk<K, V> {
    /// A pass that begins now.
    pub(super) fn begin() -> Self {
        Self {
            last: None,
            aside: BTreeMap::new(),
        }
    }

    /// Whether the entry must be put aside before it changes: it is ahead, and the same as when the pass began.
    pub(super) fn awaits<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let is_ahead = self.last.as_ref().is_none_or(|last| last.borrow() < key);
        is_ahead && !self.aside.contains_key(key)
    }

    /// Keeps an entry that the pass [awaits](Self::awaits) as it is before its change; `None` if there is none.
    pub(super) fn put_aside(&mut self, key: K, before: Option<V>) {
        let repeated = self.aside.insert(key, before);
        debug_assert!(repeated.is_none(), "an entry is put aside once");
    }

    /// Visits entries in order until `visit` breaks, which leaves the entry that it was given for the next step.
    /// Returns whether the pass has come to its end.
    pub(super) fn step<T>(
        &mut self,
        map: &BTreeMap<K, T>,
        mut visit: impl FnMut(&K, Visit<'_, T, V>) -> ControlFlow<()>,
    ) -> bool {
        let from = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let ahead = (from, Bound::Unbounded);
        let mut present = map.range::<K, _>(ahead).peekable();
        let mut aside = self.aside.range::<K, _>(ahead).peekable();
        let mut last = None;
        let mut is_done = false;
        for _ in 0..VISITS_PER_STEP_MAX {
            let next_present = present.peek().map(|(key, _)| *key);
            let next_aside = aside.peek().map(|(key, _)| *key);
            let Some(key) = next_present.into_iter().chain(next_aside).min() else {
                is_done = true;
                break;
            };
            let seen = if next_aside == Some(key) {
                aside
                    .peek()
                    .and_then(|(_, before)| before.as_ref())
                    .map(Visit::Aside)
            } else {
                present.peek().map(|(_, entry)| Visit::Present(*entry))
            };
            if seen.is_some_and(|seen| visit(key, seen).is_break()) {
                break;
            }
            present.next_if(|(visited, _)| *visited == key);
            aside.next_if(|(visited, _)| *visited == key);
            last = Some(key);
        }
        if let Some(last) = last.cloned() {
            self.aside = self.aside.split_off(&last);
            self.aside.remove(&last);
            self.last = Some(last);
        }
        is_done
    }

    /// How many entries are put aside.
    #[cfg(test)]
    pub(super) fn aside_len(&self) -> usize {
        self.aside.len()
    }
}

/// However small the entries, and also where only absent ones are passed, a step ends after so many: about a
/// millisecond.
const VISITS_PER_STEP_MAX: usize = 8_192;
