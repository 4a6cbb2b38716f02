//! Runs the stories of `tests/golden`: each file is a scenario, and must come out as it is written.
//!
//! A line that begins with `>` is a command of the language in `script`; the indented lines below it are what happened.
//! All else is for the reader. `GOLDEN_REWRITE=1` writes what happened into the files; a diff must be explained.

use std::fs;
use std::path::{Path, PathBuf};

use crate::script::Script;

#[test]
fn every_scenario_comes_out_as_written() {
    let rewrite = std::env::var_os("GOLDEN_REWRITE").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    let scenarios = scenarios();
    for path in &scenarios {
        let written = fs::read_to_string(path).expect("a scenario is text");
        let happened = play(&written);
        if happened == written && !happened.contains(WRONG) {
            continue;
        }
        if rewrite {
            fs::write(path, happened).expect("the directory of scenarios can be written");
        } else {
            failures.push(difference(path, &written, &happened));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} scenarios differ (GOLDEN_REWRITE=1 rewrites them)\n{}",
        failures.len(),
        scenarios.len(),
        failures.join("\n")
    );
    assert!(!scenarios.is_empty(), "no scenario was found");
}

#[test]
fn every_scenario_says_what_it_shows() {
    for path in scenarios() {
        let text = fs::read_to_string(&path).expect("a scenario is text");
        assert!(
            text.starts_with("# ") && text.contains("\n> "),
            "{} does not begin with what it shows",
            path.display()
        );
    }
}

fn scenarios() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the directory of scenarios is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    paths
}

/// The scenario with what happens in it now.
fn play(written: &str) -> String {
    let mut script = Script::default();
    let mut happened = String::new();
    let kept = written.lines().filter(|line| !line.starts_with(INDENT));
    for line in kept {
        happened.push_str(line);
        happened.push('\n');
        let Some(command) = line.strip_prefix("> ") else {
            continue;
        };
        let told = script.run(command);
        for line in told.unwrap_or_else(|error| vec![format!("{WRONG}{error}")]) {
            happened.push_str(INDENT);
            happened.push_str(&line);
            happened.push('\n');
        }
    }
    happened
}

/// The first line that differs, with the command above it.
fn difference(path: &Path, written: &str, happened: &str) -> String {
    let mut command = "";
    let mut lines = happened.lines();
    for (number, expected) in (1..).zip(written.lines().chain([""])) {
        if expected.starts_with('>') {
            command = expected;
        }
        let came = lines.next().unwrap_or_default();
        if came != expected {
            let name = path.display();
            return format!(
                "{name}:{number}: {command}\n  written:  {expected}\n  happened: {came}"
            );
        }
    }
    format!(
        "{}: a command is wrong, or more happens than is written",
        path.display()
    )
}

const INDENT: &str = "    ";
/// Begins the line of a command that could not be run. No scenario may hold one.
const WRONG: &str = "wrong: ";
