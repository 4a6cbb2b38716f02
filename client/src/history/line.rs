//! A history as lines of JSON, one operation each, so that any checker can judge a cluster, and any cluster be judged here.
//!
//! ```json
//! {"client":7,"op":"append","key":"k","arg":"c7.1;","length":10,"status":"ok","call":120,"ret":870,"revision":4}
//! {"client":2,"op":"get","key":"k","out":"c3.1;c7.1;","found":true,"status":"ok","call":900,"ret":1200}
//! {"client":2,"op":"delete","key":"k","status":"unknown","call":1300,"ret":11300}
//! ```
//!
//! | field | in | meaning |
//! |---|---|---|
//! | `client` | all | who asked, a number |
//! | `op` | all | `put`, `get`, `append` or `delete` |
//! | `key` | all | the key |
//! | `arg` | put, append | what was to be written or added |
//! | `out` | get | what was read; with `"found":false` there is none |
//! | `found` | get, delete | whether the key was there |
//! | `status` | all | `ok`: answered; `unknown`: it may have taken effect, or will, or not; `fail`: it certainly has not and will not |
//! | `call`, `ret` | all | when it was asked and when it was answered or given up, in nanoseconds of one monotonic clock |
//! | `length` | append | if it was heard: the length of the value after it, in bytes |
//! | `revision` | all | if it was heard: what this store numbers changes with (SPEC A1) |
//! | `in_order` | all | whether it takes effect in the order of its client's calls, as do others of this client that say so |
//!
//! `length`, `revision` and `in_order` may be left out, and a checker may ignore them; so is every other field here. Bytes
//! that are no UTF-8 stand in base64 under a name that says so: `key_base64`, `arg_base64`, `out_base64`. A key begins
//! absent. Lines may come in any order.

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Kind, Operation};

/// One line: an operation, on which key, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: Vec<u8>,
    /// The operation. Only where it was answered has it returned.
    pub operation: Operation,
    /// What came of it.
    pub status: Status,
    /// When it was answered or given up.
    pub ended: u64,
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was answered.
    Ok,
    /// It may take effect at any time after it was called, or never.
    Unknown,
    /// It certainly never takes effect.
    Fail,
}

/// Why a line is none.
#[derive(Debug, Error)]
pub enum LineError {
    /// No JSON.
    #[error("this is no JSON object: {0}")]
    Json(serde_json::Error),
    /// Something must be there and is not.
    #[error("there is no {field:?}, which {who} must have")]
    Missing {
        /// The name of the field.
        field: &'static str,
        /// What needs it.
        who: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("{field:?} is {found}; {allowed} is allowed")]
    Field {
        /// The name of the field.
        field: String,
        /// Its value, as JSON.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The answer came before the question.
    #[error("\"ret\" is {ret}, before \"call\", which is {call}; a time at or after it is allowed")]
    Times {
        /// When it was called.
        call: u64,
        /// When it returned.
        ret: u64,
    },
}

/// Why a history cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{0}")]
    Input(#[from] io::Error),
    /// A line is none.
    #[error("line {number}: {reason}")]
    Line {
        /// Which; the first is 1.
        number: u64,
        /// Why.
        reason: LineError,
    },
}

/// Reads a history line by line. Empty lines count, and say nothing.
///
/// # Errors
/// It cannot be read, or a line is none.
pub fn read_lines(mut input: impl BufRead, mut each: impl FnMut(Line)) -> Result<(), ReadError> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if !bytes.trim_ascii().is_empty() {
            each(Line::parse(&bytes).map_err(|reason| ReadError::Line { number, reason })?);
        }
    }
    Ok(())
}

impl Line {
    /// Writes it as one line, with its end.
    ///
    /// # Errors
    /// The output fails.
    pub fn write_to(&self, mut out: impl Write) -> io::Result<()> {
        let operation = &self.operation;
        let (name, arg) = match &operation.kind {
            Kind::Put { value } => ("put", Some(value)),
            Kind::Append { value, .. } => ("append", Some(value)),
            Kind::Get { .. } => ("get", None),
            Kind::Delete { .. } => ("delete", None),
        };
        write!(out, "{{\"client\":{},\"op\":\"{name}\"", operation.client)?;
        write_bytes(&mut out, "key", &self.key)?;
        if let Some(arg) = arg {
            write_bytes(&mut out, "arg", arg)?;
        }
        if self.status == Status::Ok {
            write_answer(&mut out, &operation.kind)?;
        }
        let status = match self.status {
            Status::Ok => "ok",
            Status::Unknown => "unknown",
            Status::Fail => "fail",
        };
        let (call, ret) = (operation.called, self.ended);
        write!(
            out,
            ",\"status\":\"{status}\",\"call\":{call},\"ret\":{ret}"
        )?;
        if let Some(revision) = operation.revision {
            write!(out, ",\"revision\":{revision}")?;
        }
        if operation.in_order {
            write!(out, ",\"in_order\":true")?;
        }
        out.write_all(b"}\n")
    }

