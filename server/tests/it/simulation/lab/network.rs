//! The network of a lab: what each link does, each direction by itself.

use super::super::faults::MS;
use super::super::random::Random;

/// One direction between two replicas. Rates are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) is_cut: bool,
    pub(super) loss: u64,
    pub(super) duplication: u64,
    pub(super) delay_us: std::ops::Range<u64>,
    /// So many are overtaken by what is sent in the next half second.
    pub(super) overtaken: u64,
}

impl Link {
    /// A good one.
    pub(super) const QUIET: Self = Self {
        is_cut: false,
        loss: 0,
        duplication: 0,
        delay_us: 20..320,
        overtaken: 0,
    };

    /// When the copies of a message arrive, if any do.
    pub(super) fn draw(&self, random: &mut Random) -> Vec<u64> {
        if self.is_cut || random.chance(self.loss) {
            return Vec::new();
        }
        let copies = 1 + u64::from(random.chance(self.duplication));
        let arrivals = (0..copies).map(|_| {
            let late = random.chance(self.overtaken);
            let more = if late { random.between(0, 500 * MS) } else { 0 };
            random.between(self.delay_us.start, self.delay_us.end) + more
        });
        arrivals.collect()
    }
}

/// What "unreliable" means for everything that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reliability {
    Good,
    /// As in FAULTS 2: of the requests that arrive 10% are dropped unread, and of a further 18% the answer is.
    AnswersDropped,
    /// As in FAULTS 3: every message is 0 to 26 ms late, and 10% of requests and of answers are dropped.
    LateAndDropped,
}

/// All links, and what clients meet.
#[derive(Debug)]
pub(super) struct Network {
    links: Vec<Vec<Link>>,
    /// To replicas, and back from them.
    pub(super) to_replicas: Link,
    pub(super) to_clients: Link,
}

impl Network {
    /// Everything arrives.
    pub(super) fn whole(count: usize) -> Self {
        Self {
            links: vec![vec![Link::QUIET; count]; count],
            to_replicas: Link::QUIET,
            to_clients: Link::QUIET,
        }
    }

    /// Sets what all links do; which of them are cut stays as it is.
    pub(super) fn become_reliable(&mut self, reliability: Reliability) {
        let (loss, answer_loss, delay_us) = match reliability {
            Reliability::Good => (0, 0, Link::QUIET.delay_us),
            Reliability::AnswersDropped => (100, 200, Link::QUIET.delay_us),
            Reliability::LateAndDropped => (100, 100, 20..26 * MS),
        };
        let lossy = |loss| Link {
            loss,
            delay_us: delay_us.clone(),
            ..Link::QUIET
        };
        for link in self.links.iter_mut().flatten() {
            let is_cut = link.is_cut;
            *link = Link {
                is_cut,
                ..lossy(loss)
            };
        }
        self.to_replicas = lossy(loss);
        self.to_clients = lossy(answer_loss);
    }

    /// One direction between two.
    pub(super) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from][to]
    }

    /// Both directions between two carry nothing any more, or do again.
    pub(super) fn cut(&mut self, one: usize, other: usize, is_cut: bool) {
        self.links[one][other].is_cut = is_cut;
        self.links[other][one].is_cut = is_cut;
    }

    /// Replicas reach only those for whom this says so.
    pub(super) fn connect(&mut self, reach: impl Fn(usize, usize) -> bool) {
        for one in 0..self.links.len() {
            for other in 0..self.links.len() {
                self.links[one][other].is_cut = one != other && !reach(one, other);
            }
        }
    }

    /// Replicas reach only those of their own group; who is in none reaches nobody.
    pub(super) fn partition(&mut self, groups: &[&[usize]]) {
        let together = |group: &&[usize], one: usize, other: usize| {
            group.contains(&one) && group.contains(&other)
        };
        self.connect(|one, other| groups.iter().any(|group| together(group, one, other)));
    }

    /// Every replica goes to one of so many groups.
    pub(super) fn regroup(&mut self, groups: u64, random: &mut Random) {
        let group_of: Vec<u64> = (0..self.links.len())
            .map(|_| random.between(0, groups))
            .collect();
        self.connect(|one, other| group_of[one] == group_of[other]);
    }

    /// All reach all.
    pub(super) fn heal(&mut self) {
        self.connect(|_, _| true);
    }
}
