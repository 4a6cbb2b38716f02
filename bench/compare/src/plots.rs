//! Which plots are made of a record. Every point is the median of its rounds.

use crate::charts::{Axis, Line, Panel, Plot};
use crate::plan::{Operation, SWEEP_CLIENTS, Setting, VALUE_SWEEP_KEYS, Work};
use crate::record::{Measurement, Record};
use crate::system::System;

type Figure = fn(&Measurement) -> f64;

const RATE: Figure = |one| one.report.ops_per_s;
const P50: Figure = |one| one.report.p50_us;
const P99: Figure = |one| one.report.p99_us;

/// Those for which something was measured.
pub(crate) fn plots(record: &Record) -> Vec<Plot> {
    let mut all = vec![
        Plot {
            file: "latency-put.svg",
            caption: "PUT: latency against throughput, from few clients to many",
            panels: latency_panels(record, Operation::Put),
        },
        Plot {
            file: "latency-get.svg",
            caption: "GET: latency against throughput, from few clients to many",
            panels: latency_panels(record, Operation::Get),
        },
        Plot {
            file: "clients.svg",
            caption: "Throughput against the number of clients",
            panels: vec![
                clients_panel(record, Operation::Put, "PUT"),
                clients_panel(record, Operation::Get, "GET"),
            ],
        },
        Plot {
            file: "replicas-and-keys.svg",
            caption: "PUT with 64 clients: throughput against the number of replicas, and of keys",
            panels: vec![replicas_panel(record), keys_panel(record)],
        },
        Plot {
            file: "value-bytes.svg",
            caption: "PUT with 64 clients and 10,000 keys: throughput and latency against the length of values",
            panels: value_bytes_panels(record),
        },
    ];
    for plot in &mut all {
        plot.panels.retain(|panel| !panel.lines.is_empty());
    }
    all.retain(|plot| !plot.panels.is_empty());
    all
}

/// One line for each system that has two points. `place` says where among the points of its system a measurement belongs,
/// if at all.
fn lines(
    record: &Record,
    place: impl Fn(&Measurement) -> Option<u32>,
    point: impl Fn(&Measurement, u32) -> (f64, f64),
) -> Vec<Line> {
    let line = |system| {
        let all = record.measurements.iter();
        let of_system = all.filter(|one| one.system == system);
        let mut places: Vec<_> = of_system
            .filter_map(|one| Some((place(one)?, one)))
            .collect();
        // Of the rounds of one point the first stands for all.
        places.sort_by_key(|(place, _)| *place);
        places.dedup_by_key(|(place, _)| *place);
        let points = places.into_iter().map(|(place, one)| point(one, place));
        Line {
            system,
            points: points.filter(|(x, y)| *x > 0.0 && *y > 0.0).collect(),
        }
    };
    let lines = System::ALL.into_iter().map(line);
    lines.filter(|line| line.points.len() > 1).collect()
}

/// The median of all rounds of what this measured.
fn median(record: &Record, of: &Measurement, figure: Figure) -> f64 {
    let summary = record.summary(of.system, of.setting, of.work, figure);
    summary.expect("the measurement is one of them").median
}

