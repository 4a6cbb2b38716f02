//! The file that `--history` names.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kvpaxos_client::Completion;
use kvpaxos_client::history::Recorder;

use crate::exit::Failure;

/// A recorder, and the name of its file for what goes wrong.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    recorder: Recorder,
}

impl Record {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        Ok(Self {
            path: path.to_owned(),
            recorder: Recorder::create(path).map_err(|error| failure(path, error))?,
        })
    }

    pub(super) fn note(
        &mut self,
        client: usize,
        completion: Completion,
        now: Instant,
    ) -> Result<(), Failure> {
        let noted = self.recorder.note(client, completion, now);
        noted.map_err(|error| failure(&self.path, error))
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        let finished = self.recorder.finish();
        finished.map_err(|error| failure(&self.path, error))
    }
}

fn failure(path: &Path, error: io::Error) -> Failure {
    Failure::History {
        file: path.display().to_string(),
        error,
    }
}
