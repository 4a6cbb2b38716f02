//! What the documentation shows of a run: the tables between two markers of BENCHMARKS.md, and the plots beside it.

use std::fs;
use std::path::Path;

use crate::plots;
use crate::record::Record;
use crate::table;
use crate::trouble::{Doing, Trouble};

const BEGIN: &str = "<!-- compare: begin -->\n";
const END: &str = "<!-- compare: end -->\n";

/// Writes tables and plots.
///
/// # Errors
/// The page cannot be read or written, or lacks its markers.
pub(crate) fn write(docs: &Path, record: &Record) -> Result<(), Trouble> {
    let path = docs.join("BENCHMARKS.md");
    let page = fs::read_to_string(&path).doing(|| format!("cannot read {}", path.display()))?;
    let folder = docs.join("benchmarks");
    fs::create_dir_all(&folder).doing(|| format!("cannot make {}", folder.display()))?;
    let mut between = format!("\n{}", table::report(record));
    for plot in plots::plots(record) {
        let file = folder.join(plot.file);
        fs::write(&file, plot.draw()?).doing(|| format!("cannot write {}", file.display()))?;
        between += &format!("\n![{}](benchmarks/{})\n", plot.caption, plot.file);
    }
    let page = replaced(&page, &(between + "\n")).ok_or_else(|| {
        let (begin, end) = (BEGIN.trim(), END.trim());
        Trouble::Failed(format!(
            "{} has no {begin} with {end} after it",
            path.display()
        ))
    })?;
    fs::write(&path, page).doing(|| format!("cannot write {}", path.display()))?;
    eprintln!(
        "written: {} and plots in {}",
        path.display(),
        folder.display()
    );
    Ok(())
}

/// The page with something else between its markers.
fn replaced(page: &str, between: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, between, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{measurement, record};
    use crate::system::System;

    const PAGE: &str = include_str!("../../../docs/BENCHMARKS.md");

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        let expected = format!("before\n{BEGIN}new\n{END}after\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), expected);
        assert_eq!(replaced(&expected, "new\n").unwrap(), expected);
        for page in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert_eq!(replaced(page, "new\n"), None, "{page:?}");
        }
    }

    #[test]
    fn the_page_of_this_repository_can_be_written() {
        let docs = tempfile::tempdir().unwrap();
        let page = docs.path().join("BENCHMARKS.md");
        fs::write(&page, PAGE).unwrap();
        let all = [1, 64].map(|clients| measurement(System::Kvpaxos, 1, clients, 4_321.0));
        let record = record(all.to_vec());
        write(docs.path(), &record).unwrap();
        let first = fs::read_to_string(&page).unwrap();
        assert!(first.contains("4,321"), "{first}");
        write(docs.path(), &record).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), first);
        for line in first.lines().filter(|line| line.starts_with("![")) {
            let (_, file) = line.trim_end_matches(')').split_once("](").unwrap();
            let svg = fs::read_to_string(docs.path().join(file)).unwrap();
            assert!(svg.starts_with("<svg"), "{file}");
        }
    }
}
