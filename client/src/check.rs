//! Whether a cluster keeps its promises: tagged appends, reads of them, and a judgement of every answer.
//!
//! Clients append tags, `c3.17;` for client 3's, to keys that several of them may share, and read any of these keys. A
//! key only ever grows, so that a linearizable cluster must show the following, and nothing else can be asked of it:
//! - each tag at most once, none that was never sent, and none that was refused;
//! - each tag whose append was answered before the read began, and each that a read showed which ended before;
//! - in every read the same order, in which each tag stands behind those that were answered before it began, and a client's
//!   in the order in which it asked, where that is promised;
//! - each answered tag at the place that its answer named.
//!
//! When all is finished every key is read once more, and no answered tag may be missing.
//!
//! Whoever drives this takes operations from [`Check::next`], gives them to a [`Fleet`](crate::Fleet), and brings back what
//! came of them. It takes the time from its driver and reads no clock.

mod page;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::courier::Completion;
use crate::operation::{Operation, Reply};
use page::{Page, Read};
pub use report::CheckReport;

/// What the clients are to do.
#[derive(Clone, Copy, Debug)]
pub struct CheckPlan {
    /// How many clients there are.
    pub clients: usize,
    /// How many keys are appended to at a time, at most one for each client. Fewer are shared.
    pub keys: usize,
    /// How many of 100 operations are reads.
    pub read_percent: u32,
    /// Shorter tags are made up to so many bytes.
    pub tag_bytes_min: usize,
    /// Values must fit datagrams of the usual length.
    pub uses_datagrams: bool,
    /// What a client asks for while an earlier append is unanswered may come before that, as over UDP.
    pub any_order: bool,
}

/// The operations of all clients, and what came of them.
#[derive(Debug)]
pub struct Check {
    plan: CheckPlan,
    prefix: String,
    /// All keys, in the order in which they were begun.
    pages: Vec<Page>,
    /// Pages by their keys.
    places: BTreeMap<Vec<u8>, usize>,
    /// The clients `c` whose number has the remainder `n` append to the present page of lane `n`.
    lanes: Vec<Lane>,
    key_bytes_max: usize,
    random: SmallRng,
    report: CheckReport,
}

/// The keys that are appended to one after the other.
#[derive(Clone, Copy, Debug)]
struct Lane {
    present: usize,
    before: Option<usize>,
}

impl Check {
    /// Nothing done yet. The keys begin with a random prefix, so that what other checks left is not met.
    ///
    /// # Panics
    /// When there are to be no clients or no keys.
    #[must_use]
    pub fn new(plan: CheckPlan) -> Self {
        assert!(plan.clients > 0 && plan.keys > 0, "{plan:?}");
        let key_bytes_max = if plan.uses_datagrams {
            DATAGRAM_KEY_BYTES_MAX
        } else if plan.read_percent > 0 {
            READ_KEY_BYTES_MAX
        } else {
            KEY_BYTES_MAX
        };
        let mut check = Self {
            plan,
            prefix: format!("check-{:08x}", rand::random::<u32>()),
            pages: Vec::new(),
            places: BTreeMap::new(),
            lanes: Vec::new(),
            key_bytes_max,
            random: SmallRng::from_os_rng(),
            report: CheckReport::default(),
        };
        for lane in 0..plan.keys.min(plan.clients) {
            let present = check.begin_page(lane);
            check.lanes.push(Lane {
                present,
                before: None,
            });
        }
        check
    }

    /// What a client is to do next; it is asked for `now`, or a moment later.
    pub fn next(&mut self, client: usize, now: Instant) -> Operation {
        if self.random.random_range(0..100) < self.plan.read_percent {
            self.next_read()
        } else {
            self.next_append(client, now)
        }
    }

    /// Any key that is appended to, now and then the one before it.
    fn next_read(&mut self) -> Operation {
        let lane = self.lanes[self.random.random_range(0..self.lanes.len())];
        let is_old = self.random.random_range(0..READS_PER_OLD_READ) == 0;
        let page = lane.before.filter(|_| is_old).unwrap_or(lane.present);
        Operation::Get {
            key: self.pages[page].key().to_vec(),
        }
    }

