//! Room for the snapshots to come, so that they can be written on a disk without a free byte (RULES R18).
//!
//! Only trimming makes room there, and trimming takes two snapshots: the log is trimmed below the older one of them. The
//! first is written into a file that is kept for it. Then the oldest is removed, which makes room for the second; what that
//! one needs beyond, as the state has grown since, is kept in another file.

use super::SnapshotError;
use super::files::{KEPT_MAX, Kept};
use crate::journal::{Disk, GrowingFile};

/// Makes the room that is kept fit: for a snapshot of `expected_bytes`, or of a quarter more than the newest if that is
/// longer; and then for another like it where the oldest of `kept`, which are two, was.
///
/// # Errors
/// There is no room for it now, or the file system cannot promise any. Nothing rests on it.
pub fn keep_reserve(
    disk: &dyn Disk,
    kept: &[Kept],
    expected_bytes: u64,
) -> Result<(), SnapshotError> {
    let newest_bytes = kept.last().map_or(0, |newest| newest.bytes);
    let next_bytes = (newest_bytes + newest_bytes / 4 + BYTES_MIN).max(expected_bytes);
    let freed_bytes = match kept {
        [oldest, ..] if kept.len() == KEPT_MAX => oldest.bytes,
        _ => 0,
    };
    let [first, second] = NAMES;
    if disk.length(first).is_err() && disk.length(second).is_ok() {
        disk.rename(second, first)
            .map_err(SnapshotError::disk("rename", second))?;
    }
    let made = fit(disk, first, next_bytes)
        .and_then(|()| fit(disk, second, next_bytes.saturating_sub(freed_bytes)));
    made.map_err(SnapshotError::disk("make room for", "the next snapshots"))
}

fn fit(disk: &dyn Disk, name: &str, bytes: u64) -> std::io::Result<()> {
    match disk.length(name).ok() {
        Some(reserved) if reserved == bytes => Ok(()),
        None if bytes == 0 => Ok(()),
        Some(_) if bytes == 0 => disk.remove(name),
        _ => disk.reserve(name, bytes),
    }
}

/// Opens the file `temporary` to be written behind `bytes_kept`. One that begins anew takes the room that is kept, if any;
/// without it the file takes what is free.
pub(super) fn open(
    disk: &dyn Disk,
    temporary: &str,
    bytes_kept: u64,
) -> Result<Box<dyn GrowingFile>, SnapshotError> {
    if bytes_kept == 0 {
        let _ = disk.rename(NAMES[0], temporary);
    }
    disk.open_growing(temporary, bytes_kept)
        .inspect_err(|_| give_up(disk, temporary))
        .map_err(SnapshotError::disk("create", temporary))
}

/// The file `temporary` becomes no snapshot: its room is kept for the next, unless there is some already.
pub(super) fn give_up(disk: &dyn Disk, temporary: &str) {
    // What stays under its name is given up by the next process.
    let _ = if disk.length(NAMES[0]).is_ok() {
        disk.remove(temporary)
    } else {
        disk.rename(temporary, NAMES[0])
    };
}

/// For the next snapshot, and for what the one after it needs beyond the room of the oldest.
const NAMES: [&str; 2] = ["snapshot-0.reserve", "snapshot-1.reserve"];

/// What is kept beyond a quarter more than the last snapshot took: a store that is nearly empty grows by more.
const BYTES_MIN: u64 = 64 << 10;
