//! `docs/RULES.md` against whatever names a rule: nobody is sent to a rule that is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands before a number that the page explains.
const WORDS: [&str; 3] = ["RULES", "SPEC", "FAULTS"];

/// All files that may name one: the source, its tests and scripts, and the documents.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "md" || end == "txt")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_rule_that_is_named_is_on_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/RULES.md")).unwrap();
    let mut found = Vec::new();
    for part in ["common", "paxos", "client", "server", "docs"] {
        files(&root.join(part), &mut found);
    }
    let mut named = BTreeSet::new();
    for file in found {
        let text = fs::read_to_string(&file).unwrap();
        let words: Vec<&str> = text
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2) {
            let is_number =
                pair[1].len() <= 3 && pair[1].ends_with(|end: char| end.is_ascii_digit());
            if WORDS.contains(&pair[0]) && is_number {
                named.insert((pair[0].to_owned(), pair[1].to_owned()));
            }
        }
    }
    assert!(named.len() > 30, "{} rules are named", named.len());
    for (word, number) in named {
        let heading = match word.as_str() {
            "RULES" => format!("\n**{number} "),
            "SPEC" => format!("\n| {number} |"),
            _ => format!(" {number}, "),
        };
        assert!(page.contains(&heading), "{word} {number}");
    }
}