    /// Reads one line.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let fields = Fields(serde_json::from_slice(line).map_err(LineError::Json)?);
        let status = match fields.one_of("status", "ok, unknown or fail")? {
            "ok" => Status::Ok,
            "unknown" => Status::Unknown,
            "fail" => Status::Fail,
            _ => return Err(fields.wrong("status", "ok, unknown or fail")),
        };
        let is_answered = status == Status::Ok;
        let allowed = "put, get, append or delete";
        let kind = match fields.one_of("op", allowed)? {
            "put" => Kind::Put {
                value: fields.needed_bytes("arg", "a put")?,
            },
            "append" => Kind::Append {
                value: fields.needed_bytes("arg", "an append")?,
                length: fields.number("length")?.filter(|_| is_answered),
            },
            "get" => fields.get(is_answered)?,
            "delete" => Kind::Delete {
                existed: fields.flag("found")?.filter(|_| is_answered),
            },
            _ => return Err(fields.wrong("op", allowed)),
        };
        let called = fields.needed_number("call", "every line")?;
        let ended = if is_answered {
            fields.needed_number("ret", "what was answered")?
        } else {
            fields.number("ret")?.unwrap_or(called)
        };
        if ended < called {
            let (call, ret) = (called, ended);
            return Err(LineError::Times { call, ret });
        }
        Ok(Self {
            key: fields.needed_bytes("key", "every line")?,
            operation: Operation {
                client: fields.needed_number("client", "every line")?,
                kind,
                called,
                returned: is_answered.then_some(ended),
                in_order: fields.flag("in_order")?.unwrap_or(false),
                revision: fields.number("revision")?.filter(|_| is_answered),
            },
            status,
            ended,
        })
    }
}

fn write_answer(out: &mut impl Write, kind: &Kind) -> io::Result<()> {
    match kind {
        Kind::Get { value: Some(value) } => {
            write_bytes(out, "out", value)?;
            write!(out, ",\"found\":true")
        }
        Kind::Get { value: None } => write!(out, ",\"found\":false"),
        Kind::Delete {
            existed: Some(existed),
        } => write!(out, ",\"found\":{existed}"),
        Kind::Append {
            length: Some(length),
            ..
        } => write!(out, ",\"length\":{length}"),
        Kind::Put { .. } | Kind::Append { .. } | Kind::Delete { .. } => Ok(()),
    }
}

/// Bytes as a string where they are UTF-8, and otherwise in base64 under a name that says so.
fn write_bytes(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            write!(out, ",\"{name}\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Err(_) => write!(out, ",\"{name}_base64\":\"{}\"", STANDARD.encode(bytes)),
    }
}

/// The fields of a line.
struct Fields(Map<String, Value>);

