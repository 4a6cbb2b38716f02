//! Answers for people and for machines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::quote::{ABSENT, Quoted};
use kvpaxos_client::{ClientError, Operation, Reply};
use serde_json::{Map, Value, json};

use crate::exit::Exit;

/// An answer as one plain line.
pub(crate) fn plain(reply: &Reply) -> String {
    match reply {
        Reply::Put { revision } => format!("OK revision={revision}"),
        Reply::Value { value, .. } => Quoted(value).to_string(),
        Reply::Absent { .. } => ABSENT.to_owned(),
        Reply::Appended { revision, length } => format!("OK length={length} revision={revision}"),
        Reply::Deleted {
            revision,
            existed: true,
        } => format!("OK deleted revision={revision}"),
        Reply::Deleted { existed: false, .. } => ABSENT.to_owned(),
        Reply::Status(report) => format!("replica {} is {}", report.replica, report.role),
    }
}

/// An answer, or its absence, as one JSON object.
pub(crate) fn json(operation: &Operation, result: &Result<Reply, ClientError>) -> Value {
    let mut object = Map::new();
    object.insert("command".to_owned(), name(operation).into());
    insert_bytes(&mut object, "key", operation.key().unwrap_or_default());
    match result {
        Ok(reply) => insert_reply(&mut object, reply),
        Err(error) => {
            let outcome = match Exit::from(error) {
                Exit::NoQuorum => "no quorum",
                Exit::NoAnswer => "no answer",
                _ => "refused",
            };
            object.insert("outcome".to_owned(), outcome.into());
            object.insert("error".to_owned(), error.to_string().into());
            object.insert("outcome_unknown".to_owned(), error.outcome_unknown().into());
        }
    }
    Value::Object(object)
}

/// A mistake in a typed line as one JSON object.
pub(crate) fn json_usage(reason: &str) -> Value {
    json!({ "outcome": "usage", "error": reason })
}

/// What an answer means for the exit code.
pub(crate) fn exit(result: &Result<Reply, ClientError>) -> Exit {
    match result {
        Ok(Reply::Absent { .. } | Reply::Deleted { existed: false, .. }) => Exit::Absent,
        Ok(_) => Exit::Done,
        Err(error) => error.into(),
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Put { .. } => "put",
        Operation::Get { .. } => "get",
        Operation::Append { .. } => "append",
        Operation::Delete { .. } => "delete",
        Operation::Status => "status",
    }
}

fn insert_reply(object: &mut Map<String, Value>, reply: &Reply) {
    let absent = matches!(
        reply,
        Reply::Absent { .. } | Reply::Deleted { existed: false, .. }
    );
    let outcome = if absent { "absent" } else { "ok" };
    object.insert("outcome".to_owned(), outcome.into());
    match reply {
        Reply::Put { revision } | Reply::Absent { revision } | Reply::Deleted { revision, .. } => {
            object.insert("revision".to_owned(), (*revision).into());
        }
        Reply::Appended { revision, length } => {
            object.insert("revision".to_owned(), (*revision).into());
            object.insert("length".to_owned(), (*length).into());
        }
        Reply::Value { revision, value } => {
            object.insert("revision".to_owned(), (*revision).into());
            insert_bytes(object, "value", value);
        }
        Reply::Status(report) => {
            object.insert("replica".to_owned(), report.replica.into());
        }
    }
}

/// Bytes as a string where they are UTF-8, and otherwise in base64 under a name that says so.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_empty_differ() {
        let value = |value: &[u8]| Reply::Value {
            revision: 1,
            value: value.to_vec(),
        };
        assert_eq!(plain(&Reply::Absent { revision: 1 }), "(absent)");
        assert_eq!(plain(&value(b"")), "\"\"");
        assert_eq!(plain(&value(b"(absent)")), "\"(absent)\"");
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_in_json() {
        let operation = Operation::Get { key: b"k".to_vec() };
        let reply = Reply::Value {
            revision: 7,
            value: vec![0xff, 0],
        };
        assert_eq!(
            json(&operation, &Ok(reply)).to_string(),
            r#"{"command":"get","key":"k","outcome":"ok","revision":7,"value_base64":"/wA="}"#
        );
    }
}
