//! How the values of single flags are read.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use common::{DATAGRAM_BYTES_MAX_MAX, DATAGRAM_BYTES_MAX_MIN};
use paxos::ReplicaId;

use super::ArgumentsError;
use crate::config::Member;

/// Reads `2s..6s`.
pub(super) fn parse_times(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (least, most) = text
        .split_once("..")
        .ok_or("not of the form TIME..TIME, such as 2s..6s")?;
    let parse = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
    let (least, most) = (parse(least)?, parse(most)?);
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
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| error.to_string())?
            .as_secs(),
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
    Err(ArgumentsError::AddressForm {
        flag,
        address: address.to_owned(),
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
