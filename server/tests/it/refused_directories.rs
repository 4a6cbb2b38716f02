//! Directories in which the binary does not start, each with a sentence that says why, and without a change (FAULTS 5).
//!
//! Those of another replica and of another cluster, in use, or full are with the clusters and the full disks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::cluster::server_command;
use crate::identity::identity_of_version;
use crate::one_replica::Replica;
use crate::small_disk::SmallDisk;
use crate::tagged_writes::Writes;

#[test]
#[ignore = "as root: mounts a small file system"]
fn a_read_only_directory_ends_the_start_with_a_sentence_and_loses_nothing() {
    let disk = SmallDisk::new(64 << 20);
    let data = disk.path().join("data");
    let mut replica = Replica::start(&data);
    let mut writes = Writes::default();
    assert!(writes.go_on_by(&replica, 3));
    replica.kill();
    disk.set_read_only(true);
    let said = refusal(&data);
    let sentence = format!("cannot use the directory {}: Read-only", data.display());
    assert!(said.contains(&sentence), "{said}");
    disk.set_read_only(false);
    replica.start_again();
    assert!(writes.go_on_by(&replica, 1));
    writes.assert_all_there(&replica);
}

#[test]
fn damaged_incomplete_and_other_releases_files_of_a_replica_alone_are_refused_and_stay_as_they_are()
{
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    let mut replica = Replica::start(&data);
    let mut writes = Writes::default();
    writes.write_rounds(&mut replica, 1, &|| false);
    replica.kill();
    let whole = contents(&data);
    let mut snapshots = whole.keys().filter(|name| name.ends_with(".snap"));
    let snapshot = snapshots.next_back().unwrap().clone();
    // The one in use: the next one is prepared.
    let mut segments = whole.keys().filter(|name| name.ends_with(".log"));
    let segment = segments.next().unwrap().clone();
    let alone = "this is the only replica, and what it answered may be in the damaged part";
    let newer = "has format version 2, this release reads up to 1";
    let cases: [(&str, &str, Spoil); 9] = [
        ("identity", alone, |content| content[30] ^= 1),
        ("identity", newer, |content| {
            *content = identity_of_version(2, content);
        }),
        ("identity", alone, |content| {
            *content = identity_of_version(0, content);
        }),
        ("identity", "no identity file", |content| content.clear()),
        (&segment, alone, |content| content[8_192 + 30] ^= 1),
        (&segment, alone, |content| content.truncate(8_192)),
        (&segment, alone, |content| content.clear()),
        (&segment, newer, |content| newer_segment(content)),
        (&snapshot, newer, |content| newer_snapshot(content)),
    ];
    for (name, sentence, spoil) in cases {
        let mut content = whole[name].clone();
        spoil(&mut content);
        let path = data.join(name);
        if name == "identity" && content.is_empty() {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
        }
        let before = contents(&data);
        let said = refusal(&data);
        println!("{said}");
        assert!(said.contains(sentence), "{name}: {said}");
        assert_eq!(
            said.contains(alone),
            said.contains(&format!("({name}")),
            "{said}"
        );
        assert!(contents(&data) == before, "{name}: a file was changed");
        fs::write(&path, &whole[name]).unwrap();
    }
    replica.start_again();
    assert!(writes.go_on_by(&replica, 1));
    writes.assert_all_there(&replica);
}

/// Runs a server that must end by itself; the line that says why.
fn refusal(data: &Path) -> String {
    let output = server_command()
        .args(["--tcp", "127.0.0.1:0", "--data"])
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("[ERROR]"))
        .collect();
    assert_eq!(errors.len(), 1, "{said}");
    errors[0].to_owned()
}

type Spoil = fn(&mut Vec<u8>);

/// The header that a later release may write.
fn newer_segment(content: &mut [u8]) {
    content[8] = 2;
    let checksum = xxh3_64(&content[..504]);
    content[504..512].copy_from_slice(&checksum.to_le_bytes());
}

/// The head that a later release may write.
fn newer_snapshot(content: &mut [u8]) {
    content[11] = 2;
    let length = u32::from_be_bytes(content[12..16].try_into().unwrap());
    let body = &content[24..24 + length as usize];
    let checksum = xxh3_64_with_seed(body, 2 << 32 | u64::from(length));
    content[16..24].copy_from_slice(&checksum.to_be_bytes());
}

/// All files by name.
fn contents(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(data).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    files.collect()
}
