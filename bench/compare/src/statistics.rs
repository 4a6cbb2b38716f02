//! The arithmetic: medians, spreads, and ratios taken round by round.

/// What several rounds gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// None of nothing.
pub(crate) fn summary(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some(Summary { median, min, max })
}

/// The first by the second, in every round that has both. Each list holds rounds and what they gave.
///
/// A machine that is slow for a while slows both sides of a round, so their ratio drifts less than either.
pub(crate) fn ratios(numerators: &[(u32, f64)], denominators: &[(u32, f64)]) -> Option<Summary> {
    summary(numerators.iter().filter_map(|&(round, numerator)| {
        let same_round = denominators.iter().find(|(other, _)| *other == round);
        same_round
            .and_then(|&(_, denominator)| (denominator > 0.0).then(|| numerator / denominator))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(summary([]), None);
        let one = summary([7.0]).unwrap();
        assert_eq!((one.min, one.median, one.max), (7.0, 7.0, 7.0));
        assert_eq!(summary([9.0, 1.0, 5.0]).unwrap().median, 5.0);
        let four = summary([4.0, 1.0, 100.0, 2.0]).unwrap();
        assert_eq!((four.min, four.median, four.max), (1.0, 3.0, 100.0));
    }

    /// The median of ratios is not the ratio of medians, which would compare rounds with each other.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let ours = [(1, 10.0), (2, 40.0), (3, 60.0)];
        let theirs = [(3, 20.0), (1, 10.0), (2, 20.0)];
        let ratio = ratios(&ours, &theirs).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (1.0, 2.0, 3.0));
    }

    #[test]
    fn rounds_that_one_side_lacks_or_did_nothing_in_are_left_out() {
        assert_eq!(ratios(&[(1, 10.0)], &[(2, 10.0)]), None);
        assert_eq!(ratios(&[(1, 10.0)], &[(1, 0.0)]), None);
        let ratio = ratios(&[(1, 10.0), (2, 9.0)], &[(2, 3.0)]).unwrap();
        assert_eq!((ratio.min, ratio.max), (3.0, 3.0));
    }
}
