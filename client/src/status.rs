//! What every replica says of itself, as a table or as JSON.

mod table;

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use common::StatusReport;
use common::quote::Sentence;
use kvpaxos_client::{Client, ClientError, ClientOptions, Endpoint};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// How long a replica is given to answer: it does so at once, from local state.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The same when somebody has waited for an answer in vain already.
const EXPLANATION_TIME_MAX: Duration = Duration::from_millis(250);

/// One endpoint and what was found there.
#[derive(Debug)]
struct Member {
    address: String,
    found: Result<StatusReport, ClientError>,
}

/// Asks every endpoint and prints what it says.
///
/// # Errors
/// Nobody reads the output.
pub(crate) fn run(options: &ClientOptions, json: bool) -> Result<Exit, Failure> {
    let members = ask_all(options, ANSWER_TIME_MAX);
    let text = if json {
        Value::from_iter(members.iter().map(as_json)).to_string()
    } else {
        table::table(&members)
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    let reachable = members.iter().any(|member| member.found.is_ok());
    Ok(if reachable {
        Exit::Done
    } else {
        Exit::NoAnswer
    })
}

/// Asks all at once, so that those that do not answer cost their time once.
fn ask_all(options: &ClientOptions, time_max: Duration) -> Vec<Member> {
    thread::scope(|scope| {
        let asking: Vec<_> = options
            .endpoints
            .iter()
            .map(|endpoint| {
                scope.spawn(|| Member {
                    address: endpoint.to_string(),
                    found: ask(options, endpoint, time_max),
                })
            })
            .collect();
        asking
            .into_iter()
            .map(|thread| thread.join().expect("asking does not panic"))
            .collect()
    })
}

/// What replicas that do not serve say of it, after no quorum was found: how many endpoints answer, and each reason once.
pub(crate) fn why_no_quorum(options: &ClientOptions) -> Vec<String> {
    let members = ask_all(options, EXPLANATION_TIME_MAX);
    let reports: Vec<_> = members
        .iter()
        .filter_map(|member| member.found.as_ref().ok())
        .collect();
    let mut said = vec![format!(
        "{} of {} endpoints answer",
        reports.len(),
        members.len()
    )];
    for report in reports
        .iter()
        .filter(|report| !report.serving && !report.remark.is_empty())
    {
        let is_new = |lines: &[String]| lines.iter().all(|line| !line.ends_with(&report.remark));
        if is_new(&said) {
            said.push(format!(
                "r{} says: {}",
                report.replica,
                Sentence(&report.remark)
            ));
        }
    }
    said
}

/// Asks one endpoint, once, for as long as an operation may take or for `time_max`.
///
/// # Errors
/// It did not answer.
pub(crate) fn ask(
    options: &ClientOptions,
    endpoint: &Endpoint,
    time_max: Duration,
) -> Result<StatusReport, ClientError> {
    let alone = ClientOptions {
        endpoints: vec![endpoint.clone()],
        first: 0,
        timeout: options.timeout.min(time_max),
        ask_each_once: true,
        ..options.clone()
    };
    Client::new(alone)?.status()
}

fn as_json(member: &Member) -> Value {
    let Ok(report) = &member.found else {
        return json!({
            "id": null, "address": member.address, "reachable": false, "serving": false, "role": null,
            "leader": null, "ballot": null, "chosen": null, "applied": null, "hash_slot": null, "state_hash": null,
            "keys": null, "sessions": null, "journal_bytes": null, "snapshot_slot": null, "datagrams": null,
        });
    };
    json!({
        "id": report.replica,
        "address": member.address,
        "reachable": true,
        "serving": report.serving,
        "role": report.role.to_string(),
        "leader": report.leader,
        "ballot": ballot(report),
        "chosen": report.chosen,
        "applied": report.applied,
        "hash_slot": report.hash_slot,
        "state_hash": format!("{:032x}", report.state_hash),
        "keys": report.keys,
        "sessions": report.sessions,
        "journal_bytes": report.journal_bytes,
        "snapshot_slot": report.snapshot_slot,
        "datagrams": {
            "received": report.datagrams.received,
            "answered": report.datagrams.answered,
            "junk": report.datagrams.junk,
            "cookies": report.datagrams.cookies,
        },
        "cluster": format!("{:016x}", report.cluster),
        "revision": report.revision,
        "remark": report.remark,
    })
}

fn ballot(report: &StatusReport) -> String {
    format!("{}.{}", report.ballot_round, report.ballot_replica)
}
