//! The client's log: one line an event, with UTC date and milliseconds (SPEC C3, F3).

use std::fs::OpenOptions;
use std::io::{self, LineWriter, Write};

use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger, format_description};

use crate::args::CommonArguments;
use crate::exit::Failure;

/// Starts the log if a file or a level was asked for.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn start(arguments: &CommonArguments) -> Result<(), Failure> {
    let target: Box<dyn Write + Send> = match &arguments.log_file {
        Some(file) => {
            let opened = OpenOptions::new().create(true).append(true).open(file);
            let opened = opened.map_err(|error| Failure::Log {
                file: file.display().to_string(),
                error,
            })?;
            Box::new(LineWriter::new(opened))
        }
        None if arguments.log_level.is_some() => Box::new(io::stderr()),
        None => return Ok(()),
    };
    let config = ConfigBuilder::new()
        .set_time_format_custom(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .set_time_level(LevelFilter::Error)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str("kvpaxos_client")
        .build();
    let level = arguments.log_level.unwrap_or(LevelFilter::Info);
    WriteLogger::init(level, config, target).expect("the log is started once");
    Ok(())
}