    fn next_append(&mut self, client: usize, now: Instant) -> Operation {
        let place = client % self.lanes.len();
        let present = self.lanes[place].present;
        let tag_bytes_min = self.plan.tag_bytes_min;
        if !self.pages[present].has_room(client, tag_bytes_min, self.key_bytes_max) {
            self.lanes[place] = Lane {
                present: self.begin_page(place),
                before: Some(present),
            };
        }
        let page = &mut self.pages[self.lanes[place].present];
        let value = page.begin_append(client, tag_bytes_min, now);
        Operation::Append {
            key: page.key().to_vec(),
            value,
        }
    }

    fn begin_page(&mut self, lane: usize) -> usize {
        let place = self.pages.len();
        let key = format!("{}/{lane}/{place}", self.prefix).into_bytes();
        self.places.insert(key.clone(), place);
        self.pages.push(Page::new(key));
        place
    }

    /// An operation of a client was finished at the latest `now`. What is asked for later was not asked for before `now`.
    ///
    /// # Panics
    /// When the operation was not made here.
    pub fn note(&mut self, client: usize, completion: &Completion, now: Instant) {
        let Operation::Get { .. } = &completion.operation else {
            let tag = completion.operation.value();
            let page = self.page_of(&completion.operation);
            let is_answered = self.pages[page].end_append(tag, &completion.result, now);
            self.report.appends += u64::from(is_answered);
            return;
        };
        if let Some(value) = value_of(completion) {
            let read = Read {
                began: completion.submitted,
                ended: now,
                is_last: false,
                any_order: self.plan.any_order,
            };
            let page = self.page_of(&completion.operation);
            self.judge(page, value, read, format_args!("a read by client {client}"));
            self.report.reads += 1;
        }
    }

    /// Every key to which something was appended, with a client that may read it when all else is finished.
    #[must_use]
    pub fn keys(&self) -> Vec<(usize, Vec<u8>)> {
        let used = self.pages.iter().filter(|page| !page.is_unused());
        let clients = (0..self.plan.clients).cycle();
        clients
            .zip(used)
            .map(|(client, page)| (client, page.key().to_vec()))
            .collect()
    }

    /// One of [`Self::keys`] was read `now`, or could not be, after everything else was finished.
    ///
    /// # Panics
    /// When it is none of them.
    pub fn note_read_back(&mut self, key: &[u8], value: Option<&[u8]>, now: Instant) {
        let Some(value) = value else {
            self.report.unread += 1;
            return;
        };
        let read = Read {
            began: now,
            ended: now,
            is_last: true,
            any_order: self.plan.any_order,
        };
        let page = self.places[key];
        self.judge(
            page,
            value,
            read,
            format_args!("the read when all was finished"),
        );
        self.report.read_back += 1;
    }

    fn judge(&mut self, page: usize, value: &[u8], read: Read, who: fmt::Arguments<'_>) {
        let page = &mut self.pages[page];
        for wrong in page.judge(value, read) {
            self.report.note_wrong(who, page.key(), &wrong);
        }
    }

    fn page_of(&self, operation: &Operation) -> usize {
        let place = operation.key().and_then(|key| self.places.get(key));
        *place.expect("the key was made here")
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &CheckReport {
        &self.report
    }
}

/// What was read; nothing where the key is absent.
fn value_of(completion: &Completion) -> Option<&[u8]> {
    match &completion.result {
        Ok(Reply::Value { value, .. }) => Some(value),
        Ok(_) => Some(b""),
        Err(_) => None,
    }
}

/// A key takes so many bytes before the next one is begun: half of the limit of a value.
const KEY_BYTES_MAX: usize = 4 << 20;

/// The same where it is read all the time: a read should cost about what an append does.
const READ_KEY_BYTES_MAX: usize = 8 << 10;

/// The same where it is read in a datagram of the usual length, with room for what stands before it.
const DATAGRAM_KEY_BYTES_MAX: usize = 1_000;

/// One of so many reads is of a key that is full.
const READS_PER_OLD_READ: u32 = 8;
