//! `docs/TESTING.md` against the source: every test that it names is there, where it says.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below a directory of the workspace that end like this.
fn files(directory: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, end, found);
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
}

/// Every test: the modules it is in, as its file's path says, and its name.
fn tests() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for part in ["paxos", "common", "server", "client"] {
        for directory in ["src", "tests"] {
            files(&root().join(part).join(directory), "rs", &mut sources);
        }
    }
    let mut tests = Vec::new();
    for path in sources {
        let modules = path.with_extension("").to_str().unwrap().replace('/', "::");
        let modules = modules.trim_end_matches("::mod").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for after in text.split("#[test]").skip(1) {
            let name = after
                .split_once("fn ")
                .and_then(|(_, rest)| rest.split_once('('));
            let (name, _) = name.unwrap();
            tests.push((modules.clone(), name.to_owned()));
        }
    }
    tests
}

/// The cells under "test" in the page's tables.
fn cells() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/TESTING.md")).unwrap();
    let mut column = None;
    let mut cells = Vec::new();
    for line in page.lines() {
        let Some(row) = line.strip_prefix('|') else {
            column = None;
            continue;
        };
        if row.starts_with("---") {
            continue;
        }
        let row: Vec<&str> = row
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        match column {
            None => column = Some(row.iter().position(|cell| *cell == "test")),
            Some(Some(place)) => cells.extend(row.get(place).map(|cell| (*cell).to_owned())),
            Some(None) => {}
        }
    }
    cells
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let tests = tests();
    let mut named = 0;
    for cell in cells() {
        let names = cell.split('`').skip(1).step_by(2);
        let before = named;
        for name in names {
            named += 1;
            if name.ends_with(".txt") || name.starts_with(".ci/") {
                let directory = if name.ends_with(".txt") {
                    "paxos/tests/golden"
                } else {
                    ""
                };
                assert!(root().join(directory).join(name).exists(), "no {name}");
                continue;
            }
            let (modules, test) = name.rsplit_once("::").unwrap_or(("", name));
            let is_there = tests.iter().any(|(of, found)| {
                found == test && (modules.is_empty() || of.ends_with(&format!("::{modules}")))
            });
            assert!(is_there, "no test {name}");
        }
        assert!(named > before, "a row without a test: {cell}");
    }
    assert!(named > 100, "{named} tests are named");
}
