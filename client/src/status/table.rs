//! The table for people: three lines for each replica, none wider than a terminal of 80 columns.
//!
//! What is compared from replica to replica stands in columns; what belongs to one stands below it, behind its name. A
//! remark is broken between words.

use common::quote::Sentence;
use common::{DatagramCounts, Refusal, StatusReport};
use kvpaxos_client::ClientError;

use super::{Member, ballot};

/// The width of an ordinary terminal. Long addresses, and numbers of more than nine digits, make a line wider.
const WIDTH: usize = 80;

/// How far what belongs to a replica stands to the right.
const INDENT: &str = "    ";

const HEADING: [&str; 8] = [
    "id", "address", "serving", "role", "leader", "ballot", "chosen", "applied",
];

/// All members, in their order.
pub(super) fn table(members: &[Member]) -> String {
    let heads: Vec<_> = members.iter().map(head).collect();
    let heading = HEADING.map(str::to_owned);
    let rows = || std::iter::once(&heading).chain(&heads);
    let widths: Vec<usize> = (0..HEADING.len())
        .map(|column| rows().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut lines = vec![aligned(&heading, &widths)];
    for (member, head) in members.iter().zip(&heads) {
        lines.push(aligned(head, &widths));
        lines.extend(details(member).iter().map(|line| format!("{INDENT}{line}")));
    }
    lines.join("\n")
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}

/// What stands in columns.
fn head(member: &Member) -> [String; HEADING.len()] {
    let none = || "-".to_owned();
    let address = member.address.clone();
    match &member.found {
        Err(_) => {
            let no = "no".to_owned();
            [none(), address, no, none(), none(), none(), none(), none()]
        }
        Ok(report) => [
            report.replica.to_string(),
            address,
            if report.serving { "yes" } else { "no" }.to_owned(),
            report.role.to_string(),
            report.leader.map_or_else(none, |leader| leader.to_string()),
            ballot(report),
            report.chosen.to_string(),
            report.applied.to_string(),
        ],
    }
}

/// What stands below.
fn details(member: &Member) -> Vec<String> {
    match &member.found {
        Ok(report) => details_of(report),
        Err(error) => broken(&why_not(error), WIDTH - INDENT.len()),
    }
}

fn details_of(report: &StatusReport) -> Vec<String> {
    let mut lines = vec![
        format!(
            "keys {}  sessions {}  revision {}  journal {} KiB",
            report.keys,
            report.sessions,
            report.revision,
            report.journal_bytes / 1_024
        ),
        format!(
            "state {:032x} at {}  snapshot {}",
            report.state_hash, report.hash_slot, report.snapshot_slot
        ),
    ];
    if report.datagrams != DatagramCounts::default() {
        let DatagramCounts {
            received,
            answered,
            junk,
            cookies,
        } = report.datagrams;
        lines.push(format!(
            "datagrams {received}  answered {answered}  junk {junk}  cookies {cookies}"
        ));
    }
    let remark = match report.remark.as_str() {
        "" if !report.serving => "hears no leader that has a majority".to_owned(),
        remark => Sentence(remark).to_string(),
    };
    lines.extend(broken(&remark, WIDTH - INDENT.len()));
    lines
}

/// Why there is no report: a replica that cannot be asked is as good as one that does not answer.
fn why_not(error: &ClientError) -> String {
    let cause = match error {
        ClientError::Refused(Refusal::TooLargeForDatagram { .. }) => {
            return "answers, too long for a datagram; ask over TCP".to_owned();
        }
        ClientError::NoAnswer { troubles, .. } => troubles.as_slice().first(),
        _ => None,
    };
    match cause {
        Some(trouble) => format!("does not answer: {}", Sentence(&trouble.cause)),
        None => "does not answer".to_owned(),
    }
}

/// The words of `text` in lines of at most `width` characters, unless one word is longer.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::Role;
    use kvpaxos_client::{Fate, Trouble};

    use super::*;

    fn member(remark: &str) -> Member {
        Member {
            address: "127.0.0.1:11115".to_owned(),
            found: Ok(StatusReport {
                replica: 255,
                cluster: u64::MAX,
                serving: true,
                role: Role::Candidate,
                leader: Some(255),
                ballot_round: 999,
                ballot_replica: 255,
                chosen: 999_999_999,
                applied: 999_999_999,
                hash_slot: 999_999_999,
                state_hash: 0xabc,
                keys: 999_999_999,
                sessions: 1_000_000,
                journal_bytes: 999_999 << 10,
                snapshot_slot: 999_999_999,
                revision: 999_999_999,
                datagrams: DatagramCounts {
                    received: 999_999_999,
                    answered: 999_999_999,
                    junk: 999_999_999,
                    cookies: 999_999_999,
                },
                remark: remark.to_owned(),
            }),
        }
    }

    #[test]
    fn nothing_is_wider_than_a_terminal() {
        let remark = "the cluster is not founded yet, ".repeat(8);
        let table = table(&[member(&remark), member("")]);
        println!("{table}");
        for line in table.lines() {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
        assert_eq!(table.lines().count(), 1 + 4 + 4 + 4);
    }

    #[test]
    fn a_replica_that_does_not_answer_has_a_row_that_says_so() {
        let mut silent = member("");
        silent.found = Err(ClientError::Refused(Refusal::EmptyKey));
        let table = table(&[silent]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "id  address          serving  role  leader  ballot  chosen  applied",
                "-   127.0.0.1:11115  no       -     -       -       -       -",
                "    does not answer",
            ]
        );
    }

    #[test]
    fn who_does_not_serve_has_a_line_that_says_why() {
        let mut candidate = member("");
        candidate.found.as_mut().unwrap().serving = false;
        let shown = table(&[candidate]);
        assert!(
            shown.ends_with("\n    hears no leader that has a majority"),
            "{shown}"
        );
        let mut silent = member("");
        let trouble = |cause: &str| Trouble {
            endpoint: "a:1".to_owned(),
            cause: cause.to_owned(),
        };
        silent.found = Err(ClientError::NoAnswer {
            waited: Duration::ZERO,
            fate: Fate::NoWrite,
            troubles: [trouble("cannot connect: Connection refused")]
                .into_iter()
                .collect(),
        });
        let shown = table(&[silent]);
        let said = "\n    does not answer: cannot connect: Connection refused";
        assert!(shown.ends_with(said), "{shown}");
    }

    #[test]
    fn a_sentence_is_broken_between_words() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(
            broken("one incomprehensible two", 5),
            ["one", "incomprehensible", "two"]
        );
        assert!(broken("", 5).is_empty());
    }
}
