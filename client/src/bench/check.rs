//! Whether every answered append is there exactly once and in order.
//!
//! Client `c` appends the tags `c<c>.0;`, `c<c>.1;`, ... to keys of its own. An answered tag must be there once; one
//! whose outcome is unknown at most once; the tags of a client stand in the order in which they were asked, where an
//! order is promised.

use std::collections::BTreeMap;
use std::fmt;

use kvpaxos_client::{Completion, Operation, Reply};
use serde_json::{Map, Value};

/// A key takes so many bytes before the next one is begun: half of the limit of a value.
const KEY_BYTES_MAX: usize = 4 << 20;

/// The same where it is read back in a datagram of the usual length, with room for what stands before it.
const DATAGRAM_KEY_BYTES_MAX: usize = 1_000;

/// What is known of the fate of one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The run ended before anything was heard; counts as unknown.
    Pending,
    Answered,
    /// Certainly not done.
    Refused,
    Unknown,
}

/// One key of one client, and what was appended to it.
#[derive(Debug)]
struct Page {
    client: usize,
    key: Vec<u8>,
    /// The number of its first tag.
    first: usize,
    fates: Vec<Fate>,
}

/// The tags that were appended.
#[derive(Debug)]
pub(super) struct AppendCheck {
    prefix: String,
    /// Pages of all clients, in the order in which they were begun.
    pages: Vec<Page>,
    /// The present page of each client.
    present: Vec<usize>,
    /// Pages by their keys.
    places: BTreeMap<Vec<u8>, usize>,
    tag_bytes_min: usize,
    key_bytes_max: usize,
    report: CheckReport,
}

/// What reading back found.
#[derive(Debug, Default)]
pub(super) struct CheckReport {
    /// Answered appends.
    answered: u64,
    /// Answered and not there.
    lost: u64,
    /// There more than once.
    duplicated: u64,
    /// There, though behind a later one.
    out_of_order: u64,
    /// Whether that is allowed, because no order is promised.
    any_order: bool,
    /// There, though refused, or never sent.
    unexpected: u64,
    /// Keys that could not be read back.
    unread: u64,
}

impl AppendCheck {
    /// Tags shorter than `tag_bytes_min` are made up to it. Clients that use datagrams are promised no order if they
    /// have several requests outstanding, and must be able to read back what they appended.
    pub(super) fn new(
        clients: usize,
        tag_bytes_min: u32,
        uses_datagrams: bool,
        pipeline: usize,
    ) -> Self {
        let mut check = Self {
            prefix: format!("bench-{:08x}", rand::random::<u32>()),
            pages: Vec::new(),
            present: Vec::new(),
            places: BTreeMap::new(),
            tag_bytes_min: tag_bytes_min as usize,
            key_bytes_max: if uses_datagrams {
                DATAGRAM_KEY_BYTES_MAX
            } else {
                KEY_BYTES_MAX
            },
            report: CheckReport {
                any_order: uses_datagrams && pipeline > 1,
                ..CheckReport::default()
            },
        };
        for client in 0..clients {
            let page = check.begin_page(client, 0);
            check.present.push(page);
        }
        check
    }

    /// The next append of a client.
    pub(super) fn next(&mut self, client: usize) -> Operation {
        let mut present = self.present[client];
        let page = &self.pages[present];
        let number = page.first + page.fates.len();
        let tag = self.tag(client, number);
        if (page.fates.len() + 1) * tag.len() > self.key_bytes_max {
            present = self.begin_page(client, number);
            self.present[client] = present;
        }
        let page = &mut self.pages[present];
        page.fates.push(Fate::Pending);
        Operation::Append {
            key: page.key.clone(),
            value: tag,
        }
    }

    fn begin_page(&mut self, client: usize, first: usize) -> usize {
        let key = format!("{}/c{client}/{first}", self.prefix).into_bytes();
        self.places.insert(key.clone(), self.pages.len());
        self.pages.push(Page {
            client,
            key,
            first,
            fates: Vec::new(),
        });
        self.pages.len() - 1
    }

    fn tag(&self, client: usize, number: usize) -> Vec<u8> {
        let mut tag = format!("c{client}.{number}").into_bytes();
        tag.resize(tag.len().max(self.tag_bytes_min.saturating_sub(1)), b'_');
        tag.push(b';');
        tag
    }

    /// An append was finished.
    pub(super) fn note(&mut self, client: usize, completion: &Completion) {
        let fate = match &completion.result {
            Ok(_) => Fate::Answered,
            Err(error) if error.outcome_unknown() => Fate::Unknown,
            Err(_) => Fate::Refused,
        };
        let number = number_of(completion.operation.value()).expect("the tag was made here");
        let page = self.page_of(client, number);
        page.fates[number - page.first] = fate;
    }

    /// The page that a number of a client's belongs to: the present one most of the time.
    fn page_of(&mut self, client: usize, number: usize) -> &mut Page {
        let present = self.present[client];
        let holds = |page: &Page| page.client == client && page.first <= number;
        let place = if holds(&self.pages[present]) {
            Some(present)
        } else {
            self.pages.iter().rposition(holds)
        };
        &mut self.pages[place.expect("the tag was made here")]
    }

