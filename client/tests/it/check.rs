//! `kvpaxos-client check`: histories that are known to be right or wrong, and files that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::fake::Fake;
use crate::program::{code, run, text};

fn check(file: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvpaxos-client"))
        .arg("check")
        .arg(file)
        .args(arguments)
        .output()
        .unwrap()
}

/// The histories in the tree whose names begin so; the name says what is in them.
fn histories(prefix: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let files = fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with(prefix)
    });
    assert!(files.len() >= 10, "{files:?}");
    files
}

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn right_histories_are_accepted() {
    for file in histories("right_") {
        let output = check(&file, &[]);
        let said = text(&output.stdout);
        assert!(said.contains("verdict: right"), "{file:?}: {said}");
        assert_eq!((code(&output), text(&output.stderr)), (0, ""), "{file:?}");
    }
}

#[test]
fn wrong_histories_are_refused_in_words_that_fit_a_terminal() {
    for file in histories("wrong_") {
        let output = check(&file, &[]);
        let said = text(&output.stdout);
        let wrong = "verdict: WRONG, this history is not linearizable";
        assert!(said.contains(wrong), "{file:?}: {said}");
        assert_eq!((code(&output), text(&output.stderr)), (70, ""), "{file:?}");
        let why = [
            "makes what",
            "both end with",
            "cannot be next",
            "was asked only",
        ];
        assert!(
            why.iter().any(|words| said.contains(words)),
            "{file:?}: {said}"
        );
        for line in said.lines() {
            assert!(line.chars().count() <= 80, "{file:?}: {line}");
        }
    }
}

#[test]
fn where_there_is_nothing_to_judge_nothing_is_called_right() {
    for nothing in ["", "\n\n"] {
        let file = written(nothing);
        let output = check(file.path(), &[]);
        let verdict = "verdict: undecided, there is nothing to judge\n";
        assert!(text(&output.stdout).ends_with(verdict), "{output:?}");
        assert_eq!(code(&output), 71);
    }
}

#[test]
fn the_shortest_wrong_part_is_shown() {
    let mut lines = Vec::new();
    for step in 0..500u64 {
        let (call, ret) = (step * 100, step * 100 + 50);
        // One read in the middle shows what was there twenty writes before.
        let seen = if step == 250 { step - 20 } else { step };
        lines.push(format!(
            r#"{{"client":1,"op":"put","key":"k","arg":"v{step};","status":"ok","call":{call},"ret":{ret}}}"#
        ));
        lines.push(format!(
            r#"{{"client":2,"op":"get","key":"k","out":"v{seen};","found":true,"status":"ok","call":{},"ret":{}}}"#,
            call + 60,
            ret + 40
        ));
    }
    let file = written(&lines.join("\n"));
    let output = check(file.path(), &[]);
    let said = text(&output.stdout);
    assert_eq!(code(&output), 70);
    assert!(said.contains("3 of its 1000 operations"), "{said}");
    assert!(
        said.contains("PUT v230;") && said.contains("GET: v230;"),
        "{said}"
    );
    let json = check(file.path(), &["--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&report["verdict"], &report["ok"]),
        (&"wrong".into(), &1000.into())
    );
    assert!(said.contains(report["explanation"].as_str().unwrap()));
}

#[test]
fn what_is_no_history_is_2_with_the_line_and_what_is_allowed() {
    let line = r#"{"client":1,"op":"cas","key":"k","status":"ok","call":1,"ret":2}"#;
    let file = written(&format!("\n{line}\n"));
    let output = check(file.path(), &[]);
    assert_eq!(code(&output), 2);
    assert_eq!(
        text(&output.stderr),
        format!(
            "kvpaxos-client: {}: line 2: \"op\" is \"cas\"; put, get, append or delete is allowed\n",
            file.path().display()
        )
    );
    let output = check(Path::new("/nonexistent/history"), &[]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("/nonexistent/history: No such file"));
}

#[test]
fn what_takes_too_long_is_71_and_says_so() {
    // Nothing tells these writes apart, and no order explains the end: all that can be done is to try them all.
    let mut lines = vec![
        r#"{"client":0,"op":"get","key":"k","out":"xyx","found":true,"status":"ok","call":5000,"ret":5001}"#
            .to_owned(),
    ];
    for client in 1..40 {
        let op = ["append", "delete", "put"][client % 3];
        lines.push(format!(
            r#"{{"client":{client},"op":"{op}","key":"k","arg":"{}","status":"ok","call":{client},"ret":{}}}"#,
            ["x", "y"][client % 2],
            4000 + client
        ));
    }
    lines.push(
        r#"{"client":0,"op":"get","key":"k","found":false,"status":"ok","call":5002,"ret":5003}"#
            .to_owned(),
    );
    let file = written(&lines.join("\n"));
    let output = check(file.path(), &["--limit", "50ms"]);
    let said = text(&output.stdout);
    assert!(
        said.contains("verdict: undecided")
            && said.contains("keys are undecided: --limit 50ms was not enough"),
        "{said}"
    );
    assert_eq!(code(&output), 71);
}

#[test]
fn bench_writes_a_history_of_any_load_that_is_judged_right() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history.jsonl");
    let path = file.to_str().unwrap();
    for (op, more, fake) in [
        ("put", &[][..], Fake::store()),
        ("append", &["--pipeline", "3"], Fake::store()),
        ("mixed", &["--value-bytes", "3"], Fake::store()),
        ("mixed", &["--check"], Fake::store()),
        ("get", &[], Fake::store()),
        ("mixed", &[], Fake::datagram_store()),
    ] {
        let arguments = ["bench", "--op", op, "--keys", "5", "--clients", "4"];
        let seconds = ["--seconds", "0.2", "--history", path];
        let arguments = [&arguments[..], &seconds, more].concat();
        let output = run(&[&fake], &arguments, b"");
        assert_eq!(code(&output), 0, "{op}: {}", text(&output.stderr));
        let output = check(&file, &["--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verdict"], "right", "{op}: {report}");
        assert!(report["ok"].as_u64().unwrap() > 15, "{op}: {report}");
        assert!(report["keys"].as_u64().unwrap() >= 4, "{op}: {report}");
    }
}

#[test]
fn a_history_that_cannot_be_written_ends_the_load() {
    let fake = Fake::store();
    let arguments = ["bench", "--seconds", "60", "--history", "/dev/full"];
    let output = run(&[&fake], &arguments, b"");
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot write the history /dev/full: No space left on device"),
        "{said}"
    );
    assert_eq!(code(&output), 2);
}
