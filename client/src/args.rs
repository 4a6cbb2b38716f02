//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kvpaxos_client::{ClientOptions, Transport};
use log::LevelFilter;

use crate::exit::Failure;

/// Client of kvpaxos, a replicated key-value store.
///
/// Exit codes: 0 done, 1 key absent, 2 usage, 3 refused, 4 no answer in time, 5 no quorum. After 4 and 5 the outcome
/// of a write is unknown.
#[derive(Debug, Parser)]
#[command(name = "kvpaxos-client", version)]
pub(crate) struct Arguments {
    /// Where the replicas listen: host:port,... or tcp://host:port,udp://host:port,...; the first is asked first
    #[arg(long, global = true, value_name = "LIST")]
    endpoints: Option<String>,
    /// The transport, for endpoints that name none
    #[arg(long, global = true, value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    /// How long an operation is tried, at this replica and others
    #[arg(long, global = true, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// What this client calls itself in the logs of the replicas
    #[arg(long, global = true, default_value = "kvpaxos-client")]
    name: String,
    /// Where to write this client's log
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// How much to log; without a file, to standard error
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LevelFilter>,
    /// Print one JSON object per answer
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
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
    Get {
        /// The key
        key: OsString,
        /// Write the value's bytes alone
        #[arg(long)]
        raw: bool,
    },
    /// Replace a key's value
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
    Bench(BenchArguments),
    /// Judge whether what "bench --history" wrote is linearizable
    Check(CheckArguments),
    /// Show every replica
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
    /// How many clients, each with a session and a connection of its own
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// How many requests each client has outstanding
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) pipeline: u32,
    /// How long values are
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=8 << 20))]
    pub(crate) value_bytes: u32,
    /// How many keys there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) keys: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// How many of 100 operations of --op mixed are reads
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) read_percent: u32,
    /// Append tags in the place of whatever --op writes, and judge every read, those of --op mixed and those of all keys at
    /// the end: each answered tag must be there from then on, once and in order (a client's own order is promised over TCP,
    /// and over UDP without --pipeline). Clients share --keys keys if there are fewer; one that is full, of 8 KiB where
    /// it is read all the time and else of 4 MiB, is left for a fresh one
    #[arg(long)]
    pub(crate) check: bool,
    /// Write what each client asked and heard to this file, one JSON object a line, for "check"
    ///
    /// Keys are fresh and values distinct then, made up to --value-bytes, and every key is read once more at the end. The
    /// file is whole when the program has ended by itself. docs/OPERATIONS.md explains the lines.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
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
/// Exit codes: 0 right, 70 wrong (the shortest part that is wrong is shown), 71 undecided within --limit, 2 the file
/// cannot be read.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArguments {
    /// The history
    pub(crate) file: PathBuf,
    /// How long judging may take before it ends undecided
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) limit: Duration,
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
    /// What the library is told.
    ///
    /// # Errors
    /// An endpoint is none.
    pub(crate) fn client_options(&self) -> Result<ClientOptions, Failure> {
        let transport = match self.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        if self.timeout.is_zero() {
            return Err(Failure::Usage("--timeout must be above zero".to_owned()));
        }
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
