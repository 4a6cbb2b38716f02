//! Byte strings on a screen, and back.
//!
//! What is shown can be typed: a word is bare if it is printable without a space, and otherwise stands between double
//! quotes with `\n`, `\t`, `\\`, `\"` and `\xHH`. The empty string is `""`. `(absent)` means that there is no such
//! key, so a value of these very bytes is quoted. Inside a bare word nothing is special. As in a shell a word can also be
//! typed between single quotes, where nothing is special and no single quote stands; none is shown so.

use std::fmt;

use thiserror::Error;

/// What stands for a key that is not there.
pub const ABSENT: &str = "(absent)";

/// Shows a byte string so that it can be typed again.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if is_bare(text) => f.write_str(text),
            _ => write_quoted(f, self.0),
        }
    }
}

/// Shows a byte string in a log line: quoted, and cut when it is long.
#[derive(Clone, Copy, Debug)]
pub struct Elided<'a>(pub &'a [u8]);

/// How many bytes of a key a log line shows, so that a line stays a line.
const ELIDED_BYTES_MAX: usize = 48;

impl fmt::Display for Elided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..ELIDED_BYTES_MAX) {
            Some(start) if start.len() < self.0.len() => {
                write_quoted(f, start)?;
                write!(f, "...({} bytes)", self.0.len())
            }
            _ => Quoted(self.0).fmt(f),
        }
    }
}

/// Shows a foreign sentence for people: as it is, but in one line and without control characters.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a>(pub &'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "{c}"),
            _ => write_quoted_char(f, c),
        })
    }
}

/// Why a typed line is not a list of words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// A quoted word does not end.
    #[error("a quoted word has no closing quote")]
    Unclosed,
    /// Something follows a closing quote at once.
    #[error("a space is missing after a closing quote")]
    NoSpace,
    /// A backslash is followed by what means nothing.
    #[error("a backslash in quotes is followed by n, t, \\, \" or x and two hex digits")]
    Escape,
}

/// Splits a typed line into its words.
///
/// # Errors
/// Says what is wrong with the quoting.
pub fn split_words(line: &[u8]) -> Result<Vec<Vec<u8>>, QuoteError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return Ok(words),
            Some(b'"') => {
                let (word, after) = take_quoted(&rest[1..])?;
                words.push(word);
                rest = after;
            }
            Some(b'\'') => {
                let (word, after) = take_single_quoted(&rest[1..])?;
                words.push(word.to_vec());
                rest = after;
            }
            Some(_) => {
                let end = rest
                    .iter()
                    .position(u8::is_ascii_whitespace)
                    .unwrap_or(rest.len());
                words.push(rest[..end].to_vec());
                rest = &rest[end..];
            }
        }
    }
}

fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['"', '\''])
        && text != ABSENT
        && text.chars().all(is_bare_char)
}

fn is_bare_char(c: char) -> bool {
    !c.is_whitespace() && is_printable(c)
}

/// The standard library knows which characters are printable, but says so only by escaping the others.
fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().next() == Some(c)
}

fn write_quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("\"")?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_quoted_char(f, c)?;
        }
        write_hex(f, chunk.invalid())?;
    }
    f.write_str("\"")
}

fn write_quoted_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\t' => f.write_str("\\t"),
        '\\' => f.write_str("\\\\"),
        '"' => f.write_str("\\\""),
        ' ' => f.write_str(" "),
        _ if is_bare_char(c) => write!(f, "{c}"),
        _ => write_hex(f, c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Takes a word up to its closing quote; the opening one is gone already.
fn take_quoted(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), QuoteError> {
    let mut word = Vec::new();
    let mut rest = bytes;
    loop {
        let (&first, after) = rest.split_first().ok_or(QuoteError::Unclosed)?;
        rest = after;
        match first {
            b'"' => return ends_word(rest).map(|rest| (word, rest)),
            b'\\' => {
                let (byte, after) = take_escape(rest)?;
                word.push(byte);
                rest = after;
            }
            other => word.push(other),
        }
    }
}

/// Takes a word up to its closing single quote; the opening one is gone already.
fn take_single_quoted(bytes: &[u8]) -> Result<(&[u8], &[u8]), QuoteError> {
    let end = bytes.iter().position(|byte| *byte == b'\'');
    let (word, rest) = bytes.split_at(end.ok_or(QuoteError::Unclosed)?);
    ends_word(&rest[1..]).map(|rest| (word, rest))
}

/// What follows a closing quote, if the word ends there.
fn ends_word(rest: &[u8]) -> Result<&[u8], QuoteError> {
    if rest.first().is_none_or(u8::is_ascii_whitespace) {
        Ok(rest)
    } else {
        Err(QuoteError::NoSpace)
    }
}

/// Takes what follows a backslash.
fn take_escape(bytes: &[u8]) -> Result<(u8, &[u8]), QuoteError> {
    let (&letter, rest) = bytes.split_first().ok_or(QuoteError::Unclosed)?;
    match letter {
        b'n' => Ok((b'\n', rest)),
        b't' => Ok((b'\t', rest)),
        b'\\' | b'"' => Ok((letter, rest)),
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2).ok_or(QuoteError::Escape)?;
            Ok((hex(digits[0])? << 4 | hex(digits[1])?, rest))
        }
        _ => Err(QuoteError::Escape),
    }
}

