//! Fewer points of a long curve.

/// Several neighbouring points of a curve as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The mean of the points' x.
    pub x: f64,
    /// The mean of their y.
    pub mean: f64,
    /// The smallest y.
    pub min: f64,
    /// The largest y.
    pub max: f64,
}

/// Divides `points` into at most `limit` bins of equal counts, whose last may be smaller. With no more points than
/// `limit`, each is a bin of its own and nothing is lost. Points whose y is not finite are left out.
///
/// The means keep the course of a curve and the extremes its peaks, so that a chart that shows both hides no outlier.
pub fn bins(points: impl IntoIterator<Item = (f64, f64)>, limit: usize) -> Vec<Bin> {
    let points: Vec<_> = points.into_iter().filter(|(_, y)| y.is_finite()).collect();
    let size = points.len().div_ceil(limit.max(1)).max(1);
    points.chunks(size).map(bin).collect()
}

fn bin(points: &[(f64, f64)]) -> Bin {
    let count = points.len() as f64;
    let min = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let max = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    // Divided before they are added: the sum of large numbers might not be finite.
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(|point| value(point) / count).sum::<f64>();
    Bin { x: mean(|point| point.0), mean: mean(|point| point.1).clamp(min, max), min, max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_curve_stays_as_it_is() {
        let points = [(1.0, 3.0), (2.0, f64::NAN), (3.0, -1.0)];
        let bins: Vec<_> = bins(points, 2).into_iter().map(|bin| (bin.x, bin.mean, bin.min, bin.max)).collect();
        assert_eq!(bins, [(1.0, 3.0, 3.0, 3.0), (3.0, -1.0, -1.0, -1.0)]);
    }

    #[test]
    fn the_last_bin_may_be_smaller() {
        let points = (1..=5).map(|x| (f64::from(x), f64::from(x * x)));
        let found = bins(points, 3);
        assert_eq!(found[0], Bin { x: 1.5, mean: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(found[2], Bin { x: 5.0, mean: 25.0, min: 25.0, max: 25.0 });
        assert!(bins([], 3).is_empty());
    }

    proptest! {
        #[test]
        fn order_and_extremes_stay_and_the_limit_holds(ys in prop::collection::vec(-1e6..1e6_f64, 1..500), limit in 1..60_usize) {
            let found = bins(ys.iter().enumerate().map(|(x, &y)| (x as f64, y)), limit);
            prop_assert!(found.len() <= limit);
            prop_assert!(found.windows(2).all(|pair| pair[0].x < pair[1].x));
            prop_assert!(found.iter().all(|bin| bin.min <= bin.mean && bin.mean <= bin.max));
            let max = |ys: &mut dyn Iterator<Item = f64>| ys.fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(max(&mut found.iter().map(|bin| bin.max)), max(&mut ys.iter().copied()));
            prop_assert_eq!(max(&mut found.iter().map(|bin| -bin.min)), max(&mut ys.iter().map(|y| -y)));
        }
    }
}
