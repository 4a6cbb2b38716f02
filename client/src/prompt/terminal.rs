//! The prompt on a terminal: a line editor, and beside it what it remembers and what it sees of the cluster.

use std::env;
use std::io::{self, IsTerminal};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Behavior, Cmd, ColorMode, CompletionType, Config, Editor, KeyEvent};

use super::assistant::Assistant;
use super::history::{HISTORY_LINES_MAX, HistoryFile, is_kept};
use super::lookout::Lookout;
use super::{Next, carry_out};
use crate::args::PromptArguments;
use crate::console::Console;
use crate::exit::Failure;

/// The line editor with its helper.
pub(super) type LineEditor = Editor<Assistant, FileHistory>;

/// Carries out what is typed until EXIT or Ctrl-D.
///
/// # Errors
/// The terminal does not work, or nobody reads the answers.
pub(super) fn run(console: &mut Console, arguments: &PromptArguments) -> Result<(), Failure> {
    console.explain_on_terminal();
    console.stop_waiting_on_interrupt()?;
    let mut lookout = Lookout::new(console.client_options());
    let mut editor = editor()?;
    let mut history = HistoryFile::of(arguments);
    if let Err(error) = history.load(&mut editor) {
        console.remark(&error)?;
    }
    loop {
        let view = lookout.look();
        if lookout.is_another_cluster() {
            console.remark("-- this is another cluster than before, with other data")?;
        }
        let prompt = view.to_string();
        assistant(&mut editor).set_tone(view.tone());
        match editor.readline(&prompt) {
            Ok(line) => {
                if is_kept(&line)
                    && editor.add_history_entry(&line)?
                    && let Err(error) = history.append(&mut editor)
                {
                    console.remark(&error)?;
                }
                // What is pasted may be several commands.
                for command in line.lines() {
                    assistant(&mut editor).note(command);
                    if carry_out(console, command.as_bytes())? == Next::Leave {
                        return Ok(());
                    }
                    if console.is_interrupted() {
                        break;
                    }
                }
            }
            // Else the line would look like one that was entered and not answered.
            Err(ReadlineError::Interrupted) => console.remark("^C")?,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Io(error)) => return Err(Failure::Output(error)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn editor() -> Result<LineEditor, Failure> {
    let has_colours = !is_set("NO_COLOR");
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .color_mode(if has_colours {
            ColorMode::Enabled
        } else {
            ColorMode::Disabled
        })
        .behavior(if io::stdout().is_terminal() {
            Behavior::Stdio
        } else {
            // Only answers go where the output goes; whoever types still sees what is typed.
            Behavior::PreferTerm
        })
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant::new(has_colours)));
    // What a terminal makes of a Ctrl-D that was typed while no line was being read.
    editor.bind_sequence(KeyEvent::ctrl('@'), Cmd::EndOfFile);
    Ok(editor)
}

fn assistant(editor: &mut LineEditor) -> &mut Assistant {
    editor.helper_mut().expect("it was set with the editor")
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}
