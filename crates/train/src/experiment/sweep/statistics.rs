//! Means over seeds, and differences between arms seed by seed.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The mean of independent values and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// s/√n with the sample standard deviation s; none for a single value.
    pub standard_error: Option<f64>,
    /// How many values there are.
    pub count: usize,
}

impl Estimate {
    /// The estimate from `values`; none where there are none.
    ///
    /// ```
    /// use gnp_train::experiment::sweep::Estimate;
    /// let estimate = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
    /// assert_eq!((estimate.mean, estimate.count), (2.0, 3));
    /// assert!((estimate.standard_error.unwrap() - 1.0 / 3f64.sqrt()).abs() < 1e-15);
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (count > 1).then(|| (squares / (count - 1) as f64 / count as f64).sqrt());
        Some(Self { mean, standard_error, count })
    }

    /// The sample standard deviation; none for a single value.
    ///
    /// ```
    /// use gnp_train::experiment::sweep::Estimate;
    /// assert!((Estimate::of(&[1.0, 2.0, 3.0]).unwrap().deviation().unwrap() - 1.0).abs() < 1e-15);
    /// ```
    pub fn deviation(&self) -> Option<f64> {
        Some(self.standard_error? * (self.count as f64).sqrt())
    }

    /// Half the width of the mean's confidence interval of `level` (0.95, say), by Student's t with n − 1 degrees of
    /// freedom; none for a single value.
    ///
    /// ```
    /// use gnp_train::experiment::sweep::Estimate;
    /// // Five values: t = 2.776 at 95 %.
    /// let estimate = Estimate { mean: 0.0, standard_error: Some(1.0), count: 5 };
    /// assert!((estimate.margin(0.95).unwrap() - 2.7764).abs() < 1e-4);
    /// ```
    pub fn margin(&self, level: f64) -> Option<f64> {
        let distribution = StudentsT::new(0.0, 1.0, (self.count - 1) as f64).ok()?;
        Some(distribution.inverse_cdf(0.5 + level / 2.0) * self.standard_error?)
    }
}

/// The mean of `a` − `b` over the seeds that have both: `(seed, value)` pairs.
///
/// Runs of one seed share their first weights and the order of their samples, so that their difference varies less than
/// either.
pub fn paired_difference(a: &[(u64, f64)], b: &[(u64, f64)]) -> Option<Estimate> {
    let differences: Vec<f64> =
        a.iter().filter_map(|(seed, a)| b.iter().find(|(other, _)| other == seed).map(|(_, b)| a - b)).collect();
    Estimate::of(&differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_of_one_seed() {
        let difference = paired_difference(&[(0, 5.0), (1, 7.0), (3, 1.0)], &[(1, 6.0), (0, 3.0), (2, 9.0)]).unwrap();
        assert_eq!((difference.mean, difference.count), (1.5, 2));
        assert_eq!(paired_difference(&[(0, 1.0)], &[(1, 1.0)]), None);
    }

    #[test]
    fn a_single_value_has_no_error() {
        let single = Estimate::of(&[4.0]).unwrap();
        assert_eq!((single.standard_error, single.margin(0.95)), (None, None));
        assert_eq!(Estimate::of(&[]), None);
    }

    proptest! {
        #[test]
        fn what_all_arms_share_cancels(values in prop::collection::vec(-10f64..10.0, 2..8), shift in -5f64..5.0) {
            let a: Vec<_> = values.iter().enumerate().map(|(seed, value)| (seed as u64, value + shift)).collect();
            let b: Vec<_> = values.iter().enumerate().map(|(seed, &value)| (seed as u64, value)).collect();
            let difference = paired_difference(&a, &b).unwrap();
            prop_assert!((difference.mean - shift).abs() < 1e-12);
            prop_assert!(difference.standard_error.unwrap() < 1e-12);
        }
    }
}
