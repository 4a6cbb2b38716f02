//! Measures kvpaxos beside etcd and Redis on one machine, in turn, in one run.
//!
//! Absolute figures drift from hour to hour, so each round gives every system its turn, and ours is compared with what the
//! others did in the same round. Every measurement is one line of JSON in a file; tables and plots are made of such lines
//! alone, and so can be made again without measuring.

mod arguments;
mod charts;
mod children;
mod cluster;
mod cpu;
mod etcd;
mod kvpaxos;
mod machine;
mod page;
mod plan;
mod plots;
mod ports;
mod programs;
mod record;
mod redis;
mod run;
mod statistics;
mod system;
mod table;
mod trouble;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use record::Record;
use trouble::Trouble;

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("compare: {trouble}");
            trouble.exit_code()
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), Trouble> {
    let record = match &arguments.from {
        Some(file) => Record::read(file)?,
        None => run::run(arguments)?,
    };
    print!("{}", table::report(&record));
    if arguments.write {
        page::write(&arguments.docs, &record)?;
    }
    Ok(())
}
