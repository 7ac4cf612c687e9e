//! What the user says of what trains.

use gnp_base::choice::nearest;
use gnp_base::{Error, Result};
use wildmatch::WildMatch;

/// What the user said of what trains; the evidence decides on the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Globs over the names of constants: these train, and no others; empty for what is inferred.
    pub train: Vec<String>,
    /// Globs over the names of constants: these train too.
    pub also_train: Vec<String>,
    /// Globs over the names of constants: these do not train. They take precedence over the others.
    pub freeze: Vec<String>,
}

/// What stands for a flag where --train names others.
pub(super) const UNNAMED: &str = "not named by --train";

impl Selection {
    /// Whether it says of the constant `name` that it trains.
    pub(crate) fn names(&self, name: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| WildMatch::new(glob).matches(name));
        (any(&self.train) || any(&self.also_train)) && !any(&self.freeze)
    }
}

/// The globs of a selection, each of which matches something.
pub(super) struct Matchers {
    train: Vec<WildMatch>,
    also_train: Vec<WildMatch>,
    freeze: Vec<WildMatch>,
}

impl Matchers {
    /// # Errors
    /// Where a glob matches none of `names`.
    pub fn of(selection: &Selection, names: &[&str]) -> Result<Self> {
        Ok(Self {
            train: matchers(&selection.train, names, "--train")?,
            also_train: matchers(&selection.also_train, names, "--also-train")?,
            freeze: matchers(&selection.freeze, names, "--freeze")?,
        })
    }

    /// Whether the constant `name` trains, by which flag; none where no flag says.
    pub fn of_constant(&self, name: &str) -> Option<(bool, &'static str)> {
        let any = |list: &[WildMatch]| list.iter().any(|matcher| matcher.matches(name));
        if any(&self.freeze) {
            Some((false, "--freeze"))
        } else if any(&self.also_train) {
            Some((true, "--also-train"))
        } else if self.train.is_empty() {
            None
        } else if any(&self.train) {
            Some((true, "--train"))
        } else {
            Some((false, UNNAMED))
        }
    }
}

fn matchers(globs: &[String], names: &[&str], flag: &str) -> Result<Vec<WildMatch>> {
    let matcher = |glob: &String| {
        let matcher = WildMatch::new(glob);
        if names.iter().any(|name| matcher.matches(name)) {
            return Ok(matcher);
        }
        Err(Error::input(format!("{flag} {glob}: no float constant of the graph has such a name"))
            .help(nearest(glob, names.iter().copied())))
    };
    globs.iter().map(matcher).collect()
}
