//! One key that tags are appended to: what is known of each tag, and what may be read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::error::ClientError;
use crate::operation::Reply;

/// A key, and every tag that was appended to it, in the order in which the appends began.
#[derive(Debug)]
pub(super) struct Page {
    key: Vec<u8>,
    sent: Vec<Sent>,
    sent_bytes: usize,
    /// The tags of the longest read that was right, in their order.
    longest: Vec<usize>,
}

/// One tag. Its text is its client and its place in the page.
#[derive(Debug)]
struct Sent {
    client: usize,
    began: Instant,
    fate: Fate,
    /// When the first read that showed it ended.
    seen: Option<Instant>,
}

/// What is known of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing was heard; counts as unknown.
    Pending,
    Answered {
        at: Instant,
        /// How long the value was with it.
        length: u64,
    },
    /// Certainly not done.
    Refused,
    Unknown,
}

/// When a value was read, and what may be expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// Everything else was finished before.
    pub(super) is_last: bool,
    /// A client's tags may stand in any order.
    pub(super) any_order: bool,
}

/// Something that a linearizable cluster never shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) kind: WrongKind,
    /// What the read does, as the rest of a sentence.
    pub(super) text: String,
}

/// How a read can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongKind {
    /// An answered tag is not there when all is finished.
    Lost,
    /// A tag that was answered before the read began is not there.
    Stale,
    /// A tag that an earlier read showed is not there.
    WentBack,
    Duplicated,
    OutOfOrder,
    /// Another read showed another order.
    Contradicted,
    /// A tag is not where its answer said.
    Misplaced,
    /// A tag was refused, or never sent.
    Unexpected,
}

impl WrongKind {
    pub(super) const ALL: [Self; 8] = [
        Self::Lost,
        Self::Stale,
        Self::WentBack,
        Self::Duplicated,
        Self::OutOfOrder,
        Self::Contradicted,
        Self::Misplaced,
        Self::Unexpected,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::WentBack => "went back",
            Self::Duplicated => "duplicated",
            Self::OutOfOrder => "out of order",
            Self::Contradicted => "contradicted",
            Self::Misplaced => "misplaced",
            Self::Unexpected => "unexpected",
        }
    }

    fn that(self, text: fmt::Arguments<'_>) -> Wrong {
        Wrong {
            kind: self,
            text: text.to_string(),
        }
    }
}

