//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::system::System;
use crate::trouble::Trouble;

/// Measures kvpaxos beside etcd and Redis on this machine, in turn, in one run
///
/// Each round starts every system anew in a directory of its own, fills in all keys, and gives each row a warm-up that is
/// not counted. Nothing else should run meanwhile. Figures drift from hour to hour: quote the ratios, which are taken
/// round by round. docs/BENCHMARKS.md says what each system promises and what is left out.
///
/// Exit codes: 0 done, 1 something went wrong, 2 usage or a missing program, 130 stopped by Ctrl-C.
#[derive(Clone, Debug, Parser)]
#[command(name = "compare", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Which systems, in the order of their turns [default: all five, in this order]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum, default_values_t = System::ALL, hide_default_value = true)]
    pub(crate) systems: Vec<System>,
    /// Go on without systems whose programs are missing
    #[arg(long)]
    pub(crate) skip_missing: bool,
    /// See that all of it works: one short round with few keys and rows, whose figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often each system has its turn: 1 to 100 [default: 3, with --quick 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How often what only the plots need is measured: 0 to 100 [default: 0, with --write 1]
    ///
    /// More numbers of clients, 1 and 3 replicas, values of 10 to 10,000 bytes, 1,000 to 1,000,000 keys.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=100))]
    sweep_rounds: Option<u32>,
    /// How long each row is measured: 0.1 to 3600 [default: 5, with --quick 1]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    seconds: Option<f64>,
    /// How long each row is warmed up: 0.1 to 3600 [default: 1, with --quick 0.3]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    warm_up: Option<f64>,
    /// Rows with so many clients, each with one request outstanding: each 1 to 1000 [default: 1,64,256, with --quick 64]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: Vec<u32>,
    /// How many keys there are: 1 to 10000000 [default: 100000, with --quick 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: Option<u32>,
    /// How long values are: 1 to 100000
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) value_bytes: u32,
    /// Where servers keep their files while they run; it must be on a disk [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Write every measurement to this file, one JSON object a line [default: compare.jsonl beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// Measure nothing: print, and with --write write, what a file of --results holds
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Write table and plots to the documentation, too
    #[arg(long, conflicts_with = "quick")]
    pub(crate) write: bool,
    /// Where BENCHMARKS.md is, which --write changes between its markers, and the folder of the plots
    #[arg(
        long,
        value_name = "DIR",
        default_value = "docs",
        overrides_with = "docs"
    )]
    pub(crate) docs: PathBuf,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be a number from 0.1 to 3600".to_owned()),
    }
}

impl Arguments {
    fn choose<T>(&self, given: Option<T>, default: T, quick: T) -> T {
        given.unwrap_or(if self.quick { quick } else { default })
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.choose(self.rounds, 3, 1)
    }

    pub(crate) fn sweep_rounds(&self) -> u32 {
        self.sweep_rounds.unwrap_or_else(|| u32::from(self.write))
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.choose(self.seconds, 5.0, 1.0)
    }

    pub(crate) fn warm_up(&self) -> f64 {
        self.choose(self.warm_up, 1.0, 0.3)
    }

    pub(crate) fn clients(&self) -> Vec<u32> {
        let given = (!self.clients.is_empty()).then(|| self.clients.clone());
        self.choose(given, vec![1, 64, 256], vec![64])
    }

    pub(crate) fn keys(&self) -> u32 {
        self.choose(self.keys, 100_000, 1_000)
    }

    /// # Errors
    /// A list names something twice.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        for (at, system) in self.systems.iter().enumerate() {
            if self.systems[..at].contains(system) {
                let reason = format!("--systems names {} twice", system.name());
                return Err(Trouble::Usage(reason));
            }
        }
        for (at, clients) in self.clients.iter().enumerate() {
            if self.clients[..at].contains(clients) {
                return Err(Trouble::Usage(format!("--clients names {clients} twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn quick_changes_what_is_not_given() {
        let usual = Arguments::parse_from(["compare"]);
        assert_eq!(
            (usual.rounds(), usual.keys(), usual.sweep_rounds()),
            (3, 100_000, 0)
        );
        let quick = Arguments::parse_from(["compare", "--quick", "--rounds", "2"]);
        assert_eq!((quick.rounds(), quick.keys()), (2, 1_000));
        assert_eq!(quick.clients(), [64]);
        let written = Arguments::parse_from(["compare", "--write"]);
        assert_eq!(written.sweep_rounds(), 1);
    }

    #[test]
    fn what_is_named_twice_is_refused() {
        for list in [["--systems", "etcd,redis,etcd"], ["--clients", "1,2,1"]] {
            let arguments = Arguments::parse_from([&["compare"], &list[..]].concat());
            let trouble = arguments.check().unwrap_err();
            assert!(trouble.to_string().contains("twice"), "{trouble}");
        }
        Arguments::parse_from(["compare"]).check().unwrap();
    }
}
