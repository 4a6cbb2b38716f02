//! What was typed, kept in a file from one prompt to the next.
//!
//! A line is written as soon as it is entered, so that none is lost with the process, and prompts that run at the same
//! time leave each other's lines alone. The file is for its owner's eyes, since it holds values. Where it cannot be used
//! that is said once, and the prompt works without it.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;

use super::terminal::LineEditor;
use crate::args::PromptArguments;

/// How many lines are kept.
pub(super) const HISTORY_LINES_MAX: usize = 1_000;

/// A longer line is a pasted value, which nobody looks for line by line.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What `--history` says for no file at all.
const NO_FILE: &str = "none";

/// The file, if there is to be one.
#[derive(Debug)]
pub(super) struct HistoryFile {
    path: Option<PathBuf>,
}

/// Whether a line is worth keeping.
pub(super) fn is_kept(line: &str) -> bool {
    line.len() <= LINE_BYTES_MAX && !line.trim().is_empty()
}

impl HistoryFile {
    /// The one that the command line names, or the ordinary one.
    pub(super) fn of(arguments: &PromptArguments) -> Self {
        let path = match &arguments.history {
            Some(word) if word.as_os_str() == NO_FILE => None,
            Some(path) => Some(path.clone()),
            None => ordinary_path(),
        };
        Self { path }
    }

    /// Reads what was typed before, and notes its keys.
    pub(super) fn load(&mut self, editor: &mut LineEditor) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match editor.load_history(path) {
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.give_up(&error)),
            Ok(()) => {
                let lines: Vec<String> = editor.history().iter().cloned().collect();
                if let Some(assistant) = editor.helper_mut() {
                    lines.iter().for_each(|line| assistant.note(line));
                }
                Ok(())
            }
        }
    }

    /// Writes what was added since.
    pub(super) fn append(&mut self, editor: &mut LineEditor) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        make_parent(path)
            .map_err(ReadlineError::from)
            .and_then(|()| editor.append_history(path))
            .map_err(|error| self.give_up(&error))
    }

    /// From here on there is none.
    fn give_up(&mut self, error: &ReadlineError) -> String {
        let path = self.path.take().unwrap_or_default();
        format!(
            "-- the history cannot be kept in {}: {error}",
            path.display()
        )
    }
}

/// Where programs keep what should outlast a restart and matters to nobody else (the XDG base directories).
fn ordinary_path() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("kvpaxos/history"))
}

fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)
        }
        _ => Ok(()),
    }
}
