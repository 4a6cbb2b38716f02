//! Requests and answers as one readable line each, for logs. Never raw bytes: keys are quoted, values are counted.

use std::fmt;

use crate::answer::{Answer, Limit, Outcome, Refusal, Role};
use crate::codec::{ChangeRef, WriteRef};
use crate::datagram::{DatagramGreeting, DatagramHello, ServerDatagram, ServerMessage};
use crate::greeting::{Greeting, Hello};
use crate::quote::{Elided, Quoted, Sentence};
use crate::request::{Change, Request, SessionId, Write};

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.revision)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenSession { tag, .. } => write!(f, "OpenSession tag={tag}"),
            Self::Write { tag, write } => write!(f, "Write tag={tag} {write}"),
            Self::Get { tag, key } => write!(f, "Get tag={tag} GET {}", Elided(key)),
            Self::Status { tag } => write!(f, "Status tag={tag}"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Display for WriteRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "session={} seq={} floor={} after={} {}",
            self.session, self.sequence, self.floor, self.after, self.change
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl fmt::Display for ChangeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "PUT {} {} bytes", Elided(key), value.len()),
            Self::Append { key, value } => {
                write!(f, "APPEND {} {} bytes", Elided(key), value.len())
            }
            Self::Delete { key } => write!(f, "DELETE {}", Elided(key)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer tag={}", self.tag)?;
        if let Some(leader) = self.leader {
            write!(f, " leader={leader}")?;
        }
        write!(f, " {}", self.outcome)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionOpened { session, expiry_s } => {
                write!(f, "opened session={session} expiry_s={expiry_s}")
            }
            Self::Put { revision } => write!(f, "put revision={revision}"),
            Self::Appended { revision, length } => {
                write!(f, "appended revision={revision} length={length}")
            }
            Self::Deleted { revision, existed } => {
                write!(f, "deleted revision={revision} existed={existed}")
            }
            Self::Value { revision, value } => {
                write!(f, "value revision={revision} {} bytes", value.len())
            }
            Self::Absent { revision } => write!(f, "absent revision={revision}"),
            Self::Status(report) => write!(
                f,
                "status replica={} role={} chosen={} applied={}",
                report.replica, report.role, report.chosen, report.applied
            ),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuorum { proposed } => {
                f.write_str("no quorum: no majority of the replicas could be reached in time")?;
                write_proposed(f, *proposed)
            }
            Self::Busy { limit } => write!(f, "busy: the limit of {limit} is reached"),
            Self::TooLarge {
                limit,
                bytes,
                bytes_max,
            } => write!(f, "too large: {bytes} {limit}, {bytes_max} are allowed"),
            Self::EmptyKey => f.write_str("empty key: a key has at least one byte"),
            Self::StoreFull { bytes_max } => {
                write!(f, "store full: the cluster may hold {bytes_max} bytes")
            }
            Self::DiskFull { refuses_deletes } => {
                let goes_on = if *refuses_deletes {
                    "GET goes on"
                } else {
                    "GET and DELETE go on"
                };
                write!(
                    f,
                    "disk full: the disks of most replicas have hardly any room left; {goes_on}"
                )
            }
            Self::SessionExpired => f.write_str("session expired: the cluster forgot it"),
            Self::Closed => f.write_str("closed: the write was answered or given up before"),
            Self::TooManyOutstanding { width } => {
                write!(f, "too many outstanding: {width} are allowed")
            }
            Self::NotServing { reason } => {
                write!(f, "not serving: {}", Sentence(reason))
            }
            Self::AskReplica { replica, proposed } => {
                write!(f, "ask replica {replica}")?;
                write_proposed(f, *proposed)
            }
            Self::Malformed { reason } => write!(f, "malformed: {}", Sentence(reason)),
            Self::TooLargeForDatagram { bytes, bytes_max } => write!(
                f,
                "too large for a datagram: {bytes} bytes, {bytes_max} are allowed; use TCP"
            ),
        }
    }
}

fn write_proposed(f: &mut fmt::Formatter<'_>, proposed: bool) -> fmt::Result {
    if proposed {
        f.write_str(" (a copy is under way)")
    } else {
        Ok(())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyBytes => "bytes of key",
            Self::ValueBytes => "bytes of value",
            Self::Connections => "connections",
            Self::RequestsHeld => "requests held",
            Self::BytesHeld => "bytes held",
            Self::Sessions => "sessions",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Founding => "founding",
            Self::Blank => "blank",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Hello version={} label={}",
            self.version,
            Quoted(self.label.as_bytes())
        )
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Greeting version={} cluster={:016x} replica={}",
            self.version, self.cluster, self.replica
        )?;
        match self.leader {
            Some(leader) => write!(f, " leader={leader}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ServerDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            ServerMessage::Greeting(greeting) => greeting.fmt(f)?,
            ServerMessage::Cookie { tag, .. } => write!(f, "Cookie tag={tag}")?,
            ServerMessage::Answer(answer) => answer.fmt(f)?,
        }
        write!(f, " from replica={}", self.replica)
    }
}

impl fmt::Display for DatagramHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = Quoted(self.label.as_bytes());
        write!(f, "DatagramHello tag={} label={label}", self.tag)
    }
}

impl fmt::Display for DatagramGreeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DatagramGreeting tag={} cluster={:016x}",
            self.tag, self.cluster
        )?;
        match self.leader {
            Some(leader) => write!(f, " leader={leader}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_readable_line() {
        let request = Request::Write {
            tag: 7,
            write: Write {
                session: SessionId {
                    revision: 12,
                    nonce: 5,
                },
                sequence: 3,
                floor: 2,
                after: 0,
                change: Change::Put {
                    key: b"a b\n".to_vec(),
                    value: b"\0\0\0".to_vec(),
                },
            },
        };
        assert_eq!(
            request.to_string(),
            "Write tag=7 session=12 seq=3 floor=2 after=0 PUT \"a b\\n\" 3 bytes"
        );
    }

    #[test]
    fn an_answer_is_one_readable_line() {
        let answer = Answer {
            tag: 7,
            leader: Some(2),
            outcome: Outcome::Refused(Refusal::NoQuorum { proposed: true }),
        };
        assert_eq!(
            answer.to_string(),
            "Answer tag=7 leader=2 refused: no quorum: no majority of the replicas could be reached in time \
             (a copy is under way)"
        );
    }

    #[test]
    fn a_foreign_sentence_cannot_break_the_line() {
        let refusal = Refusal::NotServing {
            reason: "a\nb".into(),
        };
        assert_eq!(refusal.to_string(), "not serving: a\\nb");
    }
}
