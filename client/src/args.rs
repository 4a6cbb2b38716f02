//! The command line.

mod parse;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kvpaxos_client::{ClientOptions, Transport};
use log::LevelFilter;

use self::parse::{parse_label, parse_log_level, parse_rate, parse_seconds, parse_time};
use crate::exit::Failure;
use crate::manual;

/// Client of kvpaxos, a replicated key-value store
///
/// Exit codes: 0 done, 1 key absent, 2 usage, 3 refused, 4 no answer in time, 5 no quorum. After 4 and 5 the outcome
/// of a write is unknown, unless it says that the write was not sent.
///
/// Keys and values are shown as they can be typed at the prompt: bare where they are printable without a space, and
/// otherwise between double quotes.
#[derive(Debug, Parser)]
#[command(name = NAME, version = VERSION_TEXT.as_str(), max_term_width = HELP_COLUMNS_MAX)]
pub(crate) struct Arguments {
    /// What every command takes
    #[command(flatten)]
    pub(crate) common: CommonArguments,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = COMMON_HEADING)]
pub(crate) struct CommonArguments {
    /// Where the replicas listen, the one to ask first at the front: HOST:PORT,... [default: the five replicas of
    /// deploy.sh]
    ///
    /// Those are 127.0.0.1:1111 to 127.0.0.1:1115, and with --protocol udp 127.0.0.1:5555 to 127.0.0.1:5559. Example:
    /// --endpoints 10.0.0.1:1111,10.0.0.2:1111,udp://10.0.0.3:5555. Where tcp:// or udp:// stands before one,
    /// --protocol does not matter.
    #[arg(long, global = true, value_name = "LIST", env = "KVPAXOS_ENDPOINTS")]
    endpoints: Option<String>,
    /// The transport, for endpoints that name none
    #[arg(long, global = true, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    /// How long an operation is tried, at this replica and others: 500ms, 10s, 1h; at most 24h
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = parse_time,
        allow_hyphen_values = true)]
    timeout: Duration,
    /// What this client calls itself in the logs of the replicas, in up to 64 bytes
    #[arg(long, global = true, default_value = NAME, value_parser = parse_label)]
    name: String,
    /// Where to write this client's log
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// How much to log: to standard error, or with a file to that [default: info with a file, else nothing]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = parse_log_level())]
    pub(crate) log_level: Option<LevelFilter>,
    /// Print one JSON object per answer
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Wider text is hard to read.
const HELP_COLUMNS_MAX: usize = 100;

/// What stands above the flags of all commands.
const COMMON_HEADING: &str = "Connection, log and output";

/// These ask no replica, so of the flags of all commands they show only the one that is named, if any.
const COMMANDS_WITHOUT_REPLICAS: [(&str, Option<&str>); 2] =
    [("check", Some("json")), ("completions", None)];

/// What `--version` says.
static VERSION_TEXT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} commit {} wire {}",
        env!("CARGO_PKG_VERSION"),
        env!("KVPAXOS_COMMIT"),
        common::PROTOCOL_VERSION,
    )
});

/// What the program is called.
pub(crate) const NAME: &str = "kvpaxos-client";

/// The whole command line, as help and completions show it, of a program that is called so.
pub(crate) fn command(name: &'static str) -> clap::Command {
    let mut command = Arguments::command().bin_name(name);
    // This copies the common flags into every command, where they can be hidden.
    command.build();
    COMMANDS_WITHOUT_REPLICAS
        .iter()
        .fold(command, |command, (name, shown)| {
            command.mut_subcommand(name, |command| {
                command.mut_args(|flag| {
                    let is_common = flag.get_help_heading() == Some(COMMON_HEADING);
                    let is_shown = !is_common || flag.get_long() == *shown;
                    flag.hide(!is_shown)
                })
            })
        })
}

/// How to reach the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a checked series of operations, then go to the prompt
    Demo(PromptArguments),
    /// Go to the prompt; not on a terminal, read commands from standard input
    Repl(PromptArguments),
    /// Read a key
    ///
    /// The value is printed as it can be typed at the prompt: between double quotes if it holds a space or a byte that is
    /// not printable, and "" if it is empty. --raw prints its bytes alone. A key that is not there is (absent).
    Get {
        /// The key
        key: OsString,
        /// Write the value's bytes alone
        #[arg(long)]
        raw: bool,
    },
    /// Replace a key's value
    ///
    /// The answer is the revision of this change. The cluster counts every change with it, and the opening of every
    /// client's session, so that each run of this program takes two.
    Put {
        /// The key
        key: OsString,
        /// The value; - reads it from standard input
        #[arg(allow_hyphen_values = true)]
        value: OsString,
    },
    /// Add to the end of a key's value
    Append {
        /// The key
        key: OsString,
        /// What to add; - reads it from standard input
        #[arg(allow_hyphen_values = true)]
        value: OsString,
    },
    /// Remove a key
    Delete {
        /// The key
        key: OsString,
    },
    /// Put load on the cluster and measure it
    ///
    /// The keys that it writes stay in the store: bench/00000000 and up, --keys of them at most; with --check or --history
    /// they have names of their own, which it prints. Ctrl-C ends the measured
    /// part early, and what was measured is printed. An error that would come again for ever ends the run.
    Bench(BenchArguments),
    /// Judge whether what "bench --history" wrote is linearizable
    Check(CheckArguments),
    /// Show every replica
    #[command(long_about = manual::status_help())]
    Status,
    /// Print a script that makes a shell complete this program's commands and flags
    Completions {
        /// Whose language it is in
        shell: Shell,
    },
}

