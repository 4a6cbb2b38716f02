//! The commands of the prompt, and what HELP says of them.

use std::fmt::Write;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is shown; it can be typed in any case.
    pub(crate) name: &'static str,
    /// The words that follow it.
    pub(crate) words: &'static str,
    /// What it does, in a line.
    summary: &'static str,
    /// What else there is to know, line by line.
    more: &'static [&'static str],
    /// What is typed, and what is answered.
    pub(crate) example: &'static [(&'static str, &'static str)],
}

/// All commands, in the order in which HELP lists them.
pub(crate) const COMMANDS: [Entry; 8] = [
    Entry {
        name: "PUT",
        words: "key value",
        summary: "replace the value of a key",
        more: &[
            "The key need not be there. The answer is the revision of this change: the",
            "cluster counts all changes, and the opening of each client's session as one,",
            "so that revisions skip where somebody else wrote, or came.",
            "A write without an answer may still run, until a later one of this prompt is",
            "answered. From then on GET tells for certain whether it ran.",
        ],
        example: &[
            ("PUT colour blue", "OK revision=12"),
            (r#"PUT greeting "hello, world""#, "OK revision=13"),
        ],
    },
    Entry {
        name: "GET",
        words: "key",
        summary: "read a key; (absent) if there is none",
        more: &["It sees every write that was answered before it was asked."],
        example: &[("GET colour", "blue"), ("GET nothing", "(absent)")],
    },
    Entry {
        name: "APPEND",
        words: "key value",
        summary: "add to the end of a value; a PUT where the key is absent",
        more: &["The answer has the length of the value after it, in bytes."],
        example: &[("APPEND colour -green", "OK length=10 revision=14")],
    },
    Entry {
        name: "DELETE",
        words: "key",
        summary: "remove a key; (absent) if there was none",
        more: &[],
        example: &[("DELETE colour", "OK deleted revision=15")],
    },
    Entry {
        name: ".status",
        words: "",
        summary: "show every replica",
        more: &[
            "Each is asked by itself, and answers at once or not at all.",
            STATUS_LEGEND,
        ],
        example: &[(
            ".status",
            "id  address         serving  role      leader ...",
        )],
    },
    Entry {
        name: ".timing",
        words: "[on|off]",
        summary: "show how long each answer took, or stop showing it",
        more: &["Without a word it changes from one to the other."],
        example: &[
            (".timing on", "timing is on"),
            ("GET colour", "blue  (0.412 ms)"),
        ],
    },
    Entry {
        name: "HELP",
        words: "[command]",
        summary: "show this, or more about one command, with an example",
        more: &[],
        example: &[("HELP PUT", "PUT key value ...")],
    },
    Entry {
        name: "EXIT",
        words: "",
        summary: "leave; so does Ctrl-D",
        more: &[],
        example: &[("EXIT", "")],
    },
];

/// What each word of the table of replicas means.
const STATUS_LEGEND: &str = "\
serving   whether it would answer now; where it says no, a line below tells why
role      leader; follower; candidate: asks to be followed; blank: lost its
          memory, learns and has no vote; founding: the cluster has not begun
leader    who leads, as far as this replica has heard
ballot    the highest it has promised: the number of an attempt to lead, and who
          made it. A follower promises a leader's with the first write after it
chosen    how many places of the log it knows to be decided; one place holds the
          commands of many clients
applied   how many of them are in its data
keys      how many keys there are
sessions  how many clients are remembered, so that a retry never runs twice
revision  how many changes there were: each write, and each session's opening
journal   its log on disk, with room taken beforehand
state     a hash of all data, and after how many places of the log that was: the
          same on all replicas that show the same number there
snapshot  the log below it is also on disk as a snapshot
datagrams how many came over UDP; answered; junk: not understood; cookies: first
          had to show that their sender's address is true";

/// How wide the list has its first column.
const FORM_WIDTH: usize = 18;

/// The command of this name, in any case.
pub(crate) fn entry(name: &[u8]) -> Option<&'static Entry> {
    COMMANDS
        .iter()
        .find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
}

/// What `status --help` says.
pub(crate) fn status_help() -> String {
    format!(
        "Show every replica\n\n\
         Each is asked by itself, and answers at once or not at all, within a second.\n\n\
         Exit codes: 0 if any replica answers, whether it serves or not; 4 if none does. In\n\
         scripts, look at \"serving\" in the output of --json.\n\n{STATUS_LEGEND}"
    )
}

/// What HELP prints.
pub(crate) fn overview() -> String {
    let mut text = String::new();
    for entry in &COMMANDS {
        writeln!(text, "{:FORM_WIDTH$}  {}", entry.form(), entry.summary)
            .expect("a string takes all");
    }
    text.push_str(
        "Words with spaces or other special bytes stand between quotes: \"a b\", with\n\
         \\n \\t \\\\ \\\" and \\xHH, or 'a b', in which nothing is special. Ctrl-C cancels a\n\
         line, and stops waiting for an answer. HELP PUT shows more about PUT.",
    );
    text
}

impl Entry {
    /// How it is typed.
    fn form(&self) -> String {
        [self.name, self.words].join(" ").trim_end().to_owned()
    }

    /// What HELP with its name prints.
    pub(crate) fn page(&self) -> String {
        let mut text = format!("{}: {}.\n", self.form(), self.summary);
        for line in self.more {
            text.push_str(line);
            text.push('\n');
        }
        for (typed, answer) in self.example {
            write!(text, "  > {typed}\n  {answer}\n").expect("a string takes all");
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language;

    #[test]
    fn every_example_can_be_typed_and_shows_its_command() {
        for entry in &COMMANDS {
            let mut shows_itself = false;
            for (typed, _) in entry.example {
                language::parse(typed.as_bytes()).unwrap();
                shows_itself |= typed.starts_with(entry.name);
            }
            assert!(shows_itself, "{}", entry.name);
        }
    }

    #[test]
    fn nothing_is_wider_than_a_terminal() {
        let pages: Vec<String> = COMMANDS.iter().map(Entry::page).collect();
        for line in overview()
            .lines()
            .chain(pages.iter().flat_map(|page| page.lines()))
        {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }
}
