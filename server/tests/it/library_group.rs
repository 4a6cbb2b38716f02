//! A group of peers in one process, with a network between them that a test can spoil.
//!
//! The links are real TCP; [`Network`] says which messages get through. Founding messages always do: the rows of these
//! tests begin with groups that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvpaxos_server::peer::{Fate, LinkFilter, Peer, PeerSettings};
use kvpaxos_server::peers::PeerMessage;
use parking_lot::Mutex;
use paxos::ReplicaId;
use tempfile::TempDir;

/// Nothing that a test waits for takes so long unless it is broken.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// Peers, of which some may be stopped.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) network: Arc<Network>,
    addresses: Vec<String>,
    listeners: Vec<TcpListener>,
    directory: Option<TempDir>,
    peers: Vec<Option<Peer>>,
}

impl Group {
    pub(crate) fn in_memory(count: usize) -> Self {
        Self::make(count, None)
    }

    pub(crate) fn durable(count: usize) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self::make(count, Some(directory))
    }

    fn make(count: usize, directory: Option<TempDir>) -> Self {
        let listeners: Vec<TcpListener> = (0..count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().to_string())
            .collect();
        let mut group = Self {
            network: Arc::new(Network::new(count)),
            addresses,
            listeners,
            directory,
            peers: (0..count).map(|_| None).collect(),
        };
        for me in 0..count {
            group.start_peer(me);
        }
        group
    }

    /// Makes a peer that does not run.
    pub(crate) fn start_peer(&mut self, me: usize) {
        assert!(self.peers[me].is_none(), "peer {me} runs already");
        let mut settings = match &self.directory {
            None => PeerSettings::in_memory(),
            Some(directory) => PeerSettings::durable(directory.path().join(me.to_string())),
        };
        settings.listener = Some(self.listeners[me].try_clone().unwrap());
        let filter = Arc::clone(&self.network);
        settings.filter = Some(filter);
        self.peers[me] = Some(Peer::make(&self.addresses, me, settings).unwrap());
    }

    pub(crate) fn stop_peer(&mut self, me: usize) {
        self.peers[me] = None;
    }

    /// Stops a peer, takes its files away, and starts it again.
    pub(crate) fn lose_files(&mut self, me: usize) {
        self.stop_peer(me);
        let directory = self.directory.as_ref().unwrap().path();
        std::fs::remove_dir_all(directory.join(me.to_string())).unwrap();
        self.start_peer(me);
    }

    /// What a peer's journal takes on disk, in bytes.
    pub(crate) fn journal_bytes(&self, me: usize) -> u64 {
        let directory = self.directory.as_ref().unwrap().path();
        let files = std::fs::read_dir(directory.join(me.to_string())).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        // One may be removed while this counts.
        let bytes = segments.filter_map(|path| path.metadata().ok());
        bytes.map(|metadata| metadata.len()).sum()
    }

    pub(crate) fn peer(&self, me: usize) -> &Peer {
        self.peers[me].as_ref().unwrap()
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().flatten()
    }

    pub(crate) fn start(&self, me: usize, seq: u64, value: &str) {
        self.peer(me).start(seq, value.as_bytes()).unwrap();
    }

    /// Every peer begins agreement on every one of these instances, each with a value of its own; in each case one of those
    /// values must become known to all.
    pub(crate) fn agree_on_all_of(&self, instances: std::ops::Range<u64>) {
        for seq in instances.clone() {
            for me in 0..self.peers.len() {
                self.start(me, seq, &format!("{seq} of {me}"));
            }
        }
        for seq in instances {
            let value = self.wait_all(seq);
            assert!(value.starts_with(&format!("{seq} of ")), "{seq} is {value}");
        }
    }

    /// Every program is done with everything up to `seq`: waits until all know that it is forgotten.
    pub(crate) fn be_done_everywhere(&self, seq: u64) {
        self.peers().for_each(|peer| peer.done(seq));
        wait_until(&format!("everything up to {seq} is forgotten"), || {
            self.peers().all(|peer| peer.min() == seq + 1)
        });
    }

    /// How many peers know a decision; fails where two know different ones.
    pub(crate) fn decided(&self, seq: u64) -> usize {
        let mut known: Option<Arc<[u8]>> = None;
        let mut count = 0;
        for peer in self.peers() {
            if let Fate::Decided(value) = peer.status(seq) {
                let known = known.get_or_insert_with(|| Arc::clone(&value));
                assert!(*known == value, "{seq} is {known:?} and {value:?}");
                count += 1;
            }
        }
        count
    }

    /// Waits until so many peers know a decision, and says which.
    pub(crate) fn wait_decided(&self, seq: u64, count: usize) -> String {
        wait_until(&format!("{count} peers know instance {seq}"), || {
            self.decided(seq) >= count
        });
        let fates = self.peers().map(|peer| peer.status(seq));
        let values = fates.filter_map(|fate| match fate {
            Fate::Decided(value) => Some(String::from_utf8_lossy(&value).into_owned()),
            Fate::Pending | Fate::Forgotten => None,
        });
        values.last().unwrap()
    }

    /// Waits until all know a decision, and says which.
    pub(crate) fn wait_all(&self, seq: u64) -> String {
        self.wait_decided(seq, self.peers().count())
    }
}

