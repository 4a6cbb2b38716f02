//! The prompt: lines from a terminal or a pipe, carried out one after the other.

mod assistant;
mod history;
mod lookout;
mod terminal;

use std::io::{self, BufRead, IsTerminal, Read};

use crate::args::PromptArguments;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::language::{self, Line};
use crate::manual;

/// A line from a pipe may be so long: a value of 8 MiB of which every byte is written as `\xHH`, and its key.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Prints what can be typed, as the demo does before the prompt.
pub(crate) fn introduce(console: &Console) -> Result<(), Failure> {
    console.remark(
        "Enter command (PUT key value / GET key / APPEND key value / DELETE key / HELP / EXIT): ",
    )
}

/// Carries out commands until EXIT or the end of input.
pub(crate) fn run(console: &mut Console, arguments: &PromptArguments) -> Result<Exit, Failure> {
    if io::stdin().is_terminal() {
        terminal::run(console, arguments)?;
    } else {
        run_on_pipe(console)?;
    }
    Ok(console.exit())
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

fn run_on_pipe(console: &mut Console) -> Result<(), Failure> {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = stdin.by_ref().take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(Failure::Input)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            console.show_usage("a line is longer than 64 MiB; put KEY - reads a long value")?;
            return Ok(());
        }
        if carry_out(console, &line)? == Next::Leave {
            return Ok(());
        }
    }
}

fn carry_out(console: &mut Console, line: &[u8]) -> Result<Next, Failure> {
    match language::parse(line) {
        Ok(Line::Empty) => {}
        Ok(Line::Operation(operation)) => {
            console.perform(operation)?;
        }
        Ok(Line::Help(None)) => console.remark(&manual::overview())?,
        Ok(Line::Help(Some(entry))) => console.remark(&entry.page())?,
        Ok(Line::Status) => console.show_status()?,
        Ok(Line::Timing(on)) => {
            let state = if console.set_timing(on) { "on" } else { "off" };
            console.remark(&format!("timing is {state}"))?;
        }
        Ok(Line::Exit) => return Ok(Next::Leave),
        Err(reason) => console.show_usage(&reason)?,
    }
    Ok(Next::Line)
}
