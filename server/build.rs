//! Puts the commit into the binary, for `--version`; the client's build uses this file, too.

use std::process::Command;

pub(crate) fn main() {
    // Where an image is built there is no repository, and whoever builds it says what the commit is.
    let commit = std::env::var("KVPAXOS_COMMIT")
        .ok()
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=KVPAXOS_COMMIT={commit}");
    println!("cargo:rerun-if-env-changed=KVPAXOS_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // The file that changes with every commit, wherever this work tree keeps it.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
}

/// What git says, if there is a git and a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
