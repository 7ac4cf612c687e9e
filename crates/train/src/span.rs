//! How long something lasts in a run.

use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A length of a run: a number of steps (`500`), or of epochs (`5ep`), fractions of an epoch included (`0.5ep`).
///
/// ```
/// use gnp_train::Span;
/// assert_eq!("500".parse::<Span>()?.steps(391), 500);
/// assert_eq!("0.5ep".parse::<Span>()?.steps(391), 196);
/// assert_eq!(Span::Epochs(5.0).to_string(), "5ep");
/// # Ok::<(), gnp_base::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Span {
    /// So many steps.
    Steps(u64),
    /// So many epochs, a number from 0 on.
    Epochs(f64),
}

impl Span {
    /// The length in steps, rounded to the nearest, where an epoch has `steps_per_epoch`.
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => (epochs * steps_per_epoch as f64).round() as u64,
        }
    }
}

impl Default for Span {
    /// No time at all.
    fn default() -> Self {
        Self::Steps(0)
    }
}

impl FromStr for Span {
    type Err = Error;

    /// # Errors
    /// Where the text is neither a whole number nor a number from 0 on with `ep` behind it.
    fn from_str(text: &str) -> Result<Self> {
        let span = match text.strip_suffix("ep") {
            Some(epochs) => {
                epochs.parse().ok().filter(|epochs: &f64| epochs.is_finite() && *epochs >= 0.0).map(Self::Epochs)
            }
            None => text.parse().ok().map(Self::Steps),
        };
        span.ok_or_else(|| {
            Error::input(format!("expected a number of steps, as in 500, or of epochs, as in 5ep, and not `{text}`"))
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Epochs(epochs) => write!(f, "{epochs}ep"),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_it_writes(steps: u64, epochs in 0f64..1e6) {
            for span in [Span::Steps(steps), Span::Epochs(epochs)] {
                prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
                let json = serde_json::to_string(&span).unwrap();
                prop_assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), span);
            }
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "ep", "-1", "-1ep", "1.5", "NaNep", "infep", "5 epochs"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
