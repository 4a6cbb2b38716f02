//! Short journals, bit by bit and sector by sector: what is spoiled is never read as less or as something else (FAULTS 5,
//! RULES R3).

use std::sync::Arc;

use kvpaxos_server::journal::{Journal, JournalSettings, Opened, SECTOR_BYTES};
use paxos::{DurableState, Record};

use crate::faulty_disk::FaultyDisk;
use crate::journal_rig::{
    OWNER, append, create, last_written_block, only_segment, open, record, reopen, state_after,
};

/// Every bit of a journal that is idle: two segments, of which the second is in use, and the next one, prepared and untouched.
#[test]
fn every_flipped_bit_of_an_idle_journal_is_damage_with_its_place_or_harmless() {
    let disk = idle_journal();
    let expected = replay_of(&disk);
    let names = disk.names();
    assert_eq!(names.len(), 3);
    let places: Vec<(&String, usize)> = names
        .iter()
        .flat_map(|name| {
            let bits = 8 * disk.content(name).len();
            (0..bits).map(move |bit| (name, bit))
        })
        .collect();
    let share = places.len().div_ceil(2);
    let damaged: usize = std::thread::scope(|scope| {
        let halves = places.chunks(share).map(|places| {
            let (disk, expected) = (disk.copy(), &expected);
            scope.spawn(move || {
                let flipped = places.iter();
                flipped
                    .filter(|(name, bit)| is_damage(&disk, expected, name, *bit))
                    .count()
            })
        });
        let halves: Vec<_> = halves.collect();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    let harmless = places.len() - damaged;
    println!(
        "{} bits: {damaged} damage, {harmless} harmless",
        places.len()
    );
    assert_eq!(harmless, 8 * SECTOR_BYTES * (7 * names.len() + 8));
}

/// Nothing rests on what stands beside a segment's header, in its block, and behind an end marker.
fn is_unused(name: &str, sector: usize) -> bool {
    (1..8).contains(&sector) || name == FIRST_SEGMENT && sector >= 8 * 5
}

/// Flips one bit and flips it back.
fn is_damage(disk: &FaultyDisk, expected: &Replayed, name: &str, bit: usize) -> bool {
    let sector = bit / 8 / SECTOR_BYTES;
    disk.flip_bit(name, bit);
    // Opening writes to what is whole, and to nothing else.
    let flipped = match is_unused(name, sector) {
        true => disk.copy(),
        false => disk.clone(),
    };
    let mut replayed = Replayed::new();
    let opened = open(&flipped, &mut |state, records| {
        replayed.push((state, records));
    });
    match opened.unwrap() {
        Opened::Damaged(damage) => {
            disk.flip_bit(name, bit);
            let place = (damage.file.as_str(), damage.offset);
            assert_eq!(place, (name, (sector * SECTOR_BYTES) as u64), "bit {bit}");
            true
        }
        Opened::Whole { torn, .. } => {
            assert_eq!(torn, None, "{name} bit {bit} was taken for a torn tail");
            assert_eq!(&replayed, expected, "{name} bit {bit}");
            assert!(is_unused(name, sector), "{name} bit {bit} was not noticed");
            disk.flip_bit(name, bit);
            false
        }
    }
}

/// Every batch's header repeats the promised ballot. Whichever bit of it flips, in the last batch of records, in the seal after
/// it, or in an earlier one, the journal is damaged; it never promises less, or something else.
#[test]
fn a_flipped_bit_in_a_ballot_record_is_damage() {
    let disk = idle_journal();
    let expected = replay_of(&disk);
    let mut ballots = 0;
    for name in disk.names() {
        let content = disk.content(&name);
        for (place, block) in content.chunks(8 * SECTOR_BYTES).enumerate().skip(1) {
            if block[BALLOT_AT..BALLOT_AT + BALLOT_BYTES]
                .iter()
                .all(|byte| *byte == 0)
            {
                continue;
            }
            ballots += 1;
            let first_bit = 8 * (place * 8 * SECTOR_BYTES + BALLOT_AT);
            for bit in first_bit..first_bit + 8 * BALLOT_BYTES {
                assert!(is_damage(&disk, &expected, &name, bit));
            }
        }
    }
    assert!(ballots > 4, "{ballots} ballots are too few");
}

/// The last batch, of one block in a segment of zeros, with every set of its sectors not written: it is cut, and what was synced
/// before it is there. With all of them it is whole.
#[test]
fn a_torn_last_record_in_a_zeroed_segment_is_cut_whichever_sectors_are_missing() {
    let disk = FaultyDisk::new();
    create(&disk);
    let (mut journal, _) = reopen(&disk);
    for (number, length) in [(0, 100), (1, 3_000)] {
        append(&mut journal, number, length).unwrap();
        journal.sync().unwrap();
    }
    let (name, block) = (only_segment(&disk), last_written_block(&disk));
    let whole = disk.content(&name);
    for missing in 0..=u8::MAX {
        let mut content = whole.clone();
        let sectors = content[block * 4096..(block + 1) * 4096].chunks_mut(SECTOR_BYTES);
        for (sector, bytes) in sectors.enumerate() {
            if missing & 1 << sector != 0 {
                bytes.fill(0);
            }
        }
        let disk = disk.copy();
        disk.set_content(&name, content);
        let mut replayed = Vec::new();
        let opened = open(&disk, &mut |_, records| replayed.extend(records)).unwrap();
        let Opened::Whole { torn, .. } = opened else {
            panic!("missing {missing:08b}: {opened:?}");
        };
        let is_torn = torn.map(|torn| (torn.file, torn.offset));
        let begins = (name.clone(), block as u64 * 4096);
        match missing {
            0 => assert_eq!((is_torn, replayed.len()), (None, 2)),
            // Nothing of it was written.
            u8::MAX => assert_eq!((is_torn, replayed), (None, vec![record(0, 100)])),
            _ => {
                assert_eq!(is_torn, Some(begins), "missing {missing:08b}");
                assert_eq!(replayed, [record(0, 100)]);
            }
        }
        assert_eq!(reopen(&disk).1.len(), if missing == 0 { 2 } else { 1 });
    }
}

type Replayed = Vec<(DurableState, Vec<Record>)>;

fn replay_of(disk: &FaultyDisk) -> Replayed {
    let mut replayed = Replayed::new();
    let opened = open(&disk.copy(), &mut |state, records| {
        replayed.push((state, records));
    });
    assert!(matches!(opened, Ok(Opened::Whole { torn: None, .. })));
    replayed
}

/// A journal of a process that has nothing to do: sealed, with a segment closed and another prepared.
fn idle_journal() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let settings = JournalSettings {
        first_segment_bytes: 24 << 10,
        segment_bytes_max: 24 << 10,
    };
    let mut journal = Journal::create(Arc::new(disk.clone()), settings, OWNER, 3).unwrap();
    for (number, length) in [(0, 3_000), (1, 100), (2, 5_000)] {
        append(&mut journal, number, length).unwrap();
        journal.sync().unwrap();
    }
    if let Some(order) = journal.order_spare() {
        journal.take_spare(order.make(&disk)).unwrap();
    }
    journal.seal().unwrap();
    assert_eq!(journal.last_serial().0 as usize, replay_of(&disk).len());
    assert_eq!(replay_of(&disk).last().unwrap().0, state_after(3));
    disk
}

/// Two blocks for the header and the first seal, one for each of two short records, one for the end marker, and one to spare.
const FIRST_SEGMENT: &str = "segment-000000000001.log";

/// Where the promised ballot stands in the first sector of a batch: behind the sector's label and 33 bytes of the header.
const BALLOT_AT: usize = 20 + 33;
const BALLOT_BYTES: usize = 17;
