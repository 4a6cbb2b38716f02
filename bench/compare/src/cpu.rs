//! How much CPU time processes have used, by their own accounting.

use std::fs;

use crate::trouble::{Doing, Trouble};

/// The CPU time that processes have used so far, all threads and all children that have ended, in microseconds.
///
/// # Errors
/// One of them is gone.
pub(crate) fn used_us(pids: impl IntoIterator<Item = u32>) -> Result<f64, Trouble> {
    let us_per_tick = 1_000_000.0 / rustix::param::clock_ticks_per_second() as f64;
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).doing(|| format!("cannot read {path}"))?;
        ticks += ticks_of(&stat)
            .ok_or_else(|| Trouble::Failed(format!("{path} has no CPU times: {stat:?}")))?;
    }
    Ok(ticks as f64 * us_per_tick)
}

/// The 14th to 17th field: in user mode and in the kernel, its own and that of children that it has waited for, as Redis'
/// rewriting of its file is done by a child.
///
/// The second field is the program's name in parentheses, and may itself have spaces and parentheses.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let times: Vec<u64> = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    (times.len() == 4).then(|| times.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "S 1 4242 4242 0 -1 4194560 1234 0 5 0 250 50 7 3 20 0 5 0 100 1000 10";

    #[test]
    fn own_time_and_that_of_children_is_added() {
        assert_eq!(ticks_of(&format!("4242 (etcd) {REST}")), Some(310));
    }

    #[test]
    fn names_may_have_spaces_and_parentheses() {
        for name in ["a b", "x) S 1 2", "((", "))", ") ", "a) 1 2 3 (b", ""] {
            let line = format!("4242 ({name}) {REST}");
            assert_eq!(ticks_of(&line), Some(310), "{line}");
        }
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        for line in [
            "",
            "1 (x)",
            "1 (x) S 1 2 3",
            "1 x S 1",
            "1 (x) S 1 4242 4242 0 -1 4194560 1234 0 5 0 a b c d",
        ] {
            assert_eq!(ticks_of(line), None, "{line}");
        }
    }

    #[test]
    fn this_process_uses_time() {
        let me = std::process::id();
        let before = used_us([me]).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while used_us([me]).unwrap() == before {
            assert!(std::time::Instant::now() < end, "no tick in 5 s of work");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(used_us([u32::MAX]).is_err());
    }
}
