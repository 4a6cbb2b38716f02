//! How the values of single flags are read.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser};
use common::{DATAGRAM_BYTES_MAX_MAX, DATAGRAM_BYTES_MAX_MIN};
use log::LevelFilter;
use paxos::ReplicaId;

use super::ArgumentsError;
use crate::config::Member;

/// Reads an id.
pub(super) fn parse_id(text: &str) -> Result<u8, String> {
    text.parse()
        .map_err(|_| "an id is a number from 0 to 255".to_owned())
}

/// The levels by name, so that a mistake shows all of them.
pub(super) fn log_level_parser() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(levels).map(|level| level.parse().expect("each is a level"))
}

/// Reads `500ms`, `10s`, `1h`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "a time is a number with a unit: 500ms, 10s, 2m, 1h".to_owned())
}

/// Reads `2s..6s`.
pub(super) fn parse_times(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (least, most) = text
        .split_once("..")
        .ok_or("not of the form TIME..TIME, such as 2s..6s")?;
    let (least, most) = (parse_time(least)?, parse_time(most)?);
    if least > most {
        return Err("the first time is longer than the second".to_owned());
    }
    Ok(least..=most)
}

pub(super) fn datagram_bytes_parser() -> RangedI64ValueParser<u32> {
    let range = i64::from(DATAGRAM_BYTES_MAX_MIN)..=i64::from(DATAGRAM_BYTES_MAX_MAX);
    clap::value_parser!(u32).range(range)
}

/// Whole seconds, because the log's time counts in them. A number alone is one of seconds, so that what a refusal prints
/// can be typed.
pub(super) fn parse_seconds(text: &str) -> Result<u32, String> {
    let seconds = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => parse_time(text)?.as_secs(),
    };
    match u32::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err("it must be at least a second, and less than a century".to_owned()),
    }
}

pub(super) fn parse_members(list: &str) -> Result<Vec<Member>, ArgumentsError> {
    let mut members = Vec::new();
    let mut ids = BTreeSet::new();
    for entry in list.split(',') {
        let member = parse_member(entry.trim()).ok_or_else(|| ArgumentsError::MemberForm {
            entry: entry.trim().to_owned(),
        })?;
        if !ids.insert(member.id) {
            return Err(ArgumentsError::MemberTwice { id: member.id.0 });
        }
        members.push(member);
    }
    members.sort_by_key(|member| member.id);
    Ok(members)
}

fn parse_member(entry: &str) -> Option<Member> {
    let (id, address) = entry.split_once('=')?;
    is_host_and_port(address).then_some(())?;
    Some(Member {
        id: ReplicaId(id.parse().ok()?),
        address: address.to_owned(),
    })
}

pub(super) fn check_address(flag: &'static str, address: &str) -> Result<(), ArgumentsError> {
    if is_host_and_port(address) {
        return Ok(());
    }
    let address = address.to_owned();
    Err(match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.is_empty() => {
            ArgumentsError::AddressPort { flag, address }
        }
        _ => ArgumentsError::AddressForm { flag, address },
    })
}

fn is_host_and_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Whether an address is reachable from this machine only. A name other than `localhost` counts as reachable from
/// elsewhere, since what it resolves to may change.
#[must_use]
pub fn is_loopback(address: &str) -> bool {
    let Some((host, _)) = address.rsplit_once(':') else {
        return false;
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