    /// Every key, with its client.
    pub(super) fn keys(&self) -> Vec<(usize, Vec<u8>)> {
        let used = self.pages.iter().filter(|page| !page.fates.is_empty());
        used.map(|page| (page.client, page.key.clone())).collect()
    }

    /// Compares what was read of one key.
    pub(super) fn compare(&mut self, completion: &Completion) {
        let key = completion.operation.key();
        let place = key.and_then(|key| self.places.get(key));
        let page = &self.pages[*place.expect("the key was made here")];
        match &completion.result {
            Ok(Reply::Value { value, .. }) => self.report.compare(page, value),
            Ok(_) => self.report.compare(page, b""),
            Err(error) => {
                eprintln!("{}: {error}", completion.operation);
                self.report.unread += 1;
            }
        }
    }

    pub(super) fn into_report(self) -> CheckReport {
        self.report
    }
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub(super) fn is_right(&self) -> bool {
        let is_order_right = self.any_order || self.out_of_order == 0;
        is_order_right && self.lost + self.duplicated + self.unexpected + self.unread == 0
    }

    fn compare(&mut self, page: &Page, value: &[u8]) {
        let mut counts = vec![0_u32; page.fates.len()];
        let mut highest = 0;
        for tag in value.split_inclusive(|byte| *byte == b';') {
            let place = number_of(tag)
                .and_then(|number| number.checked_sub(page.first))
                .filter(|place| *place < counts.len());
            let Some(place) = place else {
                self.unexpected += 1;
                continue;
            };
            counts[place] += 1;
            self.out_of_order += u64::from(place < highest);
            highest = highest.max(place);
        }
        for (fate, count) in page.fates.iter().zip(counts) {
            self.answered += u64::from(*fate == Fate::Answered);
            self.lost += u64::from(*fate == Fate::Answered && count == 0);
            self.unexpected += u64::from(*fate == Fate::Refused && count > 0);
            self.duplicated += u64::from(count > 1);
        }
    }

    pub(super) fn insert_into(&self, object: &mut Map<String, Value>) {
        for (name, count) in self.counts() {
            object.insert(name.replace(' ', "_"), count.into());
        }
    }

    fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("answered", self.answered),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.out_of_order),
            ("unexpected", self.unexpected),
            ("unread", self.unread),
        ]
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().map(|(name, count)| format!("{count} {name}"));
        write!(f, "appends read back: {}", counts.join(", "))
    }
}

/// The number in a tag `c<client>.<number>`, with whatever fills it up.
fn number_of(tag: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(tag).ok()?;
    let (_, number) = text.strip_suffix(';')?.strip_prefix('c')?.split_once('.')?;
    number.trim_end_matches('_').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fates: &[Fate]) -> Page {
        Page {
            client: 3,
            key: b"k".to_vec(),
            first: 10,
            fates: fates.to_vec(),
        }
    }

    fn compared(fates: &[Fate], value: &str) -> [u64; 6] {
        let mut report = CheckReport::default();
        report.compare(&page(fates), value.as_bytes());
        report.counts().map(|(_, count)| count)
    }

    #[test]
    fn what_is_answered_must_be_there_once_and_in_order() {
        use Fate::{Answered, Refused, Unknown};
        // answered, lost, duplicated, out of order, unexpected, unread
        let right = compared(&[Answered, Unknown, Answered], "c3.10;c3.12__;");
        assert_eq!(right, [2, 0, 0, 0, 0, 0]);
        assert_eq!(compared(&[Answered; 2], "c3.11;"), [2, 1, 0, 0, 0, 0]);
        assert_eq!(compared(&[Answered], "c3.10;c3.10;"), [1, 0, 1, 0, 0, 0]);
        assert_eq!(compared(&[Answered; 2], "c3.11;c3.10;"), [2, 0, 0, 1, 0, 0]);
        assert_eq!(compared(&[Refused], "c3.10;"), [0, 0, 0, 0, 1, 0]);
        assert_eq!(compared(&[Answered], "c3.10;c3.99;x"), [1, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn what_is_read_back_in_a_datagram_fits_it() {
        let mut check = AppendCheck::new(1, 400, true, 1);
        let keys: Vec<Operation> = (0..5).map(|_| check.next(0)).collect();
        let pages = check.keys();
        assert_eq!(pages.len(), 3, "two tags of 400 bytes a page");
        assert_eq!(keys[4].key(), Some(&pages[2].1[..]));
    }

    #[test]
    fn tags_are_made_up_to_the_length_asked_for() {
        let mut check = AppendCheck::new(2, 10, false, 1);
        let Operation::Append { key, value } = check.next(1) else {
            panic!("another operation");
        };
        assert_eq!(value, b"c1.0_____;");
        assert!(key.ends_with(b"/c1/0"));
        assert_eq!(number_of(&value), Some(0));
        assert_eq!(check.keys().len(), 1);
    }
}
