//! One flipped bit, somewhere in a file of one replica or of two, while they are down (FAULTS 5): nothing is lost, nothing wrong
//! is served, the log names the place, and the others repair what was lost.
//!
//! Places are drawn from a seed. `ROT_SEED` takes another one, `ROT_ROUNDS` more of them.

use std::fs;
use std::path::{Path, PathBuf};

use client::Client;
use kvpaxos_server::journal::SECTOR_BYTES;

use crate::cluster::{Cluster, SIZE};
use crate::cluster_disks::wait_for_vote;
use crate::faulty_disk::Rng;

#[test]
fn a_flipped_bit_in_files_of_one_or_two_replicas_is_named_and_repaired() {
    let from_environment = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("it is a number"))
    };
    let seed = from_environment("ROT_SEED", 1);
    let rounds = from_environment("ROT_ROUNDS", 12);
    let mut random = Rng::new(seed);
    let mut cluster = Cluster::start(&[]);
    let mut tags = String::new();
    let (mut named, mut unused) = (0, 0);
    for round in 0..rounds {
        write(&cluster, round, &mut tags);
        wait_until_idle(&cluster);
        let victims = draw_victims(round, &mut random);
        // The others are down, too, every other time, so that they have only their disks to repair from.
        let all: Vec<usize> = (0..SIZE).collect();
        let killed = if random.chance(2) { &all } else { &victims };
        cluster.kill(killed);
        let before: Vec<usize> = (0..SIZE).map(|id| cluster.log(id).len()).collect();
        let rotten: Vec<Rot> = victims
            .iter()
            .map(|&id| Rot::draw(&cluster.data(id), &mut random))
            .collect();
        for &id in killed {
            cluster.start_replica(id);
        }
        for (&id, rot) in victims.iter().zip(&rotten) {
            wait_for_vote(&cluster, id);
            let log = cluster.log(id)[before[id]..].to_owned();
            let is_named = rot.is_named(&log);
            println!(
                "round {round}: r{id} {rot:?}: {}",
                ["unused", "named"][usize::from(is_named)]
            );
            assert!(is_named || rot.is_unused, "{rot:?} is not named:\n{log}");
            *if is_named { &mut named } else { &mut unused } += 1;
        }
        cluster.wait_until_serving();
        for id in 0..SIZE {
            let found = cluster.client_of(id).get(TAGS).unwrap().unwrap().value;
            assert_eq!(String::from_utf8(found).unwrap(), tags, "r{id}");
        }
    }
    println!("seed {seed}: {named} flipped bits were named, {unused} where nothing rests on them");
    assert!(named as u64 > rounds / 2, "{named} were named");
}

/// One, or every third time two.
fn draw_victims(round: u64, random: &mut Rng) -> Vec<usize> {
    let first = random.below(SIZE as u64) as usize;
    let second = (first + 1 + random.below(SIZE as u64 - 1) as usize) % SIZE;
    match round % 3 {
        2 => vec![first, second],
        _ => vec![first],
    }
}

/// A flipped bit.
#[derive(Debug)]
struct Rot {
    path: PathBuf,
    bit: usize,
    /// Whether nothing rests on this place.
    is_unused: bool,
}

impl Rot {
    /// Flips one of the files in this directory: of its identity, a snapshot, or a segment, there where something was
    /// written, or anywhere.
    fn draw(data: &Path, random: &mut Rng) -> Self {
        let names = names(data);
        let ending = |end: &str| -> Vec<&String> {
            let found = names.iter().filter(|name| name.ends_with(end));
            found.collect()
        };
        let (snapshots, segments) = (ending(".snap"), ending(".log"));
        let among = |names: &[&String], random: &mut Rng| {
            names[random.below(names.len() as u64) as usize].clone()
        };
        let name = match random.below(8) {
            0 => "identity".to_owned(),
            1..4 if !snapshots.is_empty() => among(&snapshots, random),
            _ => among(&segments, random),
        };
        let path = data.join(&name);
        let mut content = fs::read(&path).unwrap();
        let written = 1 + content.iter().rposition(|byte| *byte != 0).unwrap();
        let bytes = if random.chance(3) {
            content.len()
        } else {
            written
        };
        let bit = random.below(8 * bytes as u64) as usize;
        let at = bit / 8;
        let is_unused = if name.ends_with(".snap") {
            // The older of two is read when the newest is damaged.
            snapshots.len() > 1 && name == *snapshots[0]
        } else {
            // Beside a segment's header, or behind the end of one that another follows.
            let is_beside_header = (SECTOR_BYTES..8 * SECTOR_BYTES).contains(&at);
            let is_closed = segments.last().is_some_and(|last| name != **last);
            name.ends_with(".log") && (is_beside_header || is_closed && at >= written)
        };
        content[at] ^= 1 << (bit % 8);
        fs::write(&path, content).unwrap();
        Self {
            path,
            bit,
            is_unused,
        }
    }

    /// Whether the log says which file is damaged, and where.
    fn is_named(&self, log: &str) -> bool {
        let name = self.path.file_name().unwrap().to_str().unwrap();
        let errors = log.lines().filter(|line| line.contains("[ERROR]"));
        let mut lines = errors.filter_map(|line| line.split_once(name));
        let Some((_, rest)) = lines.next() else {
            return false;
        };
        let at = self.bit / 8;
        if name.ends_with(".log") {
            let sector = at / SECTOR_BYTES * SECTOR_BYTES;
            assert!(
                rest.starts_with(&format!(" at byte {sector}:")),
                "{self:?}: {rest}"
            );
        } else if let Some((_, behind)) = rest.split_once("behind byte ") {
            let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
            assert!(digits.parse::<usize>().unwrap() <= at, "{self:?}: {rest}");
        }
        true
    }
}

/// In order.
fn names(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data).unwrap().map(Result::unwrap);
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Tags, and a value long enough that snapshots are taken and segments left now and then.
fn write(cluster: &Cluster, round: u64, tags: &mut String) {
    let mut client = Client::new(cluster.options()).unwrap();
    for tag in 0..4 {
        let tag = format!("{round}.{tag};");
        client.append(TAGS, tag.as_bytes()).unwrap();
        tags.push_str(&tag);
        if tag.ends_with("1;") {
            client.put(b"long", &vec![round as u8; LONG_BYTES]).unwrap();
        }
    }
}

/// Waits until all have applied the same, some time ago, and have two snapshots: their journals are sealed then.
fn wait_until_idle(cluster: &Cluster) {
    cluster.wait("all to be idle", |cluster| {
        let statuses: Vec<_> = (0..SIZE).filter_map(|id| cluster.status(id)).collect();
        let applied = statuses.iter().map(|status| status.applied).max();
        statuses.len() == SIZE
            && statuses
                .iter()
                .all(|status| Some(status.applied) == applied && status.hash_slot == status.applied)
            && (0..SIZE).all(|id| {
                let names = names(&cluster.data(id));
                names.iter().filter(|name| name.ends_with(".snap")).count() == 2
            })
    });
}

const TAGS: &[u8] = b"tags";
const LONG_BYTES: usize = 1 << 20;
