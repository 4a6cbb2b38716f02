//! Does to a cluster what the schedule says, undoes it, and keeps count of what it cost the clients.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use common::Role;

use super::clients::Clients;
use super::schedule::{Fault, Harm, Strike};
use crate::cluster::{Cluster, SIZE};
use crate::proxy::Counts;

/// Agents that fail so often are away a good part of the time.
const FAIL_ROLES: [&str; 6] = [
    "--fail-roles",
    "acceptor,proposer,learner",
    "--fail-every",
    "100ms..400ms",
    "--fail-for",
    "50ms..300ms",
];

/// With a majority up and connected nobody waits so long, however busy the machine. What the numbers say is far below.
const GAP_MAX: Duration = Duration::from_secs(5);

/// So many operations succeed between two strikes, so that each gap belongs to one of them.
const SUCCESSES_BETWEEN: u64 = 50;

/// A store of little data takes no more, as `server/src/node/snapshots.rs` reckons: seven times 16 MiB, and for what the
/// clients leave there, snapshots and the room for others.
const DISK_BYTES_MAX: u64 = (7 << 24) + (32 << 20);

/// What the buffers, queues and caches of a replica hold beside a small store, and what is left of reading a journal and a
/// snapshot back.
const RESIDENT_KIB_MAX: u64 = 128 << 10;

/// What each strike of one kind cost.
#[derive(Clone, Debug, Default)]
struct Cost {
    /// The longest time without a success while it lasted.
    during: Vec<Duration>,
    /// The same until all were well again and the clients had gone on.
    whole: Vec<Duration>,
}

/// What strikes have cost so far, and the most that replicas have taken.
#[derive(Debug, Default)]
pub(super) struct Record {
    costs: BTreeMap<String, Cost>,
    pub(super) strikes: usize,
    /// Of the strikes that left a majority.
    pub(super) longest_gap: Duration,
    pub(super) resident_kib_max: u64,
    pub(super) disk_bytes_max: u64,
}

/// The cluster, its clients, and what has become of them.
#[derive(Debug)]
pub(super) struct Nemesis<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) clients: &'a Clients,
    pub(super) record: Record,
}

