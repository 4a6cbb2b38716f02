//! What a replica that does not serve says of it.

use std::thread;
use std::time::{Duration, Instant};

use common::StatusReport;
use crossbeam_channel::unbounded;
use kvpaxos_server::health::ask_status;
use kvpaxos_server::server::Server;
use kvpaxos_server::settings::GivenSettings;

use crate::settings::{config, directory, port, start};

/// Asks until the answer is as wanted.
fn wait_for(server: &Server, wanted: impl Fn(&StatusReport) -> bool) -> StatusReport {
    let address = server.client_address().to_string();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = ask_status(&address).unwrap();
        if wanted(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_hears_too_few_says_so() {
    let (directory, ports) = (directory(), [port(), port(), port()]);
    let (last_words, _ends) = unbounded();
    let config = |id| config(id, &ports, directory.path(), GivenSettings::default());
    let first = start(&config(0), &ports, &last_words);
    let said = "the cluster begins when all 3 members have heard of each other; this one hears 1, itself included";
    wait_for(&first, |report| report.remark == said);
    let others = [1, 2].map(|id| start(&config(id), &ports, &last_words));
    let report = wait_for(&first, |report| report.serving);
    assert_eq!(report.remark, "");
    others.into_iter().for_each(Server::stop);
    wait_for(&first, |report| {
        report.remark.starts_with("hears ")
            && report.remark.ends_with(" of 3 members, and no leader yet")
    });
    let said = "hears 1 of 3 members, itself included; 2 are needed";
    let report = wait_for(&first, |report| report.remark == said);
    assert!(!report.serving);
    first.stop();
}
