//! How the values of single flags are read; what is wrong with one is said in a sentence of ours.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::LevelFilter;

/// The longest `--timeout`: who waits longer has made a mistake.
const TIME_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The longest name that replicas write to their logs.
const LABEL_BYTES_MAX: usize = 64;

/// The longest `bench`, some eleven days.
const SECONDS_MAX: f64 = 1e6;

/// No machine does more.
const RATE_MAX: f64 = 10_000_000.0;

/// Reads `500ms`, `10s`, `1h`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| "a time is a number with a unit: 500ms, 10s, 2m, 1h".to_owned())?;
    if time.is_zero() || time > TIME_MAX {
        return Err("it must be above zero, and at most 24h".to_owned());
    }
    Ok(time)
}

/// Reads how long to measure.
pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => Ok(seconds),
        Ok(_) => Err("it must be above zero, and at most 1000000".to_owned()),
        Err(_) => Err("it is a number of seconds: 10, 0.5".to_owned()),
    }
}

/// Reads how many operations a second are to begin.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        Ok(_) => Err("it must be above zero, and at most 10000000".to_owned()),
        Err(_) => Err("it is a number of operations a second: 5000, 0.5".to_owned()),
    }
}

pub(super) fn parse_label(text: &str) -> Result<String, String> {
    if text.len() > LABEL_BYTES_MAX {
        return Err(format!("it has {} bytes; 64 are allowed", text.len()));
    }
    Ok(text.to_owned())
}

/// The levels by name, so that a mistake shows all of them.
pub(super) fn parse_log_level() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(levels).map(|level| level.parse().expect("each is a level"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_bounds() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("24h"), Ok(TIME_MAX));
        for (text, part) in [
            ("abc", "500ms, 10s"),
            ("5", "a number with a unit"),
            ("-1s", "a number with a unit"),
            ("0s", "above zero"),
            ("100000h", "at most 24h"),
        ] {
            let said = parse_time(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "1000001", "5s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_fits_a_hello() {
        assert!(parse_label(&"x".repeat(64)).is_ok());
        let said = parse_label(&"x".repeat(65)).unwrap_err();
        assert_eq!(said, "it has 65 bytes; 64 are allowed");
    }

    #[test]
    fn every_level_is_one_of_the_log() {
        let levels = parse_log_level();
        let named: Vec<_> = levels.possible_values().unwrap().collect();
        assert_eq!(named.len(), LevelFilter::iter().count());
        for level in named {
            assert!(level.get_name().parse::<LevelFilter>().is_ok());
        }
    }
}