fn hex(digit: u8) -> Result<u8, QuoteError> {
    let value = char::from(digit).to_digit(16).ok_or(QuoteError::Escape)?;
    Ok(u8::try_from(value).expect("a hex digit is below 16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        Quoted(bytes).to_string()
    }

    #[test]
    fn printable_words_are_bare_and_all_others_are_quoted() {
        assert_eq!(shown(b"abc"), "abc");
        assert_eq!(shown("été".as_bytes()), "été");
        assert_eq!(shown(b"it's"), "it's");
        assert_eq!(shown(b"'a'"), "\"'a'\"");
        assert_eq!(shown(b"a\\b"), "a\\b");
        assert_eq!(shown(b""), "\"\"");
        assert_eq!(shown(b"a b"), "\"a b\"");
        assert_eq!(shown(b"\"a"), "\"\\\"a\"");
        assert_eq!(shown(b"a\n\t\\ \0\xff"), "\"a\\n\\t\\\\ \\x00\\xff\"");
        assert_eq!(shown(b"(absent)"), "\"(absent)\"");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "\"a\\xe2\\x80\\xaeb\"");
    }

    #[test]
    fn a_line_is_split_into_words() {
        let words = split_words(b"  PUT \"a b\"\t\"\\x00\\n\\t\\\\\\\"\" ").unwrap();
        assert_eq!(words, [&b"PUT"[..], b"a b", b"\0\n\t\\\""]);
        assert_eq!(split_words(b"a\\b c\"d").unwrap(), [&b"a\\b"[..], b"c\"d"]);
        assert_eq!(split_words(b"\"\"").unwrap(), [b""]);
        assert!(split_words(b" ").unwrap().is_empty());
        let words = split_words(b"'' 'a \"b\\n' it's").unwrap();
        assert_eq!(words, [&b""[..], b"a \"b\\n", b"it's"]);
    }

    #[test]
    fn bad_quoting_is_named() {
        assert_eq!(split_words(b"\"a"), Err(QuoteError::Unclosed));
        assert_eq!(split_words(b"\"a\\"), Err(QuoteError::Unclosed));
        assert_eq!(split_words(b"\"a\"b"), Err(QuoteError::NoSpace));
        assert_eq!(split_words(b"'a"), Err(QuoteError::Unclosed));
        assert_eq!(split_words(b"'it''s'"), Err(QuoteError::NoSpace));
        assert_eq!(split_words(b"\"\\q\""), Err(QuoteError::Escape));
        assert_eq!(split_words(b"\"\\x1g\""), Err(QuoteError::Escape));
        assert_eq!(split_words(b"\"\\x1"), Err(QuoteError::Escape));
    }

    #[test]
    fn long_keys_are_cut_in_log_lines() {
        assert_eq!(Elided(&[b'a'; 48]).to_string(), "a".repeat(48));
        assert_eq!(
            Elided(&[b'a'; 4096]).to_string(),
            format!("\"{}\"...(4096 bytes)", "a".repeat(48))
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let line: Vec<String> = words.iter().map(|word| shown(word)).collect();
            prop_assert_eq!(split_words(line.join(" ").as_bytes()).unwrap(), words);
        }

        #[test]
        fn shown_text_can_be_typed(word in "\\PC{0,20}") {
            prop_assert_eq!(split_words(shown(word.as_bytes()).as_bytes()).unwrap(), [word.as_bytes()]);
        }

        #[test]
        fn any_line_is_split_or_refused(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = split_words(&line);
        }
    }
}
