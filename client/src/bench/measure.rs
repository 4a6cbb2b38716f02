//! What a run measured: how many operations, how long each took, and how long nothing succeeded.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kvpaxos_client::Completion;
use serde_json::{Map, Value, json};

use super::series::Series;
use crate::args::BenchArguments;

/// The longest time that is told from longer ones, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).expect("these bounds make a histogram")
}

/// Counts and times.
#[derive(Debug)]
pub(super) struct Measure {
    start: Instant,
    duration: Duration,
    ops: u64,
    errors: u64,
    unknown: u64,
    latency_us: Histogram<u64>,
    last_success: Instant,
    longest_gap: Duration,
    /// When it ended, after the start.
    longest_gap_ended: Duration,
    /// Of those that were due at a fixed rate, how many no client was free to begin.
    not_begun: u64,
    first_error: Option<String>,
}

impl Measure {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            duration: Duration::ZERO,
            ops: 0,
            errors: 0,
            unknown: 0,
            latency_us: histogram(),
            last_success: start,
            longest_gap: Duration::ZERO,
            longest_gap_ended: Duration::ZERO,
            not_begun: 0,
            first_error: None,
        }
    }

    pub(super) fn ops(&self) -> u64 {
        self.ops
    }

    /// An operation that was due at a time was finished `now`. After the end only errors count.
    pub(super) fn note(
        &mut self,
        completion: &Completion,
        due: Instant,
        now: Instant,
        end: Instant,
        series: &mut Series,
    ) {
        match &completion.result {
            Ok(_) if now < end => {
                let took = now.saturating_duration_since(due);
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latency_us.saturating_record(took_us);
                series.note(took_us);
                self.ops += 1;
                self.note_gap(now);
            }
            Ok(_) => {}
            Err(error) => {
                self.errors += 1;
                series.note_error();
                self.unknown += u64::from(error.outcome_unknown());
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn note_gap(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last_success);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.longest_gap_ended = now.saturating_duration_since(self.start);
        }
        self.last_success = now;
    }

    /// The measured part is over, and so many were due and not begun.
    pub(super) fn end(&mut self, end: Instant, not_begun: u64) {
        self.note_gap(end);
        self.duration = end - self.start;
        self.not_begun = not_begun;
    }

    fn ops_per_s(&self) -> f64 {
        self.ops as f64 / self.duration.as_secs_f64()
    }

    fn longest_gap_ms(&self) -> f64 {
        self.longest_gap.as_secs_f64() * 1_000.0
    }

    pub(super) fn as_json(&self, arguments: &BenchArguments) -> Map<String, Value> {
        let object = json!({
            "op": arguments.op.name(),
            "clients": arguments.clients,
            "pipeline": arguments.pipeline,
            "value_bytes": arguments.value_bytes,
            "keys": arguments.keys,
            "distribution": arguments.distribution.name(),
            "rate": arguments.rate,
            "not_begun": self.not_begun,
            "seconds": self.duration.as_secs_f64(),
            "ops": self.ops,
            "ops_per_s": (self.ops_per_s() * 10.0).round() / 10.0,
            "p50_us": self.latency_us.value_at_quantile(0.5),
            "p99_us": self.latency_us.value_at_quantile(0.99),
            "p999_us": self.latency_us.value_at_quantile(0.999),
            "max_us": self.latency_us.max(),
            "errors": self.errors,
            "unknown": self.unknown,
            "first_error": self.first_error,
            "longest_gap_ms": (self.longest_gap_ms() * 10.0).round() / 10.0,
            "longest_gap_ended_s": (self.longest_gap_ended.as_secs_f64() * 1_000.0).round() / 1_000.0,
        });
        match object {
            Value::Object(object) => object,
            other => unreachable!("{other} was written as an object"),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |quantile| self.latency_us.value_at_quantile(quantile);
        writeln!(
            f,
            "{} operations in {:.1} s: {:.0} ops/s",
            self.ops,
            self.duration.as_secs_f64(),
            self.ops_per_s()
        )?;
        writeln!(
            f,
            "latency: p50 {} us, p99 {} us, p99.9 {} us, max {} us",
            at(0.5),
            at(0.99),
            at(0.999),
            self.latency_us.max()
        )?;
        write!(
            f,
            "errors: {} ({} of unknown outcome); longest time without a success: {:.0} ms, until {:.1} s after the start",
            self.errors,
            self.unknown,
            self.longest_gap_ms(),
            self.longest_gap_ended.as_secs_f64()
        )?;
        if self.not_begun > 0 {
            write!(
                f,
                "\nbehind: {} operations were due and no client was free to begin them",
                self.not_begun
            )?;
        }
        match &self.first_error {
            Some(error) => write!(f, "\nfirst error: {error}"),
            None => Ok(()),
        }
    }
}
