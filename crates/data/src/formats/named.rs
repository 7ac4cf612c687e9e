//! Arrays with names: the parts of a data set in one archive or folder.

use super::{Columns, Part, Parts};
use crate::Dataset;
use crate::array::Array;
use gnp_base::choice::listed;
use gnp_base::{Error, Result};
use std::path::Path;

/// What holds arrays by name.
pub(super) trait NamedArrays {
    /// The archive or folder, for messages.
    fn path(&self) -> &Path;

    /// The names of the arrays.
    fn names(&self) -> Vec<String>;

    /// Reads the array of a name that is there; errors need not name the archive.
    fn decode(&mut self, name: &str) -> Result<Array>;

    /// Whether there is an array of this name.
    fn contains(&self, name: &str) -> bool {
        self.names().iter().any(|there| there == name)
    }

    /// Reads the array of this name.
    ///
    /// # Errors
    /// Where there is no such array (the message lists those there are), it is damaged, or an element is no finite
    /// number.
    fn read(&mut self, name: &str) -> Result<Array> {
        if !self.contains(name) {
            return Err(Error::input(format!("there is no array `{name}`; there are: {}", listed(&self.names())))
                .in_file(self.path()));
        }
        let array = self.decode(name).and_then(|array| {
            array.check_finite(&format!("`{name}`"))?;
            Ok(array)
        });
        array.map_err(|error| error.in_file(self.path()))
    }

    /// The names of a part's samples and labels: `x_train`, `y_train`, `x_test`, `y_test`, or `x`, `y` where the set is
    /// unnamed. None where there is no test set.
    fn names_of(&self, part: Part) -> Option<[&'static str; 2]> {
        let named = match part {
            Part::Train => ["x_train", "y_train"],
            Part::Test => ["x_test", "y_test"],
        };
        match part {
            _ if self.contains(named[0]) => Some(named),
            _ if self.contains("x") => Some(["x", "y"]),
            Part::Test => None,
            // Reading reports what is missing and lists what is there.
            Part::Train => Some(named),
        }
    }
}

impl<T: NamedArrays> Parts for T {
    fn part(&mut self, part: Part, _: Option<&Columns>) -> Result<Option<Dataset>> {
        let Some([x, y]) = self.names_of(part) else { return Ok(None) };
        let data = Dataset::new(self.read(x)?, self.read(y)?);
        let path = self.path();
        data.map(|data| Some(data.from_files(path, path))).map_err(|error| error.in_file(path))
    }

    fn is_single_set(&self) -> bool {
        !self.contains("x_train")
    }
}
