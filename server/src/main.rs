//! The binary: reads the command line, starts the log and a server, and stops it when told.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use kvpaxos_server::args::{Arguments, VERSION_TEXT, is_loopback};
use kvpaxos_server::config::Config;
use kvpaxos_server::health::ask_status;
use kvpaxos_server::journal_thread::Fatal;
use kvpaxos_server::logging::Logging;
use kvpaxos_server::server::{Listeners, Server, ServerError};
use signal_hook::consts::{SIGINT, SIGTERM};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("kvpaxos-server: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if arguments.health {
        return health(&arguments.tcp);
    }
    let logging = match Logging::start(arguments.log_level, arguments.log_file.as_deref()) {
        Ok(logging) => logging,
        Err(error) => {
            let file = arguments.log_file.unwrap_or_default();
            eprintln!(
                "kvpaxos-server: cannot write the log {}: {error}",
                file.display()
            );
            return ExitCode::FAILURE;
        }
    };
    logging.stop_process_on_panic();
    let result = serve(&config, &logging);
    if let Err(error) = &result {
        log::error!("{error}");
        logging.flush();
        if arguments.log_file.is_some() {
            eprintln!("kvpaxos-server: {error}");
        }
    }
    logging.flush();
    if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn serve(config: &Config, logging: &Logging) -> Result<(), ServerError> {
    let mut signals = watch_signals()?;
    log_start(config);
    let connections_max = raise_descriptor_limit(config.connections_max);
    let config = Config {
        connections_max,
        ..config.clone()
    };
    let listeners = Listeners::bind(&config)?;
    let last_words = logging.clone();
    let fatal = Fatal::new(move |why| {
        log::error!("{why}");
        last_words.flush();
        std::process::exit(1);
    });
    let server = Server::start(&config, listeners, fatal)?;
    log::info!("clients are served at {}", server.client_address());
    if let Some(address) = server.datagram_address() {
        log::info!("clients are served over UDP at {address}");
    }
    if let Some(address) = server.peer_address() {
        log::info!("the other replicas are awaited at {address}");
    }
    wait_for_signal(&mut signals);
    log::info!("this replica stops");
    let last_words = logging.clone();
    limit_stopping(STOPPING_MAX, move |why| {
        log::warn!("{why}");
        last_words.flush();
        std::process::exit(0);
    });
    server.stop();
    log::info!("this replica has stopped");
    Ok(())
}

fn log_start(config: &Config) {
    let members = match config.members.as_slice() {
        [_] => "itself alone".to_owned(),
        members => members
            .iter()
            .map(|member| format!("{}={}", member.id.0, member.address))
            .collect::<Vec<String>>()
            .join(","),
    };
    let data = match &config.data {
        Some(data) => {
            let absolute = std::path::absolute(data).unwrap_or_else(|_| data.clone());
            format!("data in {}", absolute.display())
        }
        None => "without a disk: nothing is written, and after a restart it is blank".to_owned(),
    };
    log::info!(
        "kvpaxos-server {}: {} of {members}, {data}",
        *VERSION_TEXT,
        config.replica
    );
    let others = [
        config.datagram_address.as_deref(),
        config.peer_listen_address(),
    ];
    for address in
        std::iter::once(config.client_address.as_str()).chain(others.into_iter().flatten())
    {
        if is_loopback(address) {
            continue;
        }
        if is_in_container() {
            log::info!(
                "{address} can be reached on this container's networks, and from other machines where the port is \
                 published"
            );
        } else {
            log::warn!(
                "{address} can be reached from other machines, and whoever reaches it is served: there are no \
                 passwords yet"
            );
        }
    }
}

/// Docker and Podman leave a file that says so. In a container every address is that of the container, and whether other
/// machines reach it is decided outside.
fn is_in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|file| Path::new(file).exists())
}

/// Asks for descriptors for all connections; returns how many connections there can be.
fn raise_descriptor_limit(connections_max: usize) -> usize {
    let wanted = connections_max as u64 + KEPT_DESCRIPTORS;
    let limit = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    let possible = usize::try_from(limit.saturating_sub(KEPT_DESCRIPTORS)).unwrap_or(usize::MAX);
    if possible < connections_max {
        log::warn!(
            "this process may have {limit} descriptors, so at most {possible} of {connections_max} connections"
        );
    }
    possible.min(connections_max)
}

/// The signal handler writes a byte to the other end.
fn watch_signals() -> Result<UnixStream, ServerError> {
    let (signals, handler) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
    }
    Ok(signals)
}

fn wait_for_signal(signals: &mut UnixStream) {
    let mut byte = [0];
    while signals
        .read(&mut byte)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted)
    {}
}

/// A disk that stands still must not keep the process: what was answered is durable at a majority already.
fn limit_stopping(wait_max: Duration, end: impl FnOnce(&str) + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(wait_max);
        end("some thread did not stop in time");
    });
}

fn health(address: &str) -> ExitCode {
    match ask_status(address) {
        Ok(report) if report.serving => {
            println!("r{} serves", report.replica);
            ExitCode::SUCCESS
        }
        Ok(report) => {
            println!("r{} does not serve: {}", report.replica, report.remark);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("kvpaxos-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Exit code for arguments that do not fit together; clap uses it too.
const USAGE: u8 = 2;
/// Descriptors for peers, files and the threads' own.
const KEPT_DESCRIPTORS: u64 = 64;
const STOPPING_MAX: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_waits_too_long_for_threads_ends_without_them() {
        let (ended, end) = channel();
        limit_stopping(Duration::ZERO, move |why| {
            ended.send(why.to_owned()).unwrap();
        });
        assert_eq!(end.recv().unwrap(), "some thread did not stop in time");
    }
}
