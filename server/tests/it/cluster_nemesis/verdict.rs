//! The history that a nemesis leaves: kept in a file until it has been judged right.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::history::{Explanation, Operation, Status, Verdict, judge_key, read_lines};

/// How long judging a key may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a shorter history is looked for that is wrong as well.
const EXPLAINING: Duration = Duration::from_secs(5);

/// What is needed to look into a failed run. It removes the history of a run that did not fail.
#[derive(Debug)]
pub(super) struct Evidence {
    seed: u64,
    path: PathBuf,
}

impl Evidence {
    pub(super) fn new(seed: u64) -> Self {
        let name = format!("nemesis-{seed}-{}.jsonl", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        Self { seed, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Judges the history twice, with what revisions tell and without. Returns how many operations are of unknown outcome.
    ///
    /// # Errors
    /// Says what is wrong, or that a key could not be judged in time.
    pub(super) fn judge(&self) -> Result<usize, String> {
        let (mut keys, unknown) = self.read();
        judge_keys(&keys)?;
        for operation in keys.values_mut().flatten() {
            operation.revision = None;
        }
        judge_keys(&keys)?;
        Ok(unknown)
    }

    /// The operations by keys, without those that certainly had no effect.
    fn read(&self) -> (BTreeMap<Vec<u8>, Vec<Operation>>, usize) {
        let mut keys: BTreeMap<Vec<u8>, Vec<Operation>> = BTreeMap::new();
        let mut unknown = 0;
        let input = BufReader::new(File::open(&self.path).unwrap());
        read_lines(input, |line| {
            unknown += usize::from(line.status == Status::Unknown);
            if line.status != Status::Fail {
                keys.entry(line.key).or_default().push(line.operation);
            }
        })
        .unwrap();
        (keys, unknown)
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "NEMESIS_SEED={} draws the same schedule again; `kvpaxos-client check {}` judges what clients heard",
                self.seed,
                self.path.display()
            );
        } else {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn judge_keys(keys: &BTreeMap<Vec<u8>, Vec<Operation>>) -> Result<(), String> {
    for (key, operations) in keys {
        match judge_key(operations, Some(LIMIT)) {
            Verdict::Right => {}
            Verdict::Wrong(_) => {
                return Err(Explanation::of(key, operations.clone(), EXPLAINING).to_string());
            }
            Verdict::Undecided => {
                let key = String::from_utf8_lossy(key);
                return Err(format!("{key}: undecided after {LIMIT:?}"));
            }
        }
    }
    Ok(())
}
