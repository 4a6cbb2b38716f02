//! The command-line client of kvpaxos: one command, a prompt, the demo, a load generator and a judge of what it saw, or the
//! cluster's status.

mod args;
mod bench;
mod console;
mod demo;
mod exit;
mod language;
mod logging;
mod manual;
mod prompt;
mod render;
mod status;
mod verdict;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use kvpaxos_client::{Client, ClientOptions, Operation};

use args::{Arguments, Command};
use console::Console;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = match run(arguments) {
        Ok(exit) => exit,
        // Who reads our output has gone: there is nobody to tell, and it is no mistake.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(failure) => {
            console::complain(&failure);
            failure.exit()
        }
    };
    exit.into()
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let options = arguments.client_options()?;
    logging::start(&arguments)?;
    let json = arguments.json;
    match arguments.command {
        Command::Status => status::run(&options, json),
        Command::Bench(bench) => bench::run(options, &bench, json),
        Command::Check(check) => verdict::run(&check, json),
        Command::Completions { shell } => print_completions(shell),
        Command::Repl(given) => prompt::run(&mut Console::new(Client::new(options)?, json), &given),
        Command::Demo(given) => {
            let mut console = Console::new(Client::new(options)?, json);
            demo::run(&mut console)?;
            prompt::introduce(&console)?;
            prompt::run(&mut console, &given)
        }
        Command::Get { key, raw } => {
            let operation = Operation::Get {
                key: args::bytes(key),
            };
            single(options, json, raw, operation)
        }
        Command::Put { key, value } => {
            let operation = Operation::Put {
                key: args::bytes(key),
                value: value_bytes(value)?,
            };
            single(options, json, false, operation)
        }
        Command::Append { key, value } => {
            let operation = Operation::Append {
                key: args::bytes(key),
                value: value_bytes(value)?,
            };
            single(options, json, false, operation)
        }
        Command::Delete { key } => {
            let operation = Operation::Delete {
                key: args::bytes(key),
            };
            single(options, json, false, operation)
        }
    }
}

/// Runs one command of the command line.
fn single(
    options: ClientOptions,
    json: bool,
    raw: bool,
    operation: Operation,
) -> Result<Exit, Failure> {
    let mut console = Console::new(Client::new(options)?, json);
    console.set_single(raw);
    console.perform(operation)
}

/// Prints what makes a shell complete this program's words.
fn print_completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

/// A value of the command line; `-` stands for all of standard input.
fn value_bytes(value: std::ffi::OsString) -> Result<Vec<u8>, Failure> {
    if value != "-" {
        return Ok(args::bytes(value));
    }
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("reading the value from the terminal; Ctrl-D ends it");
    }
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).map_err(Failure::Input)?;
    Ok(bytes)
}
