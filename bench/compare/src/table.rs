//! Tables, in Markdown that is also read easily as it stands.

use std::fmt::Write;

use crate::machine::Machine;
use crate::plan::{Purpose, Setting, Work};
use crate::record::{Measurement, Record};
use crate::statistics::Summary;
use crate::system::System;

const HEADER: [&str; 7] = [
    "clients",
    "system",
    "ops/s, median (min..max)",
    "kvpaxos / it",
    "p50",
    "p99",
    "server CPU/op",
];

/// The machine, one table for each operation, and what went wrong.
pub(crate) fn report(record: &Record) -> String {
    let base = record.base();
    let mut text = machine_lines(&record.machine, base);
    let mut works: Vec<Work> = rows(record).map(|measurement| measurement.work).collect();
    works.sort();
    works.dedup();
    for of_one_operation in works.chunk_by(|one, other| one.operation == other.operation) {
        let name = of_one_operation[0].operation.name().to_uppercase();
        let table = table(record, base, of_one_operation);
        write!(text, "\n**{name}**\n\n{table}").expect("a String takes all");
    }
    text + &errors(record)
}

/// What the table is made of.
fn rows(record: &Record) -> impl Iterator<Item = &Measurement> {
    let all = record.measurements.iter();
    all.filter(|measurement| measurement.purpose == Purpose::Table)
}

fn machine_lines(machine: &Machine, base: Setting) -> String {
    let versions = machine.versions.iter();
    let versions: Vec<String> = versions
        .map(|(system, version)| format!("{} {version}", system.name()))
        .collect();
    format!(
        "{}: {}, {} cores, {} GiB, Linux {}; a synced write of 4 KiB takes {}, load before the run {:.2}.\n\
         {}.\n\
         {} replicas, values of {} bytes, {} keys, {} s a row after {} s of warm-up.\n",
        machine.date,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        time(machine.sync_us),
        machine.load_before,
        versions.join(", "),
        base.replicas,
        grouped(f64::from(base.value_bytes)),
        grouped(f64::from(base.keys)),
        machine.seconds,
        machine.warm_up_seconds,
    )
}

/// One operation: for each number of clients a line of each system.
fn table(record: &Record, base: Setting, works: &[Work]) -> String {
    let mut lines = vec![HEADER.map(str::to_owned)];
    for &work in works {
        let mut clients = clients(work);
        for system in System::ALL {
            lines.extend(line(record, base, work, system).map(|cells| {
                let [ops, ratio, p50, p99, cpu] = cells;
                let clients = std::mem::take(&mut clients);
                [
                    clients,
                    system.title().to_owned(),
                    ops,
                    ratio,
                    p50,
                    p99,
                    cpu,
                ]
            }));
        }
    }
    aligned(&lines)
}

fn line(record: &Record, base: Setting, work: Work, system: System) -> Option<[String; 5]> {
    let median = |figure: fn(&Measurement) -> f64| {
        let summary = record.summary(system, base, work, figure);
        summary.map(|summary| summary.median)
    };
    let ops = record.summary(system, base, work, |one| one.report.ops_per_s)?;
    let ratio = match system {
        System::Kvpaxos => None,
        _ => record.ratio(system, base, work),
    };
    Some([
        spread(ops, grouped),
        ratio.map_or_else(|| "-".to_owned(), |ratio| spread(ratio, ratio_text)),
        time(median(|one| one.report.p50_us)?),
        time(median(|one| one.report.p99_us)?),
        time(median(|one| one.cpu_us_per_op)?),
    ])
}

fn clients(work: Work) -> String {
    match work.pipeline {
        1 => work.clients.to_string(),
        pipeline => format!("{} x {pipeline}", work.clients),
    }
}

/// The median, and where there were more rounds than one, what lies around it.
fn spread(summary: Summary, text: fn(f64) -> String) -> String {
    let Summary { median, min, max } = summary;
    if min == max {
        return text(median);
    }
    format!("{} ({}..{})", text(median), text(min), text(max))
}

