//! The language of the golden scripts: one command a line, what happened as text.
//!
//! ```text
//! cluster 3 [window=4] [bytes=40] [kept=40] [sparse]   founded, everybody up, every disk quick; `sparse`: every slot
//!                                     is an instance of its own
//! elect r0                            r0's clock alone runs, everything is delivered, until r0 leads
//! tick r0 5 | tick all 5              time passes; nothing is delivered
//! wait r0 30                          time passes for r0, and what it sends meanwhile is lost
//! run 30                              time passes for all, and everything is delivered
//! settle                              everything is delivered, and what is sent because of it
//! propose r0 x y                      commands at the leader
//! start r0 7 x                        in sparse mode, r0 begins agreement on instance 7
//! done r0 7                           in sparse mode, r0's program needs nothing up to 7
//! rejoin r0 r2                        proposes that r2 votes in its present incarnation
//! read r1 7                           a linearizable read with ticket 7
//! hurry r0 r1                         r1 waits for an outcome
//! deliver PATTERN | deliver all       what matches and is on its way now; `all`: until nothing is
//! drop PATTERN                        loses it
//! hold PATTERN ... release            keeps it out of the way, and puts it back at the end of the line
//! again PATTERN                       delivers once more what was delivered before
//! doubt r1 r0                         r1's connection to r0 was closed
//! standdown r0 | handover r0          r0 is about to stop: it proposes nothing more; it gives up its ballot to an heir
//! fail r0 acceptor | replace r0       an agent ends; the one that is away is replaced, once the disk has all
//! cut r0 r1 | cut r0 -> r1 | mend     loses whatever is sent between them; `all`: all others
//! disk r0 slow | disk r0 quick        whether the journal waits for `sync r0`
//! sync r0                             what r0's journal was handed is durable
//! snapshot r0                         what r0 has applied is durable, its journal below is given up
//! transfer r0 r1                      r0's snapshot is installed at r1
//! space r0 reserve                    r0's disk takes no more than that: ample, reserve or spent
//! space r0 | space all                what a replica knows that a majority's disks take
//! crash r0 | restart r0 | wipe r0     what is not durable is lost; wipe: all is, and the incarnation is another
//! show r0 | show all | journal r0     what a replica knows; what its journal holds
//! kept r0 | kept all                  what it has forgotten, what its snapshot covers, which snapshot it wants
//! ```
//! A PATTERN is `r0 -> r1 Accept slot=7`: `*` is any replica, and every further word must stand in the message.
//! `settle`, `run`, `wait` and `elect` print what they led to, the others every message too.

use paxos::{Envelope, ReplicaId, Slot, Space};

use crate::cluster::{Cluster, Event, Settings, word};
use crate::telling::{journal, kept, show, tell_note};

/// A script under way.
#[derive(Debug, Default)]
pub(crate) struct Script {
    cluster: Option<Cluster>,
    held: Vec<Envelope>,
    /// Nonces that begin at random, in the order in which they showed up.
    nonces: Vec<u64>,
}

/// Which messages a command speaks of.
struct Pattern {
    from: Option<ReplicaId>,
    to: Option<ReplicaId>,
    words: Vec<String>,
}

