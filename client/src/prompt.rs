//! The prompt on a terminal, and lines from a pipe.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Read};

use common::quote::Quoted;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::language::{self, COMMANDS, HELP, Line};

/// What stands before a typed line.
const PROMPT: &str = "kvpaxos> ";

/// A line from a pipe may be so long: a value of 8 MiB of which every byte is written as `\xHH`, and its key.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// How many lines the history keeps.
const HISTORY_LINES_MAX: usize = 1_000;

/// How many keys are remembered for completion.
const KEYS_SEEN_MAX: usize = 1_000;

/// Prints what can be typed, as the demo does before the prompt.
pub(crate) fn introduce(console: &Console) -> Result<(), Failure> {
    console.remark(
        "Enter command (PUT key value / GET key / APPEND key value / DELETE key / HELP / EXIT): ",
    )
}

/// Carries out commands until EXIT or the end of input.
pub(crate) fn run(console: &mut Console) -> Result<Exit, Failure> {
    if io::stdin().is_terminal() {
        run_on_terminal(console)?;
    } else {
        run_on_pipe(console)?;
    }
    Ok(console.exit())
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

fn run_on_pipe(console: &mut Console) -> Result<(), Failure> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = stdin.by_ref().take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(Failure::Input)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            console.show_usage("a line is longer than 64 MiB; put KEY - reads a long value")?;
            return Ok(());
        }
        if carry_out(console, &line)? == Next::Leave {
            return Ok(());
        }
    }
}

fn run_on_terminal(console: &mut Console) -> Result<(), Failure> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .build();
    let mut editor: Editor<Completion, MemHistory> =
        Editor::with_history(config, MemHistory::with_config(config))?;
    editor.set_helper(Some(Completion::default()));
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                editor.add_history_entry(&line)?;
                if let Some(completion) = editor.helper_mut() {
                    completion.note(&line);
                }
                if carry_out(console, line.as_bytes())? == Next::Leave {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn carry_out(console: &mut Console, line: &[u8]) -> Result<Next, Failure> {
    match language::parse(line) {
        Ok(Line::Empty) => {}
        Ok(Line::Operation(operation)) => {
            console.perform(operation)?;
        }
        Ok(Line::Help) => console.remark(HELP)?,
        Ok(Line::Status) => console.show_status()?,
        Ok(Line::Timing) => {
            let state = if console.toggle_timing() { "on" } else { "off" };
            console.remark(&format!("timing is {state}"))?;
        }
        Ok(Line::Exit) => return Ok(Next::Leave),
        Err(reason) => console.show_usage(&reason)?,
    }
    Ok(Next::Line)
}

/// Completes commands, and keys that were typed before.
#[derive(Debug, Default)]
struct Completion {
    /// As they are shown.
    keys: BTreeSet<String>,
}

impl Completion {
    fn note(&mut self, line: &str) {
        if let Ok(Line::Operation(operation)) = language::parse(line.as_bytes())
            && let Some(key) = operation.key()
            && self.keys.len() < KEYS_SEEN_MAX
        {
            self.keys.insert(Quoted(key).to_string());
        }
    }

    /// What a word that begins at `start` of the line may become.
    fn candidates(&self, start: usize, word: &str) -> Vec<String> {
        if start == 0 {
            let typed = word.to_ascii_uppercase();
            let fits = |name: &&&str| name.to_ascii_uppercase().starts_with(&typed);
            return COMMANDS
                .iter()
                .filter(fits)
                .map(|name| format!("{name} "))
                .collect();
        }
        self.keys
            .iter()
            .filter(|key| key.starts_with(word))
            .cloned()
            .collect()
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        let start = match typed.split_once(' ') {
            Some((command, _)) => command.len() + 1,
            None => 0,
        };
        Ok((start, self.candidates(start, &typed[start..])))
    }
}

impl Hinter for Completion {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, _context: &Context<'_>) -> Option<String> {
        let rest = match line.to_ascii_uppercase().as_str() {
            "PUT" | "APPEND" => " key value",
            "PUT " | "APPEND " => "key value",
            "GET" | "DELETE" => " key",
            "GET " | "DELETE " => "key",
            _ => return None,
        };
        (position == line.len()).then(|| rest.to_owned())
    }
}

impl Highlighter for Completion {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_seen_keys_are_completed() {
        let mut completion = Completion::default();
        completion.note("put \"a b\" 1");
        completion.note("get abc");
        completion.note("nonsense abd");
        assert_eq!(completion.candidates(0, "ge"), ["GET "]);
        assert_eq!(completion.candidates(4, "a"), ["abc"]);
        assert_eq!(completion.candidates(4, "\"a"), ["\"a b\""]);
    }
}