impl Fields {
    /// A field's value; what is null is not there.
    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, allowed: &'static str) -> LineError {
        let found = self.value(name).map_or(String::new(), Value::to_string);
        LineError::Field {
            field: name.to_owned(),
            found,
            allowed,
        }
    }

    fn one_of(&self, field: &'static str, allowed: &'static str) -> Result<&str, LineError> {
        let who = "every line";
        let value = self.value(field).ok_or(LineError::Missing { field, who })?;
        value.as_str().ok_or_else(|| self.wrong(field, allowed))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, LineError> {
        let read = |value: &Value| {
            let number = value.as_u64();
            number.ok_or_else(|| self.wrong(name, "a whole number from 0 to 2^64 - 1"))
        };
        self.value(name).map(read).transpose()
    }

    fn needed_number(&self, field: &'static str, who: &'static str) -> Result<u64, LineError> {
        self.number(field)?.ok_or(LineError::Missing { field, who })
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, LineError> {
        let read = |value: &Value| {
            let flag = value.as_bool();
            flag.ok_or_else(|| self.wrong(name, "true or false"))
        };
        self.value(name).map(read).transpose()
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, LineError> {
        if let Some(value) = self.value(name) {
            let text = value.as_str().ok_or_else(|| self.wrong(name, "a string"))?;
            return Ok(Some(text.as_bytes().to_vec()));
        }
        let encoded = format!("{name}_base64");
        let Some(value) = self.value(&encoded) else {
            return Ok(None);
        };
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| self.wrong(&encoded, "base64 with its padding"));
        bytes.map(Some)
    }

    fn needed_bytes(&self, field: &'static str, who: &'static str) -> Result<Vec<u8>, LineError> {
        self.bytes(field)?.ok_or(LineError::Missing { field, who })
    }

    fn get(&self, is_answered: bool) -> Result<Kind, LineError> {
        if !is_answered {
            return Ok(Kind::Get { value: None });
        }
        let (field, who) = ("found", "an answered get");
        let found = self.flag(field)?;
        let value = if found.ok_or(LineError::Missing { field, who })? {
            Some(self.needed_bytes("out", "a get that found something")?)
        } else {
            None
        };
        Ok(Kind::Get { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> String {
        match Line::parse(line.as_bytes()) {
            Ok(line) => format!("{line:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_lines_of_this_page_are_read_and_written() {
        let page = include_str!("line.rs");
        let lines: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("//! {"))
            .collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            let line = format!("{{{line}\n");
            let mut written = Vec::new();
            let read = Line::parse(line.as_bytes()).unwrap();
            read.write_to(&mut written).unwrap();
            let mut sorted = [line.into_bytes(), written.clone()];
            sorted.iter_mut().for_each(|line| line.sort_unstable());
            assert_eq!(sorted[0], sorted[1]);
            assert_eq!(Line::parse(&written).unwrap(), read);
        }
    }

    #[test]
    fn any_bytes_can_be_keys_and_values() {
        for bytes in [&b""[..], b"\xff\0", "\u{e9}\"\\\n".as_bytes()] {
            let line = Line {
                key: bytes.to_vec(),
                operation: Operation {
                    client: 3,
                    kind: Kind::Get {
                        value: Some(bytes.to_vec()),
                    },
                    called: 5,
                    returned: Some(6),
                    in_order: true,
                    revision: Some(9),
                },
                status: Status::Ok,
                ended: 6,
            };
            let mut written = Vec::new();
            line.write_to(&mut written).unwrap();
            assert_eq!(Line::parse(&written).unwrap(), line);
        }
    }

    #[test]
    fn what_is_no_line_is_said_with_what_is_allowed() {
        let line = |change: &str| {
            let right = r#"{"client":1,"op":"get","key":"k","out":"v","found":true,"status":"ok","call":5,"ret":9}"#;
            let (from, to) = change.split_once(" -> ").unwrap();
            assert!(right.contains(from), "{change}");
            parsed(&right.replace(from, to))
        };
        let cases = [
            ("{ -> [", "this is no JSON object"),
            (
                "\"client\":1, -> ",
                "there is no \"client\", which every line must have",
            ),
            (
                "\"get\" -> \"cas\"",
                "\"op\" is \"cas\"; put, get, append or delete is allowed",
            ),
            (
                "\"ok\" -> \"maybe\"",
                "\"status\" is \"maybe\"; ok, unknown or fail is allowed",
            ),
            (
                "\"get\" -> \"put\"",
                "there is no \"arg\", which a put must have",
            ),
            (
                "\"out\":\"v\" -> \"out\":7",
                "\"out\" is 7; a string is allowed",
            ),
            (
                "true -> \"yes\"",
                "\"found\" is \"yes\"; true or false is allowed",
            ),
            (
                "\"found\":true, -> ",
                "there is no \"found\", which an answered get must have",
            ),
            (
                "\"ret\":9 -> \"ret\":4",
                "\"ret\" is 4, before \"call\", which is 5",
            ),
            (
                "5 -> -5",
                "\"call\" is -5; a whole number from 0 to 2^64 - 1 is allowed",
            ),
            (
                "key\":\"k -> key_base64\":\"*",
                "base64 with its padding is allowed",
            ),
        ];
        for (change, expected) in cases {
            let said = line(change);
            assert!(said.contains(expected), "{change}: {said}");
        }
    }

    #[test]
    fn the_number_of_a_wrong_line_is_said() {
        let text = "\n{}\n";
        let error = read_lines(text.as_bytes(), |_| {}).unwrap_err();
        assert!(
            error.to_string().starts_with("line 2: there is no"),
            "{error}"
        );
    }
}