impl Script {
    /// Runs one command and tells what happened, a line each.
    ///
    /// # Errors
    /// What is wrong with the command.
    pub(crate) fn run(&mut self, line: &str) -> Result<Vec<String>, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&command, arguments) = words.split_first().ok_or("an empty command")?;
        if command == "cluster" {
            self.cluster = Some(Cluster::new(settings(arguments)?));
            return Ok(Vec::new());
        }
        let told = match command {
            "deliver" => self.deliver(arguments)?,
            "again" => self.again(arguments)?,
            "drop" => self.take_out(arguments, "lost")?,
            "hold" => self.hold(arguments)?,
            "release" => self.release()?,
            _ => self.act(command, arguments)?,
        };
        let quiet = matches!(command, "settle" | "run" | "elect" | "wait");
        let events = self.cluster()?.take_events();
        let happened = events
            .into_iter()
            .filter(|event| !quiet || !matches!(event, Event::Sent(_) | Event::Waits(_)))
            .map(|event| self.tell(&event));
        let lines: Vec<String> = told
            .into_iter()
            .chain(happened.collect::<Vec<_>>())
            .collect();
        Ok(lines)
    }

    fn cluster(&mut self) -> Result<&mut Cluster, String> {
        self.cluster
            .as_mut()
            .ok_or_else(|| "the script must begin with a cluster".to_owned())
    }

    /// The commands that do something to a replica or to all.
    fn act(&mut self, command: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let cluster = self.cluster()?;
        match (command, arguments) {
            ("elect", [who]) => {
                if !cluster.elect(replica(who)?) {
                    return Err(format!("{who} does not come to lead"));
                }
            }
            ("tick", [who, count]) => {
                for _ in 0..number(count)? {
                    for id in some(cluster, who)? {
                        cluster.tick(id);
                    }
                }
            }
            ("wait", [who, count]) => {
                let (id, before) = (replica(who)?, cluster.network.len());
                for _ in 0..number(count)? {
                    cluster.tick(id);
                }
                cluster.network.truncate(before);
            }
            ("run", [count]) => cluster.run(number(count)?),
            ("settle", []) => cluster.settle(),
            ("propose", [who, commands @ ..]) => {
                return propose(cluster, replica(who)?, commands);
            }
            ("start", [who, slot, command]) => {
                let (slot, command) = (Slot(number(slot)?), word(command));
                let started = cluster.turn(replica(who)?, |peer| peer.propose_at(slot, command));
                return Ok(refusal(started.map(|result| result.map(|()| slot))));
            }
            ("done", [who, slot]) => {
                let watermark = Slot(number(slot)?).next();
                cluster.turn(replica(who)?, |peer| peer.done(watermark));
            }
            ("rejoin", [who, whom]) => {
                let (replica, incarnation) =
                    (replica(whom)?, cluster.node(replica(whom)?).incarnation);
                let command = paxos::Command::Rejoin {
                    replica,
                    incarnation,
                };
                let proposed = cluster.turn(self::replica(who)?, |leader| leader.propose(command));
                return Ok(refusal(proposed));
            }
            ("read", [who, ticket]) => {
                let ticket = number(ticket)?;
                cluster.turn(replica(who)?, |reader| reader.read(ticket));
            }
            ("hurry", [who, whom]) => {
                let follower = replica(whom)?;
                cluster.turn(replica(who)?, |leader| leader.hurry(follower));
            }
            ("mend", []) => cluster.mend_all(),
            ("cut" | "mend", link) => cut_or_mend(cluster, command == "cut", link)?,
            ("disk", [who, speed]) => {
                cluster.node_mut(replica(who)?).disk_is_slow = *speed == "slow";
            }
            ("doubt", [who, whom]) => {
                let whom = replica(whom)?;
                cluster.turn(replica(who)?, |replica| replica.doubt(whom));
            }
            ("standdown", [who]) => {
                cluster.turn(replica(who)?, paxos::Replica::stand_down);
            }
            ("handover", [who]) => {
                let heir = cluster.turn(replica(who)?, paxos::Replica::hand_over_lead);
                return Ok(match heir.flatten() {
                    Some(_) => Vec::new(),
                    None => vec!["to nobody".to_owned()],
                });
            }
            ("space", [who, space]) => {
                let space = space_named(space)?;
                cluster.turn(replica(who)?, |peer| peer.note_space(space));
            }
            ("space", [who]) => {
                let shown = some(cluster, who)?
                    .into_iter()
                    .filter(|id| cluster.is_up(*id));
                return Ok(shown
                    .map(|id| format!("{id} knows of {} space", cluster.replica(id).space()))
                    .collect());
            }
            ("snapshot", [who]) => cluster.take_snapshot(replica(who)?),
            ("transfer", [from, to]) => {
                if !cluster.transfer(replica(from)?, replica(to)?) {
                    return Ok(vec![format!("{to} has no use for it")]);
                }
            }
            ("fail", [who, agent]) => {
                let agent = match *agent {
                    "acceptor" => paxos::Agent::Acceptor,
                    "proposer" => paxos::Agent::Proposer,
                    "learner" => paxos::Agent::Learner,
                    other => return Err(format!("no such agent: {other}")),
                };
                cluster.fail(replica(who)?, agent);
            }
            ("replace", [who]) => cluster.replace(replica(who)?),
            ("sync", [who]) => cluster.sync(replica(who)?),
            ("crash", [who]) => cluster.crash(replica(who)?),
            ("wipe", [who]) => cluster.wipe(replica(who)?),
            ("restart", [who]) => {
                cluster.restart(replica(who)?);
                return Ok(vec![show(cluster, replica(who)?)]);
            }
            ("show", [who]) => {
                let shown = some(cluster, who)?;
                return Ok(shown.into_iter().map(|id| show(cluster, id)).collect());
            }
            ("kept", [who]) => {
                let shown = some(cluster, who)?;
                return Ok(shown.into_iter().map(|id| kept(cluster, id)).collect());
            }
            ("journal", [who]) => return Ok(journal(cluster, replica(who)?)),
            _ => {
                return Err(format!(
                    "no such command: {command} {}",
                    arguments.join(" ")
                ));
            }
        }
        Ok(Vec::new())
    }

    fn deliver(&mut self, arguments: &[&str]) -> Result<Vec<String>, String> {
        if arguments == ["all"] {
            self.cluster()?.settle();
            return Ok(Vec::new());
        }
        for envelope in self.extract(arguments)? {
            self.cluster()?.deliver(envelope);
        }
        Ok(Vec::new())
    }

    fn again(&mut self, arguments: &[&str]) -> Result<Vec<String>, String> {
        let pattern = Pattern::parse(arguments)?;
        let cluster = self.cluster()?;
        let delivered = cluster.delivered.iter();
        let matching: Vec<Envelope> = delivered
            .filter(|envelope| pattern.matches(envelope))
            .cloned()
            .collect();
        for envelope in &matching {
            cluster.deliver(envelope.clone());
        }
        let unlike = arguments.join(" ");
        match matching.len() {
            0 => Err(format!("nothing like this was delivered: {unlike}")),
            count => Ok(vec![format!("{count} messages")]),
        }
    }

    fn take_out(&mut self, arguments: &[&str], how: &str) -> Result<Vec<String>, String> {
        let matching = self.extract(arguments)?;
        Ok(matching
            .iter()
            .map(|envelope| format!("{how}: {}", self.say(envelope)))
            .collect())
    }

    fn hold(&mut self, arguments: &[&str]) -> Result<Vec<String>, String> {
        let matching = self.extract(arguments)?;
        let told = matching
            .iter()
            .map(|envelope| format!("held: {}", self.say(envelope)))
            .collect();
        self.held.extend(matching);
        Ok(told)
    }

    fn release(&mut self) -> Result<Vec<String>, String> {
        let held = std::mem::take(&mut self.held);
        self.cluster()?.network.extend(held);
        Ok(Vec::new())
    }

    /// Takes out of the network what matches; at least one message must.
    fn extract(&mut self, arguments: &[&str]) -> Result<Vec<Envelope>, String> {
        let pattern = Pattern::parse(arguments)?;
        let network = &mut self.cluster()?.network;
        let (matching, rest) = std::mem::take(network)
            .into_iter()
            .partition(|envelope| pattern.matches(envelope));
        *network = rest;
        let matching: Vec<Envelope> = matching;
        if matching.is_empty() {
            return Err(format!(
                "nothing like this is on its way: {}",
                arguments.join(" ")
            ));
        }
        Ok(matching)
    }

    /// One event, as a line.
    pub(crate) fn tell(&mut self, event: &Event) -> String {
        match event {
            Event::Sent(envelope) => self.say(envelope),
            Event::Waits(envelope) => format!("on disk first: {}", self.say(envelope)),
            Event::Applied(id, slot, command) => format!("{id} applies {slot} {command}"),
            Event::Read(id, read) => {
                format!(
                    "{id} may answer read {} when applied<{}",
                    read.ticket, read.watermark
                )
            }
            Event::Noted(id, note) => format!("{id} {}", tell_note(*note)),
        }
    }

    /// The notation of messages, with what a promise also claims, and with random nonces made short.
    fn say(&mut self, envelope: &Envelope) -> String {
        let text = envelope.to_string();
        let words = text.split(' ').map(|word| {
            let nonce = word
                .strip_prefix("nonce=")
                .and_then(|nonce| nonce.parse::<u64>().ok())
                .filter(|nonce| *nonce >= RANDOM_NONCES_FROM);
            let Some(nonce) = nonce else {
                return word.to_owned();
            };
            let known = self.nonces.iter().position(|known| *known == nonce);
            let place = known.unwrap_or_else(|| {
                self.nonces.push(nonce);
                self.nonces.len() - 1
            });
            format!("nonce=#{}", place + 1)
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Pattern {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let [from, "->", to, words @ ..] = arguments else {
            return Err(format!(
                "not like `r0 -> r1 Accept`: {}",
                arguments.join(" ")
            ));
        };
        Ok(Self {
            from: wildcard(from)?,
            to: wildcard(to)?,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        })
    }

    fn matches(&self, envelope: &Envelope) -> bool {
        let text = envelope.message.to_string();
        let said: Vec<&str> = text.split(' ').collect();
        self.from.is_none_or(|from| from == envelope.from)
            && self.to.is_none_or(|to| to == envelope.to)
            && self.words.iter().all(|word| said.contains(&word.as_str()))
    }
}

fn settings(arguments: &[&str]) -> Result<Settings, String> {
    let (count, options) = arguments.split_first().ok_or("how many replicas?")?;
    let mut settings =
        Settings::of(u8::try_from(number(count)?).map_err(|error| error.to_string())?);
    for option in options {
        if *option == "sparse" {
            settings.sparse = true;
            continue;
        }
        match option.split_once('=') {
            Some(("window", window)) => settings.window = number(window)?,
            Some(("bytes", bytes)) => {
                settings.message_bytes_max =
                    usize::try_from(number(bytes)?).map_err(|error| error.to_string())?;
            }
            Some(("kept", bytes)) => {
                settings.kept_bytes_max =
                    usize::try_from(number(bytes)?).map_err(|error| error.to_string())?;
            }
            _ => return Err(format!("no such setting: {option}")),
        }
    }
    Ok(settings)
}

fn propose(
    cluster: &mut Cluster,
    who: ReplicaId,
    commands: &[&str],
) -> Result<Vec<String>, String> {
    let mut told = Vec::new();
    for command in commands {
        let proposed = cluster.turn(who, |leader| leader.propose(word(command)));
        told.extend(
            refusal(proposed)
                .into_iter()
                .map(|why| format!("{command}: {why}")),
        );
    }
    Ok(told)
}

fn refusal(proposed: Option<Result<Slot, paxos::ProposeError>>) -> Vec<String> {
    match proposed {
        Some(Ok(_)) => Vec::new(),
        Some(Err(error)) => vec![format!("not proposed: {error:?}")],
        None => vec!["not proposed: it is down".to_owned()],
    }
}

fn cut_or_mend(cluster: &mut Cluster, cut: bool, link: &[&str]) -> Result<(), String> {
    let (froms, tos, both) = match link {
        [one, "->", other] => (some(cluster, one)?, some(cluster, other)?, false),
        [one, other] => (some(cluster, one)?, some(cluster, other)?, true),
        _ => return Err(format!("not two replicas: {}", link.join(" "))),
    };
    for &from in &froms {
        for &to in tos.iter().filter(|to| **to != from) {
            let change = if cut { Cluster::cut } else { Cluster::mend };
            change(cluster, from, to);
            if both {
                change(cluster, to, from);
            }
        }
    }
    Ok(())
}

fn space_named(name: &str) -> Result<Space, String> {
    let all = [Space::Ample, Space::Reserve, Space::Spent];
    let named = all.into_iter().find(|space| space.to_string() == name);
    named.ok_or_else(|| format!("no such space: {name}"))
}

fn some(cluster: &Cluster, who: &str) -> Result<Vec<ReplicaId>, String> {
    match who {
        "all" => Ok(cluster.ids()),
        _ => Ok(vec![replica(who)?]),
    }
}

fn wildcard(who: &str) -> Result<Option<ReplicaId>, String> {
    match who {
        "*" => Ok(None),
        _ => replica(who).map(Some),
    }
}

fn replica(who: &str) -> Result<ReplicaId, String> {
    who.strip_prefix('r')
        .and_then(|id| id.parse().ok())
        .map(ReplicaId)
        .ok_or_else(|| format!("not a replica: {who}"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

/// What counts from 1 stays below this, what begins at 64 random bits practically never does.
const RANDOM_NONCES_FROM: u64 = 1_000_000;