impl Nemesis<'_> {
    /// Strikes, undoes it after its time, waits until all are well, and notes what it cost.
    pub(super) fn strike(&mut self, strike: Strike) {
        let leader = self.cluster.leader();
        println!("{} for {:?}, leader r{leader}", strike.fault, strike.lasts);
        self.clients.change_keys();
        self.clients.progress().forget();
        let (began, before) = (Instant::now(), self.counts());
        self.begin(strike.fault, leader);
        thread::sleep(strike.lasts.saturating_sub(began.elapsed()));
        assert_struck(strike.fault, before, self.counts());
        self.end(strike.fault, leader);
        let lasted = began.elapsed();
        let during = self.clients.progress().longest_gap();
        self.wait_until_well();
        let whole = self.clients.progress().longest_gap();
        self.note(strike.fault, during, whole);
        self.assert_gap(strike, lasted, during, whole);
        self.assert_bounds();
    }

    fn begin(&mut self, fault: Fault, leader: usize) {
        let id = |place: usize| (leader + place) % SIZE;
        match fault {
            Fault::One(harm, place) => self.begin_harm(harm, id(place)),
            Fault::Two([(Harm::Kill, one), (Harm::Kill, other)]) => {
                self.cluster.kill(&[id(one), id(other)]);
            }
            Fault::Two(both) => {
                for (harm, place) in both {
                    self.begin_harm(harm, id(place));
                }
            }
            Fault::Split([one, other]) => self.part(&[&[id(one), id(other)]]),
            Fault::BadLinks => self.set_links_bad(true),
            Fault::OneOnBadLinks(harm, place) => {
                self.set_links_bad(true);
                self.begin_harm(harm, id(place));
            }
            Fault::NoMajority => self.part(&[&[id(0), id(1)], &[id(2), id(3)]]),
            Fault::RestartAll => self.cluster.kill(&[0, 1, 2, 3, 4]),
        }
    }

    fn begin_harm(&mut self, harm: Harm, id: usize) {
        match harm {
            Harm::Kill => self.cluster.kill(&[id]),
            Harm::Pause => self.cluster.pause(id),
            Harm::CutOff => self.part(&[&[id]]),
            Harm::Deafen => self.between(id, |nemesis, other| nemesis.block(other, id, true)),
            Harm::Mute => self.between(id, |nemesis, other| nemesis.block(id, other, true)),
            Harm::Wipe => {
                self.cluster.kill(&[id]);
                fs::remove_dir_all(self.cluster.data(id)).unwrap();
                self.cluster.start_replica(id);
            }
            Harm::FailRoles => {
                self.terminate(id);
                self.cluster.start_replica_with(id, &FAIL_ROLES);
            }
        }
    }

    fn end(&mut self, fault: Fault, leader: usize) {
        match fault {
            Fault::One(harm, place) => self.end_harm(harm, (leader + place) % SIZE),
            Fault::Two(both) => {
                for (harm, place) in both {
                    self.end_harm(harm, (leader + place) % SIZE);
                }
            }
            Fault::Split(_) | Fault::NoMajority => self.connect_all(),
            Fault::BadLinks => self.set_links_bad(false),
            Fault::OneOnBadLinks(harm, place) => {
                self.end_harm(harm, (leader + place) % SIZE);
                self.set_links_bad(false);
            }
            Fault::RestartAll => (0..SIZE).for_each(|id| self.cluster.start_replica(id)),
        }
    }

    fn end_harm(&mut self, harm: Harm, id: usize) {
        match harm {
            Harm::Kill => self.cluster.start_replica(id),
            Harm::Pause => self.cluster.resume(id),
            Harm::CutOff | Harm::Deafen | Harm::Mute => self.connect_all(),
            Harm::Wipe => {}
            Harm::FailRoles => {
                let recovered = successors(self.cluster, id);
                self.cluster.wait("a role to fail and recover", |cluster| {
                    successors(cluster, id) > recovered
                });
                self.terminate(id);
                self.cluster.start_replica(id);
            }
        }
    }

    fn terminate(&mut self, id: usize) {
        let (status, _) = self.cluster.terminate(id);
        assert!(status.success(), "r{id} ended with {status}");
    }

    /// Whatever one says to the other is lost, or is not any more. A pair has one connection, and either may have dialed.
    fn block(&self, from: usize, to: usize, blocked: bool) {
        let links = self.cluster.link_proxies();
        links[from][to].set_deaf(blocked);
        links[to][from].set_mute(blocked);
    }

    fn between(&self, id: usize, block: impl Fn(&Self, usize)) {
        let others = (0..SIZE).filter(|&other| other != id);
        others.for_each(|other| block(self, other));
    }

    /// Each of these groups hears only itself, and so do those that are in none.
    fn part(&self, groups: &[&[usize]]) {
        let group = |id: usize| groups.iter().position(|group| group.contains(&id));
        for one in 0..SIZE {
            self.between(one, |nemesis, other| {
                if group(one) != group(other) {
                    nemesis.block(one, other, true);
                }
            });
        }
    }

    fn connect_all(&self) {
        for one in 0..SIZE {
            self.between(one, |nemesis, other| nemesis.block(one, other, false));
        }
    }

    fn set_links_bad(&self, bad: bool) {
        let links = self.cluster.link_proxies().iter().flatten();
        links.for_each(|link| link.set_faulty(bad));
    }

    /// All five serve and have their votes, and clients succeed.
    pub(super) fn wait_until_well(&self) {
        self.cluster.wait("all five to vote", |cluster| {
            (0..SIZE).all(|id| {
                cluster.status(id).is_some_and(|status| {
                    status.serving && !matches!(status.role, Role::Blank | Role::Founding)
                })
            })
        });
        self.clients.wait_for_more(self.cluster, SUCCESSES_BETWEEN);
    }

    fn note(&mut self, fault: Fault, during: Duration, whole: Duration) {
        let record = &mut self.record;
        let cost = record.costs.entry(fault.to_string()).or_default();
        cost.during.push(during);
        cost.whole.push(whole);
        record.strikes += 1;
        if fault.leaves_a_majority() {
            record.longest_gap = record.longest_gap.max(whole);
        }
    }

    fn assert_gap(&self, strike: Strike, lasted: Duration, during: Duration, whole: Duration) {
        let fault = strike.fault;
        if fault.leaves_a_majority() {
            assert!(whole < GAP_MAX, "{fault}: no success for {whole:?}");
            return;
        }
        // Answers that were under way when it began may still come.
        assert!(during > lasted / 2, "{fault}: served after {during:?}");
        assert!(
            whole < lasted + GAP_MAX,
            "{fault}, which lasted {lasted:?}: no success for {whole:?}"
        );
    }

    /// Neither memory nor disk of any replica grows without bound.
    pub(super) fn assert_bounds(&mut self) {
        for id in 0..SIZE {
            let resident_kib = self.cluster.resident_kib(id);
            let disk_bytes = bytes_on_disk(self.cluster, id);
            assert!(resident_kib < RESIDENT_KIB_MAX, "r{id}: {resident_kib} KiB");
            assert!(
                disk_bytes < DISK_BYTES_MAX,
                "r{id}: {disk_bytes} bytes on disk"
            );
            let record = &mut self.record;
            record.resident_kib_max = record.resident_kib_max.max(resident_kib);
            record.disk_bytes_max = record.disk_bytes_max.max(disk_bytes);
        }
    }

    /// What all links did together.
    pub(super) fn counts(&self) -> Counts {
        let links = self.cluster.link_proxies().iter().flatten();
        links
            .map(|link| link.counts())
            .fold(Counts::default(), Counts::and)
    }
}

