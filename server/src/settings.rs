//! The settings of the cluster as one server was started with them, held against those of the founding (SPEC C5).
//!
//! Applying a command depends on them, so replicas with different ones would part ways. They are fixed when the cluster
//! is founded; a replica that is started with another value says so and does not start.

use thiserror::Error;

use crate::identity::ClusterSettings;

/// What the command line says; what it does not mention is the cluster's, or the default where it is to be founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenSettings {
    /// The longest value, in bytes.
    pub value_bytes_max: Option<u32>,
    /// How many sessions there may be.
    pub sessions_max: Option<u32>,
    /// After how many seconds of log time an idle session is forgotten.
    pub session_expiry_s: Option<u32>,
    /// Every how many slots the state hash is noted.
    pub hash_interval: Option<u32>,
    /// How many bytes of keys and values the store may hold.
    pub store_bytes_max: Option<u64>,
}

/// A setting is not that of the founding.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{flag} {given} differs from {founded}, with which this cluster was founded and which cannot change: start this \
     replica with {flag} {founded}, or without the flag"
)]
pub struct SettingError {
    flag: &'static str,
    given: u64,
    founded: u64,
}

impl GivenSettings {
    /// Those of a cluster that is to be founded.
    #[must_use]
    pub fn for_founding(&self) -> ClusterSettings {
        let default = ClusterSettings::default();
        ClusterSettings {
            value_bytes_max: self.value_bytes_max.unwrap_or(default.value_bytes_max),
            sessions_max: self.sessions_max.unwrap_or(default.sessions_max),
            session_expiry_s: self.session_expiry_s.unwrap_or(default.session_expiry_s),
            hash_interval: self.hash_interval.unwrap_or(default.hash_interval),
            store_bytes_max: self.store_bytes_max.unwrap_or(default.store_bytes_max),
            window: default.window,
        }
    }

    /// Whether they are those of the founding, as far as they are given.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self, founded: &ClusterSettings) -> Result<(), SettingError> {
        let given = [
            self.value_bytes_max.map(u64::from),
            self.sessions_max.map(u64::from),
            self.session_expiry_s.map(u64::from),
            self.hash_interval.map(u64::from),
            self.store_bytes_max,
        ];
        for ((flag, founded), given) in flags(founded).into_iter().zip(given) {
            if let Some(given) = given.filter(|given| *given != founded) {
                return Err(SettingError {
                    flag,
                    given,
                    founded,
                });
            }
        }
        Ok(())
    }
}

/// What differs, for people: `--sessions-max 7 there and 1000000 here`.
#[must_use]
pub fn differences(there: &ClusterSettings, here: &ClusterSettings) -> String {
    let window = |settings: &ClusterSettings| ("the window", u64::from(settings.window));
    let there = flags(there).into_iter().chain([window(there)]);
    let here = flags(here).into_iter().chain([window(here)]);
    let differing: Vec<String> = there
        .zip(here)
        .filter(|(there, here)| there != here)
        .map(|((flag, there), (_, here))| format!("{flag} {there} there and {here} here"))
        .collect();
    differing.join(", ")
}

/// The flags and their values. The window has none: it is the same in every cluster.
fn flags(settings: &ClusterSettings) -> [(&'static str, u64); 5] {
    [
        ("--value-bytes-max", settings.value_bytes_max.into()),
        ("--sessions-max", settings.sessions_max.into()),
        ("--session-expiry", settings.session_expiry_s.into()),
        ("--hash-interval", settings.hash_interval.into()),
        ("--store-bytes-max", settings.store_bytes_max),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_compared() {
        let given = GivenSettings {
            value_bytes_max: Some(1),
            sessions_max: Some(2),
            session_expiry_s: Some(3),
            hash_interval: Some(4),
            store_bytes_max: Some(5),
        };
        let founded = given.for_founding();
        assert_eq!(given.check(&founded), Ok(()));
        assert_eq!(GivenSettings::default().check(&founded), Ok(()));
        let others = [
            ClusterSettings {
                value_bytes_max: 9,
                ..founded
            },
            ClusterSettings {
                sessions_max: 9,
                ..founded
            },
            ClusterSettings {
                session_expiry_s: 9,
                ..founded
            },
            ClusterSettings {
                hash_interval: 9,
                ..founded
            },
            ClusterSettings {
                store_bytes_max: 9,
                ..founded
            },
        ];
        for ((flag, value), other) in flags(&founded).into_iter().zip(others) {
            let said = given.check(&other).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("{flag} {value} differs from 9, ")),
                "{said}"
            );
            let said = differences(&other, &founded);
            assert_eq!(said, format!("{flag} 9 there and {value} here"));
        }
    }
}
