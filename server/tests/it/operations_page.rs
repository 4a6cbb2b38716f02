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

/// The directory of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source below these directories of the workspace.
fn source(parts: &[&str]) -> String {
    joined(&files(parts))
}

/// The tests among it: files of tests, and what stands below `mod tests` in others. This one only reads what they say.
fn test_source() -> String {
    let all = files(&["common", "server", "client"]);
    let tests = all.into_iter().filter_map(|(path, text)| {
        let name = path.strip_prefix(root()).unwrap().to_str()?;
        if name.ends_with("operations_page.rs") {
            None
        } else if name.contains("tests") {
            Some((path, text))
        } else {
            let (_, tests) = text.split_once("\nmod tests {")?;
            Some((path, tests.to_owned()))
        }
    });
    joined(&tests.collect::<Vec<_>>())
}

/// The files with source below these directories.
fn files(parts: &[&str]) -> Vec<(PathBuf, String)> {
    let root = root();
    let mut files = Vec::new();
    for part in parts {
        sources(&root.join(part), &mut files);
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

/// All of it, with string literals that go on in the next line put together.
fn joined(files: &[(PathBuf, String)]) -> String {
    let text: String = files.iter().map(|(_, text)| text.as_str()).collect();
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
    assert_all_stand_in(&source(&["common/src", "server/src", "client/src"]));
}

/// Whoever changes a message meets a test that has its words, and a message that no test provokes is no row of the page.
#[test]
fn every_message_of_the_page_stands_in_a_test() {
    assert_all_stand_in(&test_source());
}

fn assert_all_stand_in(source: &str) {
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
        if provoked == "the same" {
            continue;
        }
        let test = provoked.trim_matches('`');
        assert!(
            source.contains(&format!("fn {test}()")),
            "{test}: {message}"
        );
        named += 1;
    }
    assert!(named > 20, "{named} tests are named");
}