/// Fails if a fault of the links touched nothing.
fn assert_struck(fault: Fault, before: Counts, after: Counts) {
    let blocks = |harm| matches!(harm, Harm::CutOff | Harm::Deafen | Harm::Mute);
    let is_blocked = match fault {
        Fault::One(harm, _) | Fault::OneOnBadLinks(harm, _) => blocks(harm),
        Fault::Two(both) => both.iter().any(|(harm, _)| blocks(*harm)),
        Fault::Split(_) | Fault::NoMajority => true,
        Fault::BadLinks | Fault::RestartAll => false,
    };
    let is_bad = matches!(fault, Fault::BadLinks | Fault::OneOnBadLinks(..));
    assert!(!is_blocked || after.blocked > before.blocked, "{fault}");
    assert!(!is_bad || after.dropped > before.dropped, "{fault}");
}

/// How many roles of a replica its log says to have failed and to be replaced.
fn successors(cluster: &Cluster, id: usize) -> usize {
    cluster.log(id).matches("its successor recovered").count()
}

fn bytes_on_disk(cluster: &Cluster, id: usize) -> u64 {
    let entries = fs::read_dir(cluster.data(id)).unwrap().map(Result::unwrap);
    // A file may be removed between being listed and being looked at.
    let lengths = entries.filter_map(|entry| entry.metadata().ok());
    lengths.map(|metadata| metadata.len()).sum()
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = "longest time without a success, ms";
        writeln!(f, "{:32}        {title}", "")?;
        writeln!(
            f,
            "{:32} times    while it lasts    until all are well",
            "fault"
        )?;
        let columns = "median   worst";
        writeln!(f, "{:32}          {columns}        {columns}", "")?;
        for (fault, cost) in &self.costs {
            let (during, worst_during) = median_and_worst(&cost.during);
            let (whole, worst) = median_and_worst(&cost.whole);
            writeln!(
                f,
                "{fault:32} {:5}   {during:7} {worst_during:7}       {whole:7} {worst:7}",
                cost.whole.len()
            )?;
        }
        Ok(())
    }
}

/// In milliseconds.
fn median_and_worst(gaps: &[Duration]) -> (u128, u128) {
    let mut sorted: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    sorted.sort_unstable();
    (sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}
