//! Factors for some of the parameters: what PyTorch has parameter groups for.

use gnp_base::choice::nearest;
use gnp_base::{Error, Result};
use gnp_model::graph::{Builder, Value};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use wildmatch::WildMatch;

/// A factor for the parameters whose names a glob matches (`*` and `?` stand for anything): `backbone.*=0.1`.
///
/// ```
/// use gnp_step::transform::Scale;
/// let scale: Scale = "backbone.*=0.1".parse()?;
/// assert_eq!(scale, Scale { glob: "backbone.*".into(), factor: 0.1 });
/// assert_eq!(scale.to_string(), "backbone.*=0.1");
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The glob over names of parameters.
    pub glob: String,
    /// The factor, from 0 on.
    pub factor: f32,
}

impl FromStr for Scale {
    type Err = Error;

    /// # Errors
    /// Where the text is no `GLOB=NUMBER` with a finite number from 0 on.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.rsplit_once('=').and_then(|(glob, factor)| Some((glob, factor.parse::<f32>().ok()?)));
        match parts {
            Some((glob, factor)) if !glob.is_empty() && factor.is_finite() && factor >= 0.0 => {
                Ok(Self { glob: glob.to_owned(), factor })
            }
            _ => Err(Error::input(format!(
                "expected GLOB=FACTOR with a number from 0 on, as in 'backbone.*=0.1', and not `{text}`"
            ))),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.glob, self.factor)
    }
}

/// The factor of each of `parameters`, their names: that of the last of `scales` that matches it, else 1. `flag` is
/// what they were given with.
///
/// # Errors
/// Where one matches no parameter.
pub(super) fn factors(scales: &[Scale], parameters: &[&str], flag: &str) -> Result<Vec<f32>> {
    let mut factors = vec![1.0; parameters.len()];
    for Scale { glob, factor } in scales {
        let matcher = WildMatch::new(glob);
        let mut matches_any = false;
        for (own, _) in factors.iter_mut().zip(parameters).filter(|(_, name)| matcher.matches(name)) {
            *own = *factor;
            matches_any = true;
        }
        if !matches_any {
            return Err(Error::input(format!("{flag} {glob}: no trainable parameter has such a name"))
                .help(nearest(glob, parameters.iter().copied())));
        }
    }
    Ok(factors)
}

/// A scalar times each of `factors`: a node for each factor that is not 1, whatever number of parameters have it.
pub(super) fn scaled(b: &Builder<'_>, scalar: &Value, factors: &[f32]) -> Vec<Value> {
    let mut made: Vec<(f32, Value)> = vec![(1.0, scalar.clone())];
    let mut one = |&factor: &f32| {
        if let Some((_, value)) = made.iter().find(|(other, _)| *other == factor) {
            return value.clone();
        }
        let value = b.scale(scalar, factor.into());
        made.push((factor, value.clone()));
        value
    };
    factors.iter().map(&mut one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["backbone.conv.weight", "backbone.conv.bias", "head.weight"];

    fn scales(texts: &[&str]) -> Vec<Scale> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_glob_that_matches_counts() {
        let of = |texts: &[&str]| factors(&scales(texts), &NAMES, "--lr-scale").unwrap();
        assert_eq!(of(&[]), [1.0; 3]);
        assert_eq!(of(&["backbone.*=0.1"]), [0.1, 0.1, 1.0]);
        assert_eq!(of(&["*=0.5", "backbone.*=0.1", "*.bias=2"]), [0.1, 2.0, 0.5]);
        assert_eq!(of(&["*.bias=2", "*=0.5"]), [0.5; 3]);
    }

    #[test]
    fn a_glob_without_a_parameter_is_refused() {
        let error = factors(&scales(&["head.weigth=0.1"]), &NAMES, "--lr-scale").unwrap_err();
        assert_eq!(error.to_string(), "--lr-scale head.weigth: no trainable parameter has such a name");
        assert_eq!(error.help_text(), Some("did you mean `head.weight`?"));
    }

    #[test]
    fn a_glob_may_contain_an_equals_sign() {
        assert_eq!("a=b=2".parse::<Scale>().unwrap(), Scale { glob: "a=b".into(), factor: 2.0 });
        for text in ["a", "=1", "a=", "a=-1", "a=NaN", "a=inf", "a=x"] {
            assert!(text.parse::<Scale>().is_err(), "{text}");
        }
    }
}
