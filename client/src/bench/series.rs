//! What a run did in each second: on the terminal, and in the file that `--csv` names.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::measure::histogram;
use crate::exit::Failure;

/// The seconds of a run, one after the other.
#[derive(Debug)]
pub(super) struct Series {
    /// Of the present second.
    latency_us: Histogram<u64>,
    errors: u64,
    file: Option<(PathBuf, File)>,
}

impl Series {
    /// # Errors
    /// The file cannot be made.
    pub(super) fn begin(csv: Option<&Path>) -> Result<Self, Failure> {
        let mut series = Self {
            latency_us: histogram(),
            errors: 0,
            file: None,
        };
        if let Some(path) = csv {
            let file = File::create(path).map_err(|error| failure(path, error))?;
            series.file = Some((path.to_owned(), file));
            series.write("second,ops_per_s,errors,p50_us,p99_us,max_us")?;
        }
        Ok(series)
    }

    /// An operation succeeded.
    pub(super) fn note(&mut self, latency_us: u64) {
        self.latency_us.saturating_record(latency_us);
    }

    /// One failed.
    pub(super) fn note_error(&mut self) {
        self.errors += 1;
    }

    /// A second is over, or the rest of the last one: so long after the start, and of this length.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn end_second(&mut self, after: Duration, length: Duration) -> Result<(), Failure> {
        let rate = self.latency_us.len() as f64 / length.as_secs_f64();
        let at = |quantile| self.latency_us.value_at_quantile(quantile);
        let (second, errors, max) = (after.as_secs_f64(), self.errors, self.latency_us.max());
        let (p50, p99) = (at(0.5), at(0.99));
        eprintln!("{second:4.0} s  {rate:8.0} ops/s  p50 {p50} us  p99 {p99} us  {errors} errors");
        self.write(&format!("{second:.3},{rate:.1},{errors},{p50},{p99},{max}"))?;
        self.latency_us.reset();
        self.errors = 0;
        Ok(())
    }

    /// A line a second: each is there when it is over.
    fn write(&mut self, line: &str) -> Result<(), Failure> {
        match &mut self.file {
            Some((path, file)) => writeln!(file, "{line}").map_err(|error| failure(path, error)),
            None => Ok(()),
        }
    }
}

fn failure(path: &Path, error: io::Error) -> Failure {
    Failure::Series {
        file: path.display().to_string(),
        error,
    }
}
