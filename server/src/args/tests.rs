//! What the command line becomes, and what it is refused for.

use clap::CommandFactory;

use super::*;

fn config(arguments: &[&str]) -> Result<Config, ArgumentsError> {
    let all = std::iter::once("kvpaxos-server").chain(arguments.iter().copied());
    Arguments::try_parse_from(all).unwrap().config()
}

#[test]
fn the_flags_are_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn without_arguments_it_is_a_cluster_of_one() {
    let config = config(&[]).unwrap();
    assert_eq!(config.replica, ReplicaId(0));
    assert_eq!(config.members.len(), 1);
    assert_eq!(config.peer_listen_address(), None);
    assert_eq!(config.client_address, "127.0.0.1:1111");
    assert_eq!(config.datagram_address.as_deref(), Some("127.0.0.1:5555"));
    assert_eq!(config.datagram_bytes_max, 1_200);
    assert_eq!(config.no_quorum_after, Duration::from_secs(5));
    assert_eq!(config.data, Some("./kvpaxos-data".into()));
}

#[test]
fn settings_of_the_cluster_are_given_or_not() {
    assert_eq!(config(&[]).unwrap().cluster, GivenSettings::default());
    let given = ["--session-expiry", "90m", "--hash-interval", "16"];
    let cluster = config(&given).unwrap().cluster;
    assert_eq!(cluster.session_expiry_s, Some(5_400));
    assert_eq!(cluster.hash_interval, Some(16));
    let same = config(&["--session-expiry", "5400"]).unwrap().cluster;
    assert_eq!(same.session_expiry_s, Some(5_400));
    for (flag, value) in [("--session-expiry", "10ms"), ("--hash-interval", "1")] {
        assert!(Arguments::try_parse_from(["kvpaxos-server", flag, value]).is_err());
    }
}

#[test]
fn datagrams_can_be_bounded_and_done_without() {
    let bounded = config(&["--udp", "none", "--datagram-bytes-max", "65507"]).unwrap();
    assert_eq!(bounded.datagram_address, None);
    assert_eq!(bounded.datagram_bytes_max, 65_507);
    for bytes in ["511", "65508"] {
        let arguments = ["kvpaxos-server", "--datagram-bytes-max", bytes];
        assert!(Arguments::try_parse_from(arguments).is_err());
    }
}

#[test]
fn members_are_sorted_and_the_own_address_is_listened_at() {
    let config = config(&["--id", "1", "--members", "1=b:7112,0=a:7111"]).unwrap();
    assert_eq!(config.members[0].address, "a:7111");
    assert_eq!(config.peer_listen_address(), Some("b:7112"));
}

#[test]
fn what_does_not_fit_together_is_said_in_a_sentence() {
    let cases: [(&[&str], &str); 10] = [
        (&["--members", "0=a:1,0=b:2"], "replica 0 is listed twice"),
        (
            &["--id", "2", "--members", "0=a:1,1=b:2"],
            "replica 2, which --id says that this one is, is not listed",
        ),
        (&["--id", "2"], "--id 2 needs --members"),
        (&["--members", "0=a"], "\"0=a\" is not of the form"),
        (&["--members", "256=a:1"], "\"256=a:1\" is not of the form"),
        (&["--tcp", "1111"], "--tcp: \"1111\" is not of the form"),
        (&["--tcp", "a:99999"], "with a port from 0 to 65535"),
        (&["--memory", "--data", "x"], "give one of the two"),
        (
            &["--memory", "--fail-roles", "learner"],
            "starts from the disk, and there is none",
        ),
        (&["--udp", "no"], "--udp: \"no\" is not of the form"),
    ];
    for (arguments, part) in cases {
        let said = config(arguments).unwrap_err().to_string();
        assert!(said.contains(part), "{said:?} should contain {part:?}");
    }
}

#[test]
fn a_value_that_cannot_be_read_is_refused_in_words() {
    for (flag, value, part) in [
        ("--id", "x", "an id is a number from 0 to 255"),
        (
            "--log-level",
            "loud",
            "[possible values: off, error, warn, info, debug, trace]",
        ),
        ("--no-quorum-after", "-1s", "a time is a number with a unit"),
        ("--fail-every", "abc..6s", "a time is a number with a unit"),
        ("--session-expiry", "soon", "a time is a number with a unit"),
        ("--connections-max", "0", "0 is not in 1.."),
    ] {
        let arguments = ["kvpaxos-server", flag, value];
        let said = Arguments::try_parse_from(arguments)
            .unwrap_err()
            .to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn help_fits_and_shows_bounds() {
    let help = Arguments::command()
        .term_width(80)
        .render_long_help()
        .to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for bounds in ["1 to 64", "512 to 65507", "1 to 67108864", "0 to 255"] {
        assert!(help.contains(bounds), "{bounds}");
    }
}

#[test]
fn loopback_is_told_from_the_rest() {
    for address in ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:0"] {
        assert!(is_loopback(address), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "server:1"] {
        assert!(!is_loopback(address), "{address}");
    }
}

#[test]
fn without_a_disk_there_is_no_directory() {
    assert_eq!(config(&["--memory"]).unwrap().data, None);
    let named = config(&["--data", "x"]).unwrap();
    assert_eq!(named.data, Some("x".into()));
}

/// The page for whoever runs servers.
const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");

#[test]
fn the_page_has_every_flag_with_its_variable_and_default() {
    let command = Arguments::command();
    let mut rows = Vec::new();
    for flag in command.get_arguments() {
        let word = |text: Option<String>| {
            text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"))
        };
        let name = flag.get_long().expect("every argument is a flag");
        let variable = flag.get_env().map(|name| name.to_str().unwrap().to_owned());
        let default = flag.get_default_values().first();
        let default = default.filter(|_| flag.get_action().takes_values());
        let default = word(default.map(|value| value.to_str().unwrap().to_owned()));
        rows.push(format!("| `--{name}` | {} | {default} | ", word(variable)));
    }
    assert!(rows.len() > 20, "{rows:?}");
    for row in &rows {
        let lines = OPERATIONS.lines().filter(|line| line.starts_with(row));
        assert_eq!(lines.count(), 1, "{row}");
    }
    let flags_on_the_page = OPERATIONS.lines().filter(|line| {
        line.starts_with("| `--") && line.matches(" | ").count() == 3 && !line.contains("ID=")
    });
    assert_eq!(flags_on_the_page.count(), rows.len());
}
