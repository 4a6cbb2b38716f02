//! Plots of a record. Every point is the median of its rounds; both axes are logarithmic, as the systems lie far apart.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::plan::{Operation, Setting, VALUE_SWEEP_KEYS, Work};
use crate::record::{Measurement, Record};
use crate::system::System;
use crate::table::grouped;
use crate::trouble::Trouble;

const PANEL_WIDTH: u32 = 460;
const HEIGHT: u32 = 360;
const LEGEND_HEIGHT: u32 = 34;
const LEGEND_ENTRY_WIDTH: i32 = 140;
const FONT: &str = "sans-serif";

/// How far axes go beyond the least and the largest value.
const MARGIN: f64 = 1.4;

/// With more marks than that only powers of ten are marked.
const MARKS_MAX: usize = 8;

/// How many clients there are where something else varies.
const CLIENTS: u32 = 64;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One file: a panel, or several side by side.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) caption: &'static str,
    panels: Vec<Panel>,
}

#[derive(Debug)]
struct Panel {
    title: &'static str,
    x: Axis,
    y: Axis,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Axis {
    label: &'static str,
    text: fn(f64) -> String,
    /// Whether exactly the values that occur are marked, as they were chosen.
    marks_values: bool,
}

const RATE: Axis = Axis {
    label: "operations a second",
    text: grouped,
    marks_values: false,
};

/// What a system did. All values are above 0.
#[derive(Debug)]
struct Line {
    system: System,
    points: Vec<(f64, f64)>,
}

/// Those for which something was measured.
pub(crate) fn plots(record: &Record) -> Vec<Plot> {
    let all = [
        Plot {
            file: "latency-put.svg",
            caption: "PUT: latency against throughput, from 1 client to 256",
            panels: latency_panels(record, Operation::Put),
        },
        Plot {
            file: "latency-get.svg",
            caption: "GET: latency against throughput, from 1 client to 256",
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
            caption: "PUT with 64 clients and 10,000 keys: throughput against the length of values",
            panels: vec![value_bytes_panel(record)],
        },
    ];
    all.into_iter()
        .filter_map(Plot::without_empty_panels)
        .collect()
}

/// One line for each system that has two points. A figure of a measurement says where on the x-axis it belongs, if at all.
fn lines(
    record: &Record,
    x_of: impl Fn(&Measurement) -> Option<u32>,
    point: impl Fn(&Record, &Measurement, u32) -> Option<(f64, f64)>,
) -> Vec<Line> {
    let line = |system| {
        let of_system = record
            .measurements
            .iter()
            .filter(|one| one.system == system);
        let mut places: Vec<_> = of_system
            .filter_map(|one| Some((x_of(one)?, one)))
            .collect();
        places.sort_by_key(|(x, _)| *x);
        places.dedup_by_key(|(x, _)| *x);
        let points = places
            .into_iter()
            .filter_map(|(x, one)| point(record, one, x));
        Line {
            system,
            points: points.collect(),
        }
    };
    let lines = System::ALL.into_iter().map(line);
    lines.filter(|line| line.points.len() > 1).collect()
}

fn median(
    record: &Record,
    like: &Measurement,
    figure: impl Fn(&Measurement) -> f64,
) -> Option<f64> {
    let summary = record.summary(like.system, like.setting, like.work, figure)?;
    Some(summary.median).filter(|median| *median > 0.0)
}

fn rate_at(record: &Record, like: &Measurement, x: u32) -> Option<(f64, f64)> {
    Some((
        f64::from(x),
        median(record, like, |one| one.report.ops_per_s)?,
    ))
}

/// How many clients a measurement has that is as in the table, and of this operation.
fn clients_of(one: &Measurement, base: Setting, operation: Operation) -> Option<u32> {
    let work = Work {
        operation,
        pipeline: 1,
        clients: one.work.clients,
    };
    ((one.setting, one.work) == (base, work)).then_some(one.work.clients)
}

fn is_put_of_64(one: &Measurement) -> bool {
    one.work
        == Work {
            operation: Operation::Put,
            pipeline: 1,
            clients: CLIENTS,
        }
}

fn latency_panels(record: &Record, operation: Operation) -> Vec<Panel> {
    let panel = |title, figure: fn(&Measurement) -> f64| {
        let base = record.base();
        let point = |record: &Record, one: &Measurement, _| {
            let rate = median(record, one, |one| one.report.ops_per_s)?;
            Some((rate, median(record, one, figure)?))
        };
        Panel {
            title,
            x: RATE,
            y: Axis {
                label: "latency",
                text: time_mark,
                marks_values: false,
            },
            lines: lines(record, |one| clients_of(one, base, operation), point),
        }
    };
    vec![
        panel("median (p50)", |one| one.report.p50_us),
        panel("slowest of a hundred (p99)", |one| one.report.p99_us),
    ]
}

fn clients_panel(record: &Record, operation: Operation, title: &'static str) -> Panel {
    let base = record.base();
    let x_of = |one: &Measurement| clients_of(one, base, operation);
    rate_panel(title, "clients", lines(record, x_of, rate_at))
}

fn replicas_panel(record: &Record) -> Panel {
    let base = record.base();
    let x_of = |one: &Measurement| {
        let replicas = one.setting.replicas;
        let is_meant = one.system != System::Redis && is_put_of_64(one);
        (is_meant && one.setting == Setting { replicas, ..base }).then_some(replicas)
    };
    rate_panel("replicas", "replicas", lines(record, x_of, rate_at))
}

fn value_bytes_panel(record: &Record) -> Panel {
    let base = record.base();
    let x_of = |one: &Measurement| {
        let value_bytes = one.setting.value_bytes;
        let setting = Setting {
            value_bytes,
            keys: VALUE_SWEEP_KEYS,
            ..base
        };
        (is_put_of_64(one) && one.setting == setting).then_some(value_bytes)
    };
    rate_panel("length of values", "bytes", lines(record, x_of, rate_at))
}

fn keys_panel(record: &Record) -> Panel {
    let base = record.base();
    let x_of = |one: &Measurement| {
        let keys = one.setting.keys;
        (is_put_of_64(one) && one.setting == Setting { keys, ..base }).then_some(keys)
    };
    rate_panel("keys", "keys", lines(record, x_of, rate_at))
}

fn rate_panel(title: &'static str, label: &'static str, lines: Vec<Line>) -> Panel {
    let x = Axis {
        label,
        text: grouped,
        marks_values: true,
    };
    Panel {
        title,
        x,
        y: RATE,
        lines,
    }
}

impl Plot {
    fn without_empty_panels(mut self) -> Option<Self> {
        self.panels.retain(|panel| !panel.lines.is_empty());
        (!self.panels.is_empty()).then_some(self)
    }