/// Asks again and again, until it holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// For so long it must hold all the time.
pub(crate) fn holds_for(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        assert!(condition(), "it does not hold: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a test does to the messages between peers.
#[derive(Debug)]
pub(crate) struct Network(Mutex<Weather>);

#[derive(Debug)]
struct Weather {
    /// The part of the network in which each peer is: peers reach only their own.
    part: Vec<usize>,
    deaf: BTreeSet<usize>,
    /// Two that do not reach each other, whatever else does.
    cut: Option<(usize, usize)>,
    unreliable: bool,
    random: Random,
    /// The next message from one to the other is the answer that is to be dropped.
    answers_to_drop: BTreeSet<(usize, usize)>,
    /// How many messages of each kind left.
    sent: BTreeMap<String, u64>,
}

impl Network {
    fn new(count: usize) -> Self {
        Self(Mutex::new(Weather {
            part: vec![0; count],
            deaf: BTreeSet::new(),
            cut: None,
            unreliable: false,
            random: Random(7),
            answers_to_drop: BTreeSet::new(),
            sent: BTreeMap::new(),
        }))
    }

    /// Peers reach only those of their own part; who is in none reaches nobody.
    pub(crate) fn partition(&self, parts: &[&[usize]]) {
        let mut weather = self.0.lock();
        let count = weather.part.len();
        weather.part = (0..count)
            .map(|me| {
                let part = parts.iter().position(|part| part.contains(&me));
                part.unwrap_or(count + me)
            })
            .collect();
    }

    /// All reach all.
    pub(crate) fn heal(&self) {
        self.0.lock().part.fill(0);
    }

    /// Every peer goes to one of three parts.
    pub(crate) fn regroup(&self, random: &mut Random) {
        for part in &mut self.0.lock().part {
            *part = random.place(3);
        }
    }

    /// These two do not reach each other; the rest of the network works.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        self.0.lock().cut = Some((one, other));
    }

    /// Nothing reaches these.
    pub(crate) fn deafen(&self, peers: &[usize]) {
        self.0.lock().deaf = peers.iter().copied().collect();
    }

    /// Of the messages that would arrive 10% are lost, and of a further 18% the answer.
    pub(crate) fn set_unreliable(&self, unreliable: bool) {
        self.0.lock().unreliable = unreliable;
    }

    /// How many messages of each kind left since this was last asked.
    pub(crate) fn take_sent(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.0.lock().sent)
    }
}

impl LinkFilter for Network {
    fn passes(&self, from: ReplicaId, to: ReplicaId, message: &PeerMessage) -> bool {
        let PeerMessage::Agreement(message) = message else {
            return true;
        };
        let (from, to) = (usize::from(from.0), usize::from(to.0));
        let mut weather = self.0.lock();
        let text = message.to_string();
        let kind = text.split(' ').next().unwrap().to_owned();
        *weather.sent.entry(kind).or_default() += 1;
        let is_cut = weather
            .cut
            .is_some_and(|cut| cut == (from, to) || cut == (to, from));
        if is_cut || weather.part[from] != weather.part[to] || weather.deaf.contains(&to) {
            return false;
        }
        if !weather.unreliable {
            return true;
        }
        if weather.answers_to_drop.remove(&(from, to)) {
            return false;
        }
        match weather.random.below(100) {
            0..10 => return false,
            10..28 => {
                weather.answers_to_drop.insert((to, from));
            }
            _ => {}
        }
        true
    }
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn place(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    pub(crate) fn shuffled(&mut self, count: u64) -> Vec<u64> {
        let mut items: Vec<u64> = (0..count).collect();
        for end in (1..items.len()).rev() {
            items.swap(end, self.place(end + 1));
        }
        items
    }
}
