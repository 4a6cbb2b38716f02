//! How a plot is drawn: panels of lines side by side, and under them which colour is whose.
//!
//! Both axes are logarithmic, as the systems lie far apart.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::system::System;
use crate::table::grouped;
use crate::trouble::Trouble;

const PANEL_WIDTH: i32 = 460;
const HEIGHT: u32 = 360;
const LEGEND_ROW_HEIGHT: i32 = 24;
const LEGEND_ENTRY_WIDTH: i32 = 150;
const FONT: &str = "sans-serif";
const TITLE_SIZE: u32 = 19;
const TEXT_SIZE: u32 = 16;
const MARK_SIZE: u32 = 15;

/// By how much axes go beyond the least and the largest value.
const MARGIN: f64 = 1.4;

/// With more marks than that on an axis, their texts would run into each other.
const MARKS_MAX: usize = 6;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One file: a panel, or several side by side.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) file: &'static str,
    pub(crate) caption: &'static str,
    pub(crate) panels: Vec<Panel>,
}

/// Lines between two axes. There is at least one.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

/// What an axis shows.
#[derive(Debug)]
pub(crate) struct Axis {
    label: &'static str,
    text: fn(f64) -> String,
    /// Whether exactly the values that occur are marked.
    marks_values: bool,
}

/// What a system did: at least one point. All values are above 0.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) system: System,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// The plot as SVG.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub(crate) fn draw(&self) -> Result<String, Trouble> {
        let mut svg = String::new();
        self.draw_to(&mut svg)
            .map_err(|error| Trouble::Failed(format!("{} cannot be drawn: {error}", self.file)))?;
        Ok(svg)
    }

    fn draw_to(&self, svg: &mut String) -> Result<(), String> {
        let legend = Legend {
            systems: self.systems(),
            width: PANEL_WIDTH * self.panels.len() as i32,
        };
        let size = (legend.width as u32, HEIGHT + legend.height() as u32);
        let whole = SVGBackend::with_string(svg, size).into_drawing_area();
        whole.fill(&WHITE).map_err(|error| error.to_string())?;
        let (charts, below) = whole.split_vertically(HEIGHT);
        let areas = charts.split_evenly((1, self.panels.len()));
        for (area, panel) in areas.iter().zip(&self.panels) {
            panel.draw(area)?;
        }
        legend.draw(&below)?;
        whole.present().map_err(|error| error.to_string())
    }

    /// Those that any panel shows.
    fn systems(&self) -> Vec<System> {
        let is_drawn = |system: &System| {
            let mut lines = self.panels.iter().flat_map(|panel| &panel.lines);
            lines.any(|line| line.system == *system)
        };
        System::ALL.into_iter().filter(is_drawn).collect()
    }
}

/// Names beside their colours, in as many rows as they need.
struct Legend {
    systems: Vec<System>,
    width: i32,
}

impl Legend {
    fn columns(&self) -> usize {
        let fitting = (self.width / LEGEND_ENTRY_WIDTH) as usize;
        fitting.min(self.systems.len())
    }

    fn height(&self) -> i32 {
        self.systems.len().div_ceil(self.columns()) as i32 * LEGEND_ROW_HEIGHT + 8
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        let left = (self.width - LEGEND_ENTRY_WIDTH * self.columns() as i32) / 2;
        for (at, &system) in self.systems.iter().enumerate() {
            let (row, column) = (at / self.columns(), at % self.columns());
            let x = left + LEGEND_ENTRY_WIDTH * column as i32;
            let y = LEGEND_ROW_HEIGHT * row as i32 + LEGEND_ROW_HEIGHT / 2;
            let style = colour(system).filled();
            let dash = Rectangle::new([(x + 4, y - 1), (x + 20, y + 1)], style);
            let text = Text::new(system.title(), (x + 26, y - 6), (FONT, TEXT_SIZE));
            area.draw(&dash)
                .and_then(|()| area.draw(&text))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
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
            .margin_right(32)
            .caption(self.title, (FONT, TITLE_SIZE))
            .x_label_area_size(46)
            .y_label_area_size(80)
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
            .label_style((FONT, MARK_SIZE))
            .axis_desc_style((FONT, TEXT_SIZE))
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
    pub(crate) const RATE: Self = Self {
        label: "operations a second",
        text: grouped,
        marks_values: false,
    };

    /// In microseconds.
    pub(crate) const LATENCY: Self = Self {
        label: "latency",
        text: time_mark,
        marks_values: false,
    };

    /// Of values that were chosen.
    pub(crate) const fn chosen(label: &'static str) -> Self {
        Self {
            label,
            text: grouped,
            marks_values: true,
        }
    }

    /// From where to where the axis goes, and its marks.
    fn scale(&self, mut values: Vec<f64>) -> (Range<f64>, Vec<f64>) {
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (min, max) = (values[0], values[values.len() - 1]);
        let (from, to) = (min / MARGIN, max * MARGIN);
        let marks = if self.marks_values {
            values
        } else {
            round_marks(from, to)
        };
        (from..to, marks)
    }
}

/// Round numbers, as many as there is room for.
fn round_marks(from: f64, to: f64) -> Vec<f64> {
    let powers = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
    let marks = |steps: &[f64]| -> Vec<f64> {
        let tens = powers.clone().map(|power| 10_f64.powi(power));
        let all = tens.flat_map(|ten| steps.iter().map(move |step| step * ten));
        all.filter(|mark| (from..=to).contains(mark)).collect()
    };
    let candidates = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].map(marks);
    let fitting = candidates.iter().find(|marks| marks.len() <= MARKS_MAX);
    fitting.unwrap_or(&candidates[2]).clone()
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

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(round_marks(0.9, 11.0), [1.0, 2.0, 5.0, 10.0]);
        let thousands = [1e3, 3e3, 1e4, 3e4];
        assert_eq!(round_marks(400.0, 90_000.0), thousands);
        assert_eq!(round_marks(5e5, 2e10), [1e6, 1e7, 1e8, 1e9, 1e10]);
        let times = [100.0, 1_000.0, 50_000.0].map(time_mark);
        assert_eq!(times, ["100 µs", "1 ms", "50 ms"]);
    }

    #[test]
    fn chosen_values_are_marked_as_they_are() {
        let (range, marks) = Axis::chosen("replicas").scale(vec![5.0, 1.0, 3.0, 5.0]);
        assert_eq!(marks, [1.0, 3.0, 5.0]);
        assert!(range.start < 1.0 && range.end > 5.0, "{range:?}");
    }

    #[test]
    fn a_legend_has_as_many_rows_as_it_needs() {
        let rows = |systems: &[System], panels| {
            let (systems, width) = (systems.to_vec(), PANEL_WIDTH * panels);
            Legend { systems, width }.height() / LEGEND_ROW_HEIGHT
        };
        assert_eq!(rows(&System::ALL, 2), 1);
        assert_eq!(rows(&System::ALL, 1), 2);
        assert_eq!(rows(&[System::Etcd], 1), 1);
    }
}
