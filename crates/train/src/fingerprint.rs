//! What the course of a run depends on.

use gnp_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The choices that a run's course depends on, by name. A run can go on only with the same; one that has diverged also
/// with other rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    choices: BTreeMap<String, Value>,
    rates: BTreeMap<String, Value>,
}

impl Fingerprint {
    /// Adds a choice.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.choices.insert(name.to_owned(), value.into());
        self
    }

    /// A choice.
    pub fn choice(&self, name: &str) -> Option<&Value> {
        self.choices.get(name)
    }

    /// Adds a choice of how far steps go.
    #[must_use]
    pub fn with_rate(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.rates.insert(name.to_owned(), value.into());
        self
    }

    /// Checks that this run may go on from one that was begun with `begun`, and has diverged or has not.
    ///
    /// # Errors
    /// Where they differ: the message says in what.
    ///
    /// ```
    /// use gnp_train::Fingerprint;
    /// let begun = Fingerprint::default().with("seed", 0).with_rate("learning rate", 1);
    /// let now = Fingerprint::default().with("seed", 1).with_rate("learning rate", 1);
    /// let error = now.check_continues(&begun, false).unwrap_err();
    /// assert_eq!(error.to_string(), "the run was begun otherwise: seed was 0, is 1");
    /// let lower = begun.clone().with_rate("learning rate", 0);
    /// assert!(lower.check_continues(&begun, false).is_err());
    /// lower.check_continues(&begun, true)?;
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    pub fn check_continues(&self, begun: &Self, has_diverged: bool) -> Result<()> {
        let mut different = differences(&begun.choices, &self.choices);
        if !has_diverged {
            different.append(&mut differences(&begun.rates, &self.rates));
        }
        if different.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("the run was begun otherwise: {}", different.join("; ")))
            .help("resume with the same options, or begin another run in another folder"))
    }
}

fn differences(begun: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<_> = now.keys().chain(begun.keys()).collect();
    let different = names.into_iter().filter(|name| now.get(*name) != begun.get(*name));
    different.map(|name| format!("{name} was {}, is {}", show(begun.get(name)), show(now.get(name)))).collect()
}

fn show(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not given".to_owned(),
        // Rates have 32 bits.
        Some(Value::Number(number)) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| (number as f32).to_string())
        }
        Some(value) => value.to_string(),
    }
}
