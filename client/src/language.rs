//! What can be typed at the prompt: commands in any case, words quoted as they are shown.

use common::quote::split_words;
use kvpaxos_client::Operation;

/// The names of all commands, for completion.
pub(crate) const COMMANDS: [&str; 8] = [
    "PUT", "GET", "APPEND", "DELETE", "HELP", "EXIT", ".status", ".timing",
];

/// What HELP prints.
pub(crate) const HELP: &str = "\
PUT key value       replace the value of a key
GET key             read a key; (absent) if there is none
APPEND key value    add to the end of a value; a PUT where the key is absent
DELETE key          remove a key; (absent) if there was none
.status             show every replica
.timing             show how long each answer took, or stop showing it
HELP                show this
EXIT                leave
Words with spaces or other special bytes stand between quotes: \"a b\", with \\n \\t \\\\ \\\" and \\xHH.";

/// One typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing.
    Empty,
    /// To be carried out by the cluster.
    Operation(Operation),
    /// Show what can be typed.
    Help,
    /// Leave.
    Exit,
    /// Show every replica.
    Status,
    /// Show or hide how long answers take.
    Timing,
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
        b"HELP" | b"?" => nothing_more("HELP", &words, Line::Help),
        b"EXIT" | b"QUIT" => nothing_more("EXIT", &words, Line::Exit),
        b".STATUS" => nothing_more(".status", &words, Line::Status),
        b".TIMING" => nothing_more(".timing", &words, Line::Timing),
        _ => Err(format!(
            "{} is no command; HELP shows them",
            common::quote::Elided(&name)
        )),
    }
}

fn key_and_value(name: &str, words: Vec<Vec<u8>>) -> Result<(Vec<u8>, Vec<u8>), String> {
    let [key, value] = <[Vec<u8>; 2]>::try_from(words).map_err(|words| {
        format!(
            "{name} takes a key and a value, and {} words follow it; words with spaces need quotes: {name} key \"a b\"",
            words.len()
        )
    })?;
    Ok((key, value))
}

fn key(name: &str, words: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
    let [key] = <[Vec<u8>; 1]>::try_from(words).map_err(|words| {
        format!(
            "{name} takes a key, and {} words follow it; a key with spaces needs quotes: {name} \"a b\"",
            words.len()
        )
    })?;
    Ok(key)
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
        assert_eq!(parse(b"Exit"), Ok(Line::Exit));
        assert_eq!(parse(b" \n"), Ok(Line::Empty));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |line: &[u8]| parse(line).unwrap_err();
        assert!(wrong(b"PUT a").starts_with("PUT takes a key and a value, and 1 words follow"));
        assert!(wrong(b"PUT a b c").contains("need quotes"));
        assert!(wrong(b"GET").starts_with("GET takes a key"));
        assert!(wrong(b"FETCH a").starts_with("FETCH is no command"));
        assert!(wrong(b"GET \"a").contains("closing quote"));
        assert!(wrong(b"EXIT now").starts_with("EXIT takes no words"));
    }
}