fn ratio_text(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// A whole number, its thousands apart.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the unit that suits it, from microseconds.
pub(crate) fn time(us: f64) -> String {
    match us {
        _ if us < 10.0 => format!("{us:.1} µs"),
        _ if us < 1_000.0 => format!("{us:.0} µs"),
        _ if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 100_000.0 => format!("{:.1} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

/// The first line is the header; all but the second column are figures and stand to the right.
fn aligned(lines: &[[String; 7]]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for ((column, cell), &width) in line.iter().enumerate().zip(&widths) {
            let cell = if column == 1 {
                format!("{cell:width$}")
            } else {
                format!("{cell:>width$}")
            };
            write!(text, "| {cell} ").expect("a String takes all");
        }
        text.push_str("|\n");
        if at == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let (dashes, end) = ("-".repeat(width + 1), if column == 1 { '-' } else { ':' });
                write!(text, "|{dashes}{end}").expect("a String takes all");
            }
            text.push_str("|\n");
        }
    }
    text
}

fn errors(record: &Record) -> String {
    let failed = record
        .measurements
        .iter()
        .filter(|one| one.report.errors > 0);
    let lines = failed.map(|one| {
        format!(
            "\n{}, {}, round {}: {} operations failed, the first with: {}\n",
            one.system.title(),
            one.work,
            one.round,
            grouped(one.report.errors as f64),
            one.report
                .first_error
                .as_deref()
                .unwrap_or("no reason given"),
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{measurement, record};

    #[test]
    fn numbers_and_times_read_well() {
        let numbers = [0.0, 999.4, 999.6, 1_234_567.0].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
        let times = [0.04, 12.3, 1_670.0, 77_000.0, 222_000.0, 1.5e6].map(time);
        assert_eq!(
            times,
            ["0.0 µs", "12 µs", "1.67 ms", "77.0 ms", "222 ms", "1.5 s"]
        );
    }

    #[test]
    fn a_table_has_medians_spreads_and_ratios_of_the_same_round() {
        let mut all = Vec::new();
        for (round, (etcd, ours)) in [
            (2_000.0, 20_000.0),
            (1_000.0, 30_000.0),
            (3_000.0, 33_000.0),
        ]
        .into_iter()
        .enumerate()
        {
            all.push(measurement(System::Etcd, round as u32, 64, etcd));
            all.push(measurement(System::Kvpaxos, round as u32, 64, ours));
        }
        let text = report(&record(all));
        let expected = "\
            | clients | system  | ops/s, median (min..max) |        kvpaxos / it |     p50 |     p99 | server CPU/op |\n\
            |--------:|---------|-------------------------:|--------------------:|--------:|--------:|--------------:|\n\
            |      64 | etcd    |     2,000 (1,000..3,000) | 11.00 (10.00..30.00) | 1.00 ms | 20.0 ms |         40 µs |\n\
            |         | kvpaxos |  30,000 (20,000..33,000) |                    - | 1.00 ms | 20.0 ms |         40 µs |\n";
        let squeeze = |text: &str| text.replace(['-', ' '], "");
        assert!(squeeze(&text).contains(&squeeze(expected)), "{text}");
        let widths = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.chars().count());
        let widths: Vec<usize> = widths.collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn what_sweeps_measured_is_not_in_the_table_and_what_failed_is_said() {
        let mut swept = measurement(System::Kvpaxos, 1, 16, 9_999.0);
        swept.purpose = Purpose::Sweep;
        let mut failed = measurement(System::Kvpaxos, 1, 64, 5_000.0);
        failed.report.errors = 3;
        failed.report.first_error = Some("no quorum".to_owned());
        let text = report(&record(vec![swept, failed]));
        assert!(!text.contains("9,999"), "{text}");
        assert!(
            text.contains(
                "put, 64 clients, round 1: 3 operations failed, the first with: no quorum"
            ),
            "{text}"
        );
    }
}
