//! Histories: lines of JSON, from this project's recorder or any other program.

use std::io::{BufReader, Read};

use client::history::{Line, read_lines};

use super::cuts;

/// A history.
pub fn history(input: &[u8]) {
    let (lines, error) = read(input);
    for cut in cuts(input.len()) {
        let (one, two) = input.split_at(cut);
        let pieces = BufReader::with_capacity(PIECE_BYTES, one.chain(two));
        let mut read = Vec::new();
        let failed = read_lines(pieces, |line| read.push(line)).err();
        assert_eq!(read, lines, "cut at {cut}");
        assert_eq!(failed.map(|failed| failed.to_string()), error);
    }
    for line in lines {
        let mut written = Vec::new();
        line.write_to(&mut written).expect("memory takes it");
        let again = Line::parse(&written).expect("what is written can be read");
        assert_eq!(again, line);
        let mut twice = Vec::new();
        again.write_to(&mut twice).expect("memory takes it");
        assert_eq!(twice, written);
    }
}

fn read(input: &[u8]) -> (Vec<Line>, Option<String>) {
    let mut lines = Vec::new();
    let failed = read_lines(input, |line| lines.push(line)).err();
    (lines, failed.map(|failed| failed.to_string()))
}

/// What a file gives at a time: less than a line.
const PIECE_BYTES: usize = 64;