impl Page {
    pub(super) fn new(key: Vec<u8>) -> Self {
        Self {
            key,
            sent: Vec::new(),
            sent_bytes: 0,
            longest: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn is_unused(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether a client's next tag fits; the first one always does.
    pub(super) fn has_room(&self, client: usize, tag_bytes_min: usize, bytes_max: usize) -> bool {
        let tag_bytes = tag(client, self.sent.len(), tag_bytes_min).len();
        self.is_unused() || self.sent_bytes + tag_bytes <= bytes_max
    }

    /// The client's next tag.
    pub(super) fn begin_append(
        &mut self,
        client: usize,
        tag_bytes_min: usize,
        now: Instant,
    ) -> Vec<u8> {
        let tag = tag(client, self.sent.len(), tag_bytes_min);
        self.sent_bytes += tag.len();
        self.sent.push(Sent {
            client,
            began: now,
            fate: Fate::Pending,
            seen: None,
        });
        tag
    }

    /// What came of the append of a tag. Whether it was answered.
    pub(super) fn end_append(
        &mut self,
        tag: &[u8],
        result: &Result<Reply, ClientError>,
        now: Instant,
    ) -> bool {
        let place = self.place_of(tag).expect("the tag was made here");
        let fate = match result {
            Ok(Reply::Appended { length, .. }) => Fate::Answered {
                at: now,
                length: *length,
            },
            Ok(other) => unreachable!("an append is not answered with {other:?}"),
            Err(error) if error.outcome_unknown() => Fate::Unknown,
            Err(_) => Fate::Refused,
        };
        self.sent[place].fate = fate;
        matches!(fate, Fate::Answered { .. })
    }

    /// Everything about a value that cannot be. Only what is right is held against later reads.
    pub(super) fn judge(&mut self, value: &[u8], read: Read) -> Vec<Wrong> {
        let mut wrongs = Vec::new();
        let shown = self.take_in(value, &mut wrongs);
        self.judge_order(&shown, read.any_order, &mut wrongs);
        self.judge_missing(&shown, read, &mut wrongs);
        // Where a tag is lost or doubled, all that stands behind it is elsewhere too.
        if wrongs.is_empty() {
            self.judge_places(value, &shown, &mut wrongs);
            self.judge_against_longest(&shown, &mut wrongs);
        }
        if wrongs.is_empty() {
            for &place in &shown {
                self.sent[place].seen.get_or_insert(read.ended);
            }
            if shown.len() > self.longest.len() {
                self.longest = shown;
            }
        }
        wrongs
    }

    /// The tags of a value in their order, each once.
    fn take_in(&self, value: &[u8], wrongs: &mut Vec<Wrong>) -> Vec<usize> {
        let mut shown = Vec::new();
        let mut is_shown = vec![false; self.sent.len()];
        for text in tags(value) {
            let Some(place) = self.place_of(text) else {
                let text = String::from_utf8_lossy(text);
                let wrong = format_args!("shows {text:?}, which was never appended there");
                wrongs.push(WrongKind::Unexpected.that(wrong));
                continue;
            };
            if std::mem::replace(&mut is_shown[place], true) {
                let wrong = format_args!("shows {} twice", self.name(place));
                wrongs.push(WrongKind::Duplicated.that(wrong));
                continue;
            }
            if self.sent[place].fate == Fate::Refused {
                let wrong = format_args!("shows {}, which was refused", self.name(place));
                wrongs.push(WrongKind::Unexpected.that(wrong));
            }
            shown.push(place);
        }
        shown
    }

    /// Each tag stands behind those that were answered before it began, and behind the earlier ones of its client.
    fn judge_order(&self, shown: &[usize], any_order: bool, wrongs: &mut Vec<Wrong>) {
        let mut youngest: Option<usize> = None;
        let mut youngest_of: BTreeMap<usize, usize> = BTreeMap::new();
        for &place in shown {
            let sent = &self.sent[place];
            let before = youngest.filter(|&before| sent.is_answered_by(self.sent[before].began));
            let own = youngest_of.get(&sent.client).copied();
            if let Some(before) = before {
                let (late, early) = (self.name(place), self.name(before));
                wrongs.push(WrongKind::OutOfOrder.that(format_args!(
                    "shows {late} behind {early}, though {late} was answered before {early} was asked for"
                )));
            } else if let Some(before) = own.filter(|&before| before > place && !any_order) {
                let (late, early) = (self.name(place), self.name(before));
                wrongs.push(WrongKind::OutOfOrder.that(format_args!(
                    "shows {late} behind {early}, though the client asked for {late} first"
                )));
            }
            let is_younger = |before: usize| self.sent[before].began < sent.began;
            if youngest.is_none_or(is_younger) {
                youngest = Some(place);
            }
            let own = youngest_of.entry(sent.client).or_insert(place);
            *own = place.max(*own);
        }
    }

    fn judge_missing(&self, shown: &[usize], read: Read, wrongs: &mut Vec<Wrong>) {
        let mut is_shown = vec![false; self.sent.len()];
        for &place in shown {
            is_shown[place] = true;
        }
        for (place, sent) in self.sent.iter().enumerate() {
            if is_shown[place] {
                continue;
            }
            let name = self.name(place);
            if sent.is_answered_by(read.began) {
                let wrong = if read.is_last {
                    WrongKind::Lost.that(format_args!("lacks {name}, which was answered"))
                } else {
                    WrongKind::Stale.that(format_args!(
                        "lacks {name}, which was answered before the read began"
                    ))
                };
                wrongs.push(wrong);
            } else if sent.seen.is_some_and(|seen| seen <= read.began) {
                wrongs.push(WrongKind::WentBack.that(format_args!(
                    "lacks {name}, which an earlier read had shown"
                )));
            }
        }
    }

    /// An append's answer names the length of the value with it.
    fn judge_places(&self, value: &[u8], shown: &[usize], wrongs: &mut Vec<Wrong>) {
        let mut end = 0;
        for (text, &place) in tags(value).zip(shown) {
            end += text.len() as u64;
            if let Fate::Answered { length, .. } = self.sent[place].fate
                && length != end
            {
                let name = self.name(place);
                wrongs.push(WrongKind::Misplaced.that(format_args!(
                    "shows {name} up to byte {end}, though its answer said byte {length}"
                )));
            }
        }
    }

    /// Of two reads of a value that only grows one begins with the other.
    fn judge_against_longest(&self, shown: &[usize], wrongs: &mut Vec<Wrong>) {
        let differs = shown
            .iter()
            .zip(&self.longest)
            .find(|(one, two)| one != two);
        if let Some((&one, &other)) = differs {
            let (one, other) = (self.name(one), self.name(other));
            wrongs.push(WrongKind::Contradicted.that(format_args!(
                "shows {one} in the place where another read showed {other}"
            )));
        }
    }

    /// The place of a tag, if it was sent.
    fn place_of(&self, tag: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(tag).ok()?;
        let (client, place) = text.strip_suffix(';')?.strip_prefix('c')?.split_once('.')?;
        let (client, place) = (
            client.parse::<usize>().ok()?,
            place.trim_end_matches('_').parse().ok()?,
        );
        let sent = self.sent.get::<usize>(place)?;
        (sent.client == client).then_some(place)
    }

    /// What a person calls a tag.
    fn name(&self, place: usize) -> String {
        format!("c{}.{place}", self.sent[place].client)
    }
}

impl Sent {
    fn is_answered_by(&self, moment: Instant) -> bool {
        matches!(self.fate, Fate::Answered { at, .. } if at <= moment)
    }
}

fn tag(client: usize, place: usize, bytes_min: usize) -> Vec<u8> {
    let mut tag = format!("c{client}.{place}").into_bytes();
    tag.resize(tag.len().max(bytes_min.saturating_sub(1)), b'_');
    tag.push(b';');
    tag
}

fn tags(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split_inclusive(|byte| *byte == b';')
}
