//! What is compared.

use gnp_base::{Error, Result};
use serde::Serialize;

/// One way of training, which is run once with every seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// What tables and figures call it.
    pub name: String,
    /// Its radius and weight, where it is a point of the grid.
    pub point: Option<Point>,
}

/// A point of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The radius r; 0 for plain training.
    pub r: f32,
    /// The weight α; 0 for plain training.
    pub alpha: f32,
}

impl Arm {
    /// The part of file names that stands for it: letters, digits, points and hyphens.
    pub fn file_name(&self) -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        match self.point {
            Some(Point { r, alpha }) if r == 0.0 || alpha == 0.0 => "plain".to_owned(),
            Some(Point { r, alpha }) => format!("r{r}-alpha{alpha}"),
            None => self.name.chars().map(allowed).collect(),
        }
    }

    /// Whether it is the plain training that others are compared with.
    pub fn is_plain(&self) -> bool {
        self.point.is_some_and(|point| point.r == 0.0 || point.alpha == 0.0)
    }
}

/// The arms of a grid: each α with each r. Where α or r is 0 the training is plain, whatever the other is, and is there
/// once, in front.
///
/// ```
/// use gnp_train::experiment::sweep::grid;
/// let names: Vec<String> = grid(&[0.1, 0.2], &[0.0, 0.8, 1.0])?.into_iter().map(|arm| arm.name).collect();
/// assert_eq!(names, ["plain", "GNP r = 0.1, α = 0.8", "SAM r = 0.1", "GNP r = 0.2, α = 0.8", "SAM r = 0.2"]);
/// # Ok::<(), gnp_base::Error>(())
/// ```
///
/// # Errors
/// Where a number is negative or not finite, or given twice.
pub fn grid(radii: &[f32], alphas: &[f32]) -> Result<Vec<Arm>> {
    for (flag, numbers) in [("--r", radii), ("--alpha", alphas)] {
        for (i, number) in numbers.iter().enumerate() {
            if !(number.is_finite() && *number >= 0.0) {
                return Err(Error::input(format!("{flag} {number}: expected numbers from 0 on")));
            }
            if numbers[..i].contains(number) {
                return Err(Error::input(format!("{flag} has {number} twice")));
            }
        }
    }
    let points = radii.iter().flat_map(|&r| alphas.iter().map(move |&alpha| Point { r, alpha }));
    let (plain, penalised): (Vec<_>, Vec<_>) = points.partition(|point| point.r == 0.0 || point.alpha == 0.0);
    let plain = plain.first().map(|_| Point { r: 0.0, alpha: 0.0 });
    let arm = |point: Point| Arm { name: name(point), point: Some(point) };
    Ok(plain.into_iter().chain(penalised).map(arm).collect())
}

fn name(Point { r, alpha }: Point) -> String {
    match alpha {
        0.0 => "plain".to_owned(),
        1.0 => format!("SAM r = {r}"),
        _ => format!("GNP r = {r}, α = {alpha}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_have_file_names_of_their_own() {
        let arms = grid(&[0.05, 0.1], &[0.0, 0.2, 1.0]).unwrap();
        let names: Vec<String> = arms.iter().map(Arm::file_name).collect();
        assert_eq!(names, ["plain", "r0.05-alpha0.2", "r0.05-alpha1", "r0.1-alpha0.2", "r0.1-alpha1"]);
        let named = Arm { name: "plain, 2× epochs/..".into(), point: None };
        assert_eq!(named.file_name(), "plain__2__epochs_..");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(grid(&[-0.1], &[0.8]).is_err());
        assert!(grid(&[0.1], &[f32::NAN]).is_err());
        assert!(grid(&[0.1, 0.1], &[0.8]).unwrap_err().to_string().contains("twice"));
    }
}
