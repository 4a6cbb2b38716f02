//! Helps whoever types: completes commands and keys, hints at what a command takes, colours the prompt.

use std::borrow::Cow;
use std::collections::BTreeSet;

use common::quote::Quoted;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::lookout::Tone;
use crate::language::{self, Line};
use crate::manual::{self, COMMANDS};

/// How many keys are remembered for completion.
const KEYS_SEEN_MAX: usize = 1_000;

/// A longer key is nothing to complete.
const KEY_BYTES_MAX: usize = 256;

/// Knows the commands, the keys that were typed, and how the cluster is.
#[derive(Debug)]
pub(super) struct Assistant {
    /// As they are shown.
    keys: BTreeSet<String>,
    tone: Tone,
    /// A hint that looks like what was typed would mislead, so without colours there is none.
    has_colours: bool,
}

impl Assistant {
    pub(super) fn new(has_colours: bool) -> Self {
        Self {
            keys: BTreeSet::new(),
            tone: Tone::default(),
            has_colours,
        }
    }

    /// Remembers the key of a typed line.
    pub(super) fn note(&mut self, line: &str) {
        if let Ok(Line::Operation(operation)) = language::parse(line.as_bytes())
            && let Some(key) = operation.key()
            && key.len() <= KEY_BYTES_MAX
            && self.keys.len() < KEYS_SEEN_MAX
        {
            self.keys.insert(Quoted(key).to_string());
        }
    }

    /// How the next prompt is coloured.
    pub(super) fn set_tone(&mut self, tone: Tone) {
        self.tone = tone;
    }

    /// What a line may become: where the word begins that is replaced, and by what.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        let Some((command, word)) = typed.split_once(' ') else {
            return (0, commands(typed, " "));
        };
        let start = command.len() + 1;
        let found = match manual::entry(command.as_bytes()).map(|entry| entry.name) {
            Some("HELP") => commands(word, ""),
            Some(".timing") => beginning(["on", "off"], word, ""),
            Some("PUT" | "APPEND") => beginning(&self.keys, word, " "),
            Some("GET" | "DELETE") => beginning(&self.keys, word, ""),
            _ => Vec::new(),
        };
        (start, found)
    }
}

/// The commands that begin like this, in any case.
fn commands(typed: &str, end: &str) -> Vec<String> {
    let fits = |name: &str| {
        let start = name.get(..typed.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(typed))
    };
    let names = COMMANDS.iter().map(|entry| entry.name);
    names
        .filter(|name| fits(name))
        .map(|name| format!("{name}{end}"))
        .collect()
}

fn beginning(
    words: impl IntoIterator<Item = impl AsRef<str>>,
    typed: &str,
    end: &str,
) -> Vec<String> {
    let words = words.into_iter();
    words
        .filter(|word| word.as_ref().starts_with(typed))
        .map(|word| format!("{}{end}", word.as_ref()))
        .collect()
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..position]))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    /// The words that a command takes, as soon as it is typed and until one is.
    fn hint(&self, line: &str, position: usize, _context: &Context<'_>) -> Option<String> {
        if !self.has_colours || position < line.len() {
            return None;
        }
        let command = line.strip_suffix(' ').unwrap_or(line);
        let words = manual::entry(command.as_bytes())?.words;
        let space = if command == line { " " } else { "" };
        (!words.is_empty()).then(|| format!("{space}{words}"))
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        if !default {
            return Cow::Borrowed(prompt);
        }
        let colour = match self.tone {
            Tone::Well => "32",
            Tone::Missing => "33",
            Tone::Broken => "31",
        };
        Cow::Owned(format!("\x1b[{colour}m{prompt}\x1b[0m"))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[0m"))
    }
}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    #[test]
    fn commands_and_seen_keys_are_completed() {
        let mut assistant = Assistant::new(true);
        assistant.note("put \"a b\" 1");
        assistant.note("get abc");
        assistant.note("nonsense abd");
        let completed = |typed| assistant.candidates(typed).1;
        assert_eq!(completed("ge"), ["GET "]);
        assert_eq!(completed("."), [".status ", ".timing "]);
        assert_eq!(assistant.candidates("get a"), (4, vec!["abc".to_owned()]));
        assert_eq!(completed("PUT a"), ["abc "]);
        assert_eq!(completed("GET \"a"), ["\"a b\""]);
        assert_eq!(completed("help ap"), ["APPEND"]);
        assert_eq!(completed(".timing o"), ["on", "off"]);
        assert!(completed("nonsense a").is_empty());
    }

    #[test]
    fn a_command_hints_at_its_words_until_one_is_typed() {
        let history = MemHistory::new();
        let context = Context::new(&history);
        let hint = |assistant: &Assistant, line: &str| assistant.hint(line, line.len(), &context);
        let assistant = Assistant::new(true);
        assert_eq!(hint(&assistant, "put").as_deref(), Some(" key value"));
        assert_eq!(hint(&assistant, "PUT ").as_deref(), Some("key value"));
        assert_eq!(hint(&assistant, "PUT a"), None);
        assert_eq!(hint(&assistant, "EXIT"), None);
        assert_eq!(hint(&Assistant::new(false), "PUT"), None);
    }
}
