//! What can be typed at the prompt: commands in any case, words quoted as they are shown.

use common::quote::{Elided, split_words};
use kvpaxos_client::Operation;

use crate::manual::{self, Entry};

/// One typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing.
    Empty,
    /// To be carried out by the cluster.
    Operation(Operation),
    /// Show what can be typed, or what there is to know of one command.
    Help(Option<&'static Entry>),
    /// Leave.
    Exit,
    /// Show every replica.
    Status,
    /// Show how long answers take, or hide it; without a word, the other of the two.
    Timing(Option<bool>),
}

/// Understands one typed line.
///
/// # Errors
/// Says, for people, what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<Line, String> {
    let mut words = split_words(line)
        .map_err(|error| error.to_string())?
        .into_iter();
    let Some(name) = words.next() else {
        return Ok(Line::Empty);
    };
    let words: Vec<Vec<u8>> = words.collect();
    match name.to_ascii_uppercase().as_slice() {
        b"PUT" => key_and_value("PUT", words)
            .map(|(key, value)| Line::Operation(Operation::Put { key, value })),
        b"APPEND" => key_and_value("APPEND", words)
            .map(|(key, value)| Line::Operation(Operation::Append { key, value })),
        b"GET" => key("GET", words).map(|key| Line::Operation(Operation::Get { key })),
        b"DELETE" => key("DELETE", words).map(|key| Line::Operation(Operation::Delete { key })),
        b"HELP" | b"?" => help(&words),
        b"EXIT" | b"QUIT" => nothing_more("EXIT", &words, Line::Exit),
        b".STATUS" => nothing_more(".status", &words, Line::Status),
        b".TIMING" => timing(&words),
        _ => Err(no_command(&name)),
    }
}

fn no_command(name: &[u8]) -> String {
    let shown = Elided(name);
    match manual::entry(&[b".", name].concat()) {
        Some(entry) => format!("{shown} is no command, but {} is", entry.name),
        None => format!("{shown} is no command; HELP shows them"),
    }
}

fn help(words: &[Vec<u8>]) -> Result<Line, String> {
    match words {
        [] => Ok(Line::Help(None)),
        [name] => match manual::entry(name) {
            Some(entry) => Ok(Line::Help(Some(entry))),
            None => Err(no_command(name)),
        },
        _ => Err("HELP takes a command or nothing".to_owned()),
    }
}

fn timing(words: &[Vec<u8>]) -> Result<Line, String> {
    let is = |word: &[u8]| matches!(words, [given] if given.eq_ignore_ascii_case(word));
    match words {
        [] => Ok(Line::Timing(None)),
        _ if is(b"on") => Ok(Line::Timing(Some(true))),
        _ if is(b"off") => Ok(Line::Timing(Some(false))),
        _ => Err(".timing takes on, off or nothing".to_owned()),
    }
}

fn key_and_value(name: &str, words: Vec<Vec<u8>>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let [key, value] = <[Vec<u8>; 2]>::try_from(words).map_err(|words| {
        format!(
            "{name} takes a key and a value, and {} it; words with spaces need quotes: {name} key \"a b\"",
            words_follow(words.len())
        )
    })?;
    Ok((key, value))
}

fn key(name: &str, words: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
    let [key] = <[Vec<u8>; 1]>::try_from(words).map_err(|words| {
        format!(
            "{name} takes a key, and {} it; a key with spaces needs quotes: {name} \"a b\"",
            words_follow(words.len())
        )
    })?;
    Ok(key)
}

fn words_follow(count: usize) -> String {
    match count {
        0 => "no word follows".to_owned(),
        1 => "1 word follows".to_owned(),
        _ => format!("{count} words follow"),
    }
}

fn nothing_more(name: &str, words: &[Vec<u8>], line: Line) -> Result<Line, String> {
    if words.is_empty() {
        Ok(line)
    } else {
        Err(format!("{name} takes no words"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_in_any_case() {
        let put = |key: &[u8], value: &[u8]| {
            Ok(Line::Operation(Operation::Put {
                key: key.to_vec(),
                value: value.to_vec(),
            }))
        };
        assert_eq!(parse(b"PUT a one"), put(b"a", b"one"));
        assert_eq!(parse(b"  put \"a b\" \"\"\r\n"), put(b"a b", b""));
        assert_eq!(parse(b"PUT '' 'a b'"), put(b"", b"a b"));
        assert_eq!(parse(b"Exit"), Ok(Line::Exit));
        assert_eq!(parse(b" \n"), Ok(Line::Empty));
        assert_eq!(parse(b".Timing OFF"), Ok(Line::Timing(Some(false))));
        assert_eq!(parse(b"help get"), Ok(Line::Help(manual::entry(b"GET"))));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |line: &[u8]| parse(line).unwrap_err();
        assert!(wrong(b"PUT a").starts_with("PUT takes a key and a value, and 1 word follows it"));
        assert!(wrong(b"PUT a b c").contains("need quotes"));
        assert!(wrong(b"GET").starts_with("GET takes a key, and no word follows it"));
        assert!(wrong(b"GET a b").starts_with("GET takes a key, and 2 words follow it"));
        assert_eq!(wrong(b"Status"), "Status is no command, but .status is");
        assert!(wrong(b"FETCH a").starts_with("FETCH is no command"));
        assert!(wrong(b"GET \"a").contains("closing quote"));
        assert!(wrong(b"EXIT now").starts_with("EXIT takes no words"));
        assert!(wrong(b"HELP fetch").starts_with("fetch is no command"));
        assert!(wrong(b".timing maybe").starts_with(".timing takes on, off"));
    }
}
