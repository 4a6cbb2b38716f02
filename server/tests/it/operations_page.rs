//! `docs/OPERATIONS.md` against the source: what it says that the programs say, they do say.

use std::fs;
use std::path::{Path, PathBuf};

/// What stands on the page for what differs from case to case.
const GAP: char = '…';

/// All source files below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The source below these directories of the workspace, with string literals that go on in the next line put together.
fn source(parts: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for part in parts {
        sources(&root.join(part), &mut files);
    }
    let text: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut pieces = text.split("\\\n");
    let first = pieces.next().unwrap().to_owned();
    let whole = pieces.fold(first, |joined, piece| joined + piece.trim_start());
    whole.replace("\\\"", "\"")
}

/// The rows of the last section: the message, and all else.
fn rows() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## 8. ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<_> = rows
        .filter_map(|row| row.split_once("` |"))
        .map(|(message, rest)| (message.to_owned(), rest.to_owned()))
        .collect();
    assert!(rows.len() > 50, "{} messages", rows.len());
    rows
}

#[test]
fn every_message_of_the_page_stands_in_the_source() {
    let source = source(&["common/src", "server/src", "client/src"]);
    for (message, _) in rows() {
        for part in message.split(GAP) {
            let part = part.trim_matches([' ', ':', ',']);
            assert!(source.contains(part), "{part:?} of {message:?}");
        }
    }
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let parts = ["server/src", "server/tests", "client/src", "client/tests"];
    let source = source(&parts);
    let mut named = 0;
    for (message, rest) in rows() {
        let (_, provoked) = rest.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        if let Some(test) = provoked.strip_prefix('`') {
            let test = test.trim_end_matches('`');
            assert!(
                source.contains(&format!("fn {test}()")),
                "{test}: {message}"
            );
            named += 1;
        }
    }
    assert!(named > 20, "{named} tests are named");
}
