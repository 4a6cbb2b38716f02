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

use clap_complete::Shell;
use kvpaxos_client::{Client, ClientOptions, Operation};

use args::{Arguments, Command, NAME};
use console::Console;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
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
    let options = arguments.common.client_options()?;
    logging::start(&arguments.common)?;
    let json = arguments.common.json;
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
    if shell == Shell::Bash {
        // clap_complete spells a hyphen of the name in two ways in its script for bash, which then finds no command of the
        // program. So it is told a name without one, and the name under which the script registers itself is put right.
        const STAND_IN: &str = "kvpaxos_client";
        let mut command = args::command(STAND_IN);
        clap_complete::generate(shell, &mut command, STAND_IN, &mut script);
        let text = String::from_utf8(script).expect("what clap knows is text");
        script = text
            .replace(
                &format!(" -o default {STAND_IN}\n"),
                &format!(" -o default {NAME}\n"),
            )
            .into_bytes();
    } else {
        clap_complete::generate(shell, &mut args::command(NAME), NAME, &mut script);
    }
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