    /// The plot as SVG.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub(crate) fn draw(&self) -> Result<String, Trouble> {
        let mut svg = String::new();
        let drawn = self.draw_to(&mut svg);
        drawn
            .map_err(|error| Trouble::Failed(format!("{} cannot be drawn: {error}", self.file)))?;
        Ok(svg)
    }

    fn draw_to(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let size = (
            PANEL_WIDTH * self.panels.len() as u32,
            HEIGHT + LEGEND_HEIGHT,
        );
        let whole = SVGBackend::with_string(svg, size).into_drawing_area();
        whole.fill(&WHITE).map_err(|error| error.to_string())?;
        let (charts, legend) = whole.split_vertically(HEIGHT);
        for (area, panel) in charts
            .split_evenly((1, self.panels.len()))
            .iter()
            .zip(&self.panels)
        {
            panel.draw(area)?;
        }
        let is_drawn = |system: &System| {
            let mut lines = self.panels.iter().flat_map(|panel| &panel.lines);
            lines.any(|line| line.system == *system)
        };
        let systems: Vec<System> = System::ALL.into_iter().filter(is_drawn).collect();
        draw_legend(&legend, size.0 as i32, &systems)?;
        whole.present().map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Names beside their colours, in a row in the middle.
fn draw_legend(area: &Area<'_>, width: i32, systems: &[System]) -> Result<(), String> {
    let entry_width = LEGEND_ENTRY_WIDTH.min(width / systems.len() as i32);
    let mut left = (width - entry_width * systems.len() as i32) / 2;
    for &system in systems {
        let style = colour(system).filled();
        let middle = LEGEND_HEIGHT as i32 / 2 - 2;
        let dash = Rectangle::new([(left + 4, middle - 1), (left + 20, middle + 1)], style);
        let text = Text::new(system.title(), (left + 25, middle - 6), (FONT, 12));
        area.draw(&dash)
            .and_then(|()| area.draw(&text))
            .map_err(|error| error.to_string())?;
        left += entry_width;
    }
    Ok(())
}

/// Of a palette that those who see few colours can tell apart.
fn colour(system: System) -> RGBColor {
    match system {
        System::Etcd => RGBColor(0xd5, 0x5e, 0x00),
        System::Redis => RGBColor(0x99, 0x99, 0x99),
        System::RedisReplicated => RGBColor(0x00, 0x9e, 0x73),
        System::Kvpaxos => RGBColor(0x00, 0x5a, 0xb2),
        System::KvpaxosUdp => RGBColor(0x56, 0xb4, 0xe9),
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (x_range, x_marks) = self.x.scale(points().map(|point| point.0).collect());
        let (y_range, y_marks) = self.y.scale(points().map(|point| point.1).collect());
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .caption(self.title, (FONT, 15))
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d(
                x_range.log_scale().with_key_points(x_marks),
                y_range.log_scale().with_key_points(y_marks),
            )
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .bold_line_style(RGBColor(0xdd, 0xdd, 0xdd))
            .light_line_style(TRANSPARENT)
            .axis_style(RGBColor(0x88, 0x88, 0x88))
            .label_style((FONT, 12))
            .axis_desc_style((FONT, 13))
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .x_label_formatter(&|x| (self.x.text)(*x))
            .y_label_formatter(&|y| (self.y.text)(*y))
            .draw()
            .map_err(|error| error.to_string())?;
        for line in &self.lines {
            let colour = colour(line.system);
            let points = || line.points.iter().copied();
            let circles = points().map(|point| Circle::new(point, 3, colour.filled()));
            let line = LineSeries::new(points(), colour.stroke_width(2));
            chart.draw_series(line).map_err(|error| error.to_string())?;
            chart
                .draw_series(circles)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Axis {
    /// From where to where the axis goes, and its marks.
    fn scale(&self, mut values: Vec<f64>) -> (std::ops::Range<f64>, Vec<f64>) {
        values.sort_by(f64::total_cmp);
        values.dedup();
        let [.., max] = values[..] else {
            return (1.0..10.0, Vec::new());
        };
        let (from, to) = (values[0] / MARGIN, max * MARGIN);
        let marks = if self.marks_values {
            values
        } else {
            round_marks(from, to)
        };
        (from..to, marks)
    }
}

/// 1, 2 and 5 times powers of ten, or those powers alone where that would be many.
fn round_marks(from: f64, to: f64) -> Vec<f64> {
    let marks = |steps: &[f64]| -> Vec<f64> {
        let powers = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|mark| (from..=to).contains(mark)).collect()
    };
    let many = marks(&[1.0, 2.0, 5.0]);
    if many.len() > MARKS_MAX {
        marks(&[1.0])
    } else {
        many
    }
}

/// A round time, from microseconds.
fn time_mark(us: f64) -> String {
    if us < 999.5 {
        format!("{us:.0} µs")
    } else {
        format!("{:.0} ms", us / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Purpose;
    use crate::record::tests::{measurement, record};

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(round_marks(0.9, 11.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(
            round_marks(400.0, 90_000.0),
            [
                500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0
            ]
        );
        assert_eq!(
            round_marks(5.0, 200_000.0),
            [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]
        );
        assert_eq!(
            [100.0, 1_000.0, 50_000.0].map(time_mark),
            ["100 µs", "1 ms", "50 ms"]
        );
    }

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
            points(value_bytes_panel(&record)),
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
