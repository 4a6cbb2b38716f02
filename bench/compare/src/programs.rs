//! Which programs each system needs, and where they are.

use std::env;
use std::fmt;
use std::path::PathBuf;

use crate::system::System;
use crate::trouble::{Doing, Trouble};

/// A program, and where it comes from.
#[derive(Clone, Copy, Debug)]
struct Need {
    program: &'static str,
    from: From,
}

#[derive(Clone, Copy, Debug)]
enum From {
    /// A package of Debian, found in PATH.
    Debian(&'static str),
    /// bench/compare.sh builds it, beside this program.
    Built,
    /// The same, where protoc is there.
    BuiltWithProtoc,
}

const ETCD: &[Need] = &[
    Need {
        program: "etcd",
        from: From::Debian("etcd-server"),
    },
    Need {
        program: "etcd-load",
        from: From::BuiltWithProtoc,
    },
];
const REDIS: &[Need] = &[
    Need {
        program: "redis-server",
        from: From::Debian("redis-server"),
    },
    Need {
        program: "redis-benchmark",
        from: From::Debian("redis-tools"),
    },
    Need {
        program: "redis-cli",
        from: From::Debian("redis-tools"),
    },
];
const KVPAXOS: &[Need] = &[
    Need {
        program: "kvpaxos-server",
        from: From::Built,
    },
    Need {
        program: "kvpaxos-client",
        from: From::Built,
    },
];

fn needs(system: System) -> &'static [Need] {
    match system {
        System::Etcd => ETCD,
        System::Redis | System::RedisReplicated => REDIS,
        System::Kvpaxos | System::KvpaxosUdp => KVPAXOS,
    }
}

/// Where programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// Where this program is, and with it all that bench/compare.sh built.
    pub(crate) beside: PathBuf,
    path: Vec<PathBuf>,
}

impl Programs {
    /// # Errors
    /// The system does not say where this program is.
    pub(crate) fn new() -> Result<Self, Trouble> {
        let this = env::current_exe().doing(|| "cannot tell where this program is".into())?;
        let beside = this.parent().expect("a program is in a directory");
        let beside = beside.to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::split_paths(&path).collect();
        Ok(Self { beside, path })
    }

    /// Where a program is, one that was built or one of PATH.
    ///
    /// # Errors
    /// It is nowhere.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf, Trouble> {
        let mut directories = [&self.beside].into_iter().chain(&self.path);
        let found = directories.find_map(|directory| {
            let file = directory.join(program);
            file.is_file().then_some(file)
        });
        found.ok_or_else(|| Trouble::Failed(format!("there is no program {program}")))
    }

    /// What a system lacks, in a sentence; none if it lacks nothing.
    pub(crate) fn lacking(&self, system: System) -> Option<String> {
        let missing = needs(system)
            .iter()
            .filter(|need| self.find(need.program).is_err());
        let missing: Vec<String> = missing.map(|need| need.to_string()).collect();
        (!missing.is_empty()).then(|| format!("{} needs {}", system.name(), missing.join(" and ")))
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program;
        match self.from {
            From::Debian(package) => write!(f, "{program} (Debian package {package})"),
            From::Built => write!(f, "{program} (bench/compare.sh builds it)"),
            From::BuiltWithProtoc => write!(
                f,
                "{program} (bench/compare.sh builds it where the Debian package protobuf-compiler is installed)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let directory = tempfile::tempdir().unwrap();
        let programs = Programs {
            beside: "/nowhere".into(),
            path: vec![directory.path().to_owned()],
        };
        let said = programs.lacking(System::Redis).unwrap();
        let expected = "redis needs redis-server (Debian package redis-server) and redis-benchmark (Debian package \
            redis-tools) and redis-cli (Debian package redis-tools)";
        assert_eq!(said, expected);
        std::fs::write(directory.path().join("etcd"), "").unwrap();
        let said = programs.lacking(System::Etcd).unwrap();
        assert!(
            said.starts_with("etcd needs etcd-load") && said.contains("protobuf-compiler"),
            "{said}"
        );
        std::fs::write(directory.path().join("etcd-load"), "").unwrap();
        assert_eq!(programs.lacking(System::Etcd), None);
    }
}