/// What the prompt is told; it matters on a terminal only.
#[derive(Clone, Debug, Args)]
pub(crate) struct PromptArguments {
    /// Where to keep what was typed, or "none" [default: kvpaxos/history under $XDG_STATE_HOME or ~/.local/state]
    ///
    /// A line that begins with a space is not kept, nor one of more than 16 KiB.
    #[arg(long, env = "KVPAXOS_HISTORY", value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

/// What load to put on the cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArguments {
    /// What the clients do
    #[arg(long, value_enum, default_value_t = BenchOperation::Put)]
    pub(crate) op: BenchOperation,
    /// How many clients, each with a session and a connection of its own: 1 to 10000
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How many requests each client has outstanding: 1 to 1024
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) pipeline: u32,
    /// How long values are: 0 to 8388608
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=8 << 20))]
    pub(crate) value_bytes: u32,
    /// How many keys there are: 1 to 100000000
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) keys: u32,
    /// Which keys are drawn how often
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub(crate) distribution: Distribution,
    /// Begin so many operations a second, all clients together, instead of one whenever one ends: above 0
    ///
    /// Latency counts from the time at which an operation was due, so that a stall counts for all that were due meanwhile. What
    /// is due while all clients have --pipeline outstanding waits for one that is free.
    #[arg(long, value_name = "OPS", value_parser = parse_rate, allow_hyphen_values = true)]
    pub(crate) rate: Option<f64>,
    /// How long to measure: above 0, up to 1000000
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds, allow_hyphen_values = true)]
    pub(crate) seconds: f64,
    /// Do not fill in the keys that are to be read: they are there from an earlier run
    #[arg(long, conflicts_with_all = ["check", "history"])]
    pub(crate) no_fill: bool,
    /// How many of 100 operations of --op mixed are reads: 0 to 100
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) read_percent: u32,
    /// Append tags in the place of whatever --op writes, and judge every read
    ///
    /// Reads are those of --op mixed, and one of each key at the end. Each answered tag must be there from then on, once
    /// and in order (a client's own order is promised over TCP, and over UDP without --pipeline). Clients share --keys
    /// keys if there are fewer; one that is full, of 8 KiB where it is read all the time and else of 4 MiB, is left for a
    /// fresh one.
    ///
    /// The report counts tags that are lost at the end, duplicated, out of order, or unexpected (never appended); keys
    /// unread; and reads that were stale (an answered tag is missing), went back (behind what an earlier read had shown),
    /// contradicted each other, or were misplaced (a tag where another was seen).
    #[arg(long)]
    pub(crate) check: bool,
    /// Write what each client asked and heard to this file, one JSON object a line, for "check"
    ///
    /// Keys are fresh and values distinct then, made up to --value-bytes, and every key is read once more at the end. The
    /// file is whole when the program has ended by itself. docs/OPERATIONS.md explains the lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Write what each second did to this file, one line each: rate, errors, latency
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Stay with the replica that each client began with, instead of going to the leader
    #[arg(long)]
    pub(crate) spread: bool,
}

/// What to judge.
///
/// A history is linearizable if each operation can be thought to take effect at one moment between its call and its
/// return, so that every answer is what one copy of the data would have given. What is unknown may have taken effect at
/// any moment after its call, or never; what failed, never. Each key is judged alone, and begins absent.
///
/// A line is {"client":7,"op":"put|get|append|delete","key":"..","arg":"..","out":"..","found":true,
/// "status":"ok|unknown|fail","call":ns,"ret":ns}; docs/OPERATIONS.md says more. Any store's history can be judged.
///
/// Exit codes: 0 right, 70 wrong (the shortest part that is wrong is shown), 71 undecided within --limit
/// or nothing to judge, 2 the file cannot be read.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    /// The history
    pub(crate) file: PathBuf,
    /// How long judging may take before it ends undecided
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub(crate) limit: Duration,
}

/// How often the load generator draws which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// All keys alike
    Uniform,
    /// The n-th key in proportion to n to the power of -0.99: few keys are hot, as with users
    Zipfian,
}

impl Distribution {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
        }
    }
}

/// What the clients of the load generator do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchOperation {
    /// Replace values of random keys
    Put,
    /// Read random keys
    Get,
    /// Add to values of random keys
    Append,
    /// Read or replace
    Mixed,
}

impl BenchOperation {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Append => "append",
            Self::Mixed => "mixed",
        }
    }
}

impl Arguments {
    /// The command line of this process; where it cannot be understood, or asks for help, the process ends here.
    pub(crate) fn of_process() -> Self {
        let mut command = command(NAME);
        let matches: ArgMatches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

impl CommonArguments {
    /// What the library is told.
    ///
    /// # Errors
    /// An endpoint is none.
    pub(crate) fn client_options(&self) -> Result<ClientOptions, Failure> {
        let transport = match self.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let mut options = match self.endpoints.as_deref() {
            None => ClientOptions::local_cluster_over(transport),
            Some(list) => ClientOptions::parse_over(list, transport)?,
        };
        options.timeout = self.timeout;
        options.label.clone_from(&self.name);
        Ok(options)
    }
}

/// The bytes of a word of the command line, whatever they are.
pub(crate) fn bytes(word: OsString) -> Vec<u8> {
    word.into_vec()
}