/// A panel against what a sweep chose.
fn chosen_panel(
    record: &Record,
    [title, label]: [&'static str; 2],
    (y, figure): (Axis, Figure),
    place: impl Fn(&Measurement) -> Option<u32>,
) -> Panel {
    Panel {
        title,
        x: Axis::chosen(label),
        y,
        lines: lines(record, place, |one, place| {
            (f64::from(place), median(record, one, figure))
        }),
    }
}

/// How many clients a measurement has that is of this operation, and else as in the table.
fn clients_of(one: &Measurement, base: Setting, operation: Operation) -> Option<u32> {
    let (setting, work) = (one.setting, one.work);
    let is_meant = (setting, work.operation, work.pipeline) == (base, operation, 1);
    is_meant.then_some(work.clients)
}

/// Whether it is what sweeps do that vary a setting, with such a setting.
fn is_swept(one: &Measurement, setting: Setting) -> bool {
    let work = Work {
        operation: Operation::Put,
        pipeline: 1,
        clients: SWEEP_CLIENTS,
    };
    (one.setting, one.work) == (setting, work)
}

fn latency_panels(record: &Record, operation: Operation) -> Vec<Panel> {
    let base = record.base();
    let panel = |title, figure| Panel {
        title,
        x: Axis::RATE,
        y: Axis::LATENCY,
        lines: lines(
            record,
            |one| clients_of(one, base, operation),
            |one, _| (median(record, one, RATE), median(record, one, figure)),
        ),
    };
    vec![
        panel("median (p50)", P50),
        panel("slowest of a hundred (p99)", P99),
    ]
}

fn clients_panel(record: &Record, operation: Operation, title: &'static str) -> Panel {
    let base = record.base();
    chosen_panel(record, [title, "clients"], (Axis::RATE, RATE), |one| {
        clients_of(one, base, operation)
    })
}

/// A Redis alone has one replica, whatever is asked for.
fn replicas_panel(record: &Record) -> Panel {
    let base = record.base();
    let titles = ["throughput by replicas", "replicas"];
    chosen_panel(record, titles, (Axis::RATE, RATE), |one| {
        let replicas = one.setting.replicas;
        let is_meant = is_swept(one, Setting { replicas, ..base }) && one.system != System::Redis;
        is_meant.then_some(replicas)
    })
}

fn keys_panel(record: &Record) -> Panel {
    let base = record.base();
    let titles = ["throughput by keys", "keys"];
    chosen_panel(record, titles, (Axis::RATE, RATE), |one| {
        let keys = one.setting.keys;
        is_swept(one, Setting { keys, ..base }).then_some(keys)
    })
}

fn value_bytes_panels(record: &Record) -> Vec<Panel> {
    let base = record.base();
    let panel = |title, y| {
        chosen_panel(record, [title, "bytes"], y, |one| {
            let value_bytes = one.setting.value_bytes;
            let setting = Setting {
                value_bytes,
                keys: VALUE_SWEEP_KEYS,
                ..base
            };
            is_swept(one, setting).then_some(value_bytes)
        })
    };
    vec![
        panel("throughput", (Axis::RATE, RATE)),
        panel("slowest of a hundred (p99)", (Axis::LATENCY, P99)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Purpose;
    use crate::record::tests::{measurement, record};

    #[test]
    fn a_point_is_the_median_of_its_rounds() {
        let mut all = Vec::new();
        for (round, factor) in [(1, 1.0), (2, 9.0), (3, 2.0)] {
            for clients in [64, 1] {
                all.push(measurement(
                    System::Kvpaxos,
                    round,
                    clients,
                    100.0 * factor * f64::from(clients),
                ));
            }
        }
        all.push(measurement(System::Etcd, 1, 1, 500.0));
        let panel = clients_panel(&record(all), Operation::Put, "PUT");
        assert_eq!(panel.lines.len(), 1, "one point makes no line");
        assert_eq!(panel.lines[0].points, [(1.0, 200.0), (64.0, 12_800.0)]);
    }

    #[test]
    fn sweeps_are_told_apart_by_what_they_vary() {
        let base = measurement(System::Kvpaxos, 1, 64, 20_000.0);
        let mut all = vec![base];
        let mut swept = |change: fn(&mut Setting), rate| {
            let mut one = measurement(System::Kvpaxos, 2, 64, rate);
            one.purpose = Purpose::Sweep;
            change(&mut one.setting);
            all.push(one);
        };
        swept(|setting| setting.replicas = 3, 30_000.0);
        swept(|setting| setting.keys = 10_000, 21_000.0);
        swept(
            |setting| (setting.keys, setting.value_bytes) = (10_000, 1_000),
            15_000.0,
        );
        let record = record(all);
        let points = |panel: Panel| panel.lines.into_iter().next().unwrap().points;
        assert_eq!(
            points(replicas_panel(&record)),
            [(3.0, 30_000.0), (5.0, 20_000.0)]
        );
        assert_eq!(
            points(keys_panel(&record)),
            [(10_000.0, 21_000.0), (100_000.0, 20_000.0)]
        );
        assert_eq!(
            points(value_bytes_panels(&record).swap_remove(0)),
            [(100.0, 21_000.0), (1_000.0, 15_000.0)]
        );
        let files: Vec<_> = plots(&record).iter().map(|plot| plot.file).collect();
        assert_eq!(files, ["replicas-and-keys.svg", "value-bytes.svg"]);
    }

    #[test]
    fn a_plot_names_its_systems_and_axes() {
        let all = [1, 64]
            .map(|clients| measurement(System::Etcd, 1, clients, 1_000.0 * f64::from(clients)));
        let plots = plots(&record(all.to_vec()));
        let svg = plots
            .iter()
            .find(|plot| plot.file == "clients.svg")
            .unwrap()
            .draw()
            .unwrap();
        for text in ["etcd", "clients", "operations a second", "64", "10,000"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(!svg.contains("Redis"), "{svg}");
    }
}
