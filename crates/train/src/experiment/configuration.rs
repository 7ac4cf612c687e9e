//! What a run was started with, in the form in which it can be started again.

use std::fmt;
use toml::Value;

/// The arguments of a run by their names, in groups: a TOML file that `gnp-run --config` takes.
///
/// ```
/// use gnp_train::experiment::Configuration;
/// let mut configuration = Configuration::default();
/// configuration.set("Optimization", "epochs", 3);
/// configuration.set("Optimization", "schedule", "cosine");
/// assert_eq!(configuration.to_string(), "# Optimization\nepochs = 3\nschedule = \"cosine\"\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration(Vec<Section>);

#[derive(Clone, Debug, PartialEq)]
struct Section {
    heading: String,
    entries: Vec<(String, Value)>,
}

impl Configuration {
    fn section(&mut self, heading: &str) -> &mut Vec<(String, Value)> {
        let index = self.0.iter().position(|section| section.heading == heading).unwrap_or_else(|| {
            self.0.push(Section { heading: heading.to_owned(), entries: vec![] });
            self.0.len() - 1
        });
        &mut self.0[index].entries
    }

    /// Sets an argument, in the group `heading` where it is new.
    pub fn set(&mut self, heading: &str, key: &str, value: impl Into<Value>) {
        let value = value.into();
        for (known, entry) in self.0.iter_mut().flat_map(|section| &mut section.entries) {
            if known == key {
                *entry = value;
                return;
            }
        }
        self.section(heading).push((key.to_owned(), value));
    }

    /// Leaves an argument out: one that says where results go, say.
    pub fn remove(&mut self, key: &str) {
        for section in &mut self.0 {
            section.entries.retain(|(known, _)| known != key);
        }
    }

    /// The value of an argument.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().flat_map(|section| &section.entries).find_map(|(known, value)| (known == key).then_some(value))
    }
}

/// TOML, with a comment for each group of arguments.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, section) in self.0.iter().filter(|section| !section.entries.is_empty()).enumerate() {
            let space = if i > 0 { "\n" } else { "" };
            writeln!(f, "{space}# {}", section.heading)?;
            for (key, value) in &section.entries {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}
