//! Arrays with names: the parts of a data set in one archive or folder.

use super::{Chosen, Part, Parts};
use crate::array::Array;
use crate::{Dataset, Input, Labels, Selection, Target};
use gnp_base::choice::listed;
use gnp_base::{Error, Result};
use std::path::Path;

/// What arrays of labels are called where nothing else is said, as data sets name them.
const LABELS: [&str; 5] = ["y", "labels", "label", "targets", "target"];

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
}

impl Part {
    /// What the names of its arrays end in, where an archive has both parts.
    fn suffix(self) -> &'static str {
        match self {
            Self::Train => "_train",
            Self::Test => "_test",
        }
    }
}

/// What of the arrays is fed: by the name of an input or output, that of the array without the suffix of its part.
struct Names {
    inputs: Vec<(Option<String>, String)>,
    targets: Vec<(Option<String>, String)>,
    /// What the names of the arrays end in.
    suffix: &'static str,
}

impl Names {
    /// What of arrays of the names `there` is fed of `part`, as `selection` says; none where there is no such part.
    ///
    /// Labels are called `y`, `labels` or likewise. An array `x` is fed to the one input that a model has; without it,
    /// each other array to the input of its name.
    fn of(there: &[String], part: Part, selection: &Selection) -> Option<Self> {
        let are_in = |part: Part| there.iter().any(|name| name.ends_with(part.suffix()));
        let suffix = match part {
            _ if are_in(part) => part.suffix(),
            Part::Test if are_in(Part::Train) => return None,
            _ => "",
        };
        let is_of_a_part = |name: &str| [Part::Train, Part::Test].iter().any(|part| name.ends_with(part.suffix()));
        let bare = |name: &String| name.strip_suffix(suffix).filter(|name| !is_of_a_part(name)).map(str::to_owned);
        let mut names: Vec<String> = there.iter().filter_map(bare).collect();
        names.sort_unstable();
        let is_there = |name: &str| names.iter().any(|there| there == name);
        let targets: Vec<(Option<String>, String)> = if selection.targets.is_empty() {
            let found = LABELS.into_iter().find(|name| is_there(name)).unwrap_or(LABELS[0]);
            vec![(None, found.to_owned())]
        } else {
            let named = selection.targets.iter().flat_map(|(output, arrays)| arrays.iter().map(move |a| (output, a)));
            named.map(|(output, array)| (output.clone(), array.clone())).collect()
        };
        let inputs = if !selection.inputs.is_empty() {
            let named = selection.inputs.iter().flat_map(|(input, arrays)| arrays.iter().map(move |a| (input, a)));
            named.map(|(input, array)| (Some(input.clone()), array.clone())).collect()
        } else if is_there("x") || names.iter().all(|name| targets.iter().any(|(_, target)| target == name)) {
            // Reading reports what is missing and lists what is there.
            vec![(None, "x".to_owned())]
        } else {
            let others = names.into_iter().filter(|name| !targets.iter().any(|(_, target)| target == name));
            others.map(|name| (Some(name.clone()), name)).collect()
        };
        Some(Self { inputs, targets, suffix })
    }
}

impl<T: NamedArrays> Parts for T {
    fn choose(&self, selection: &Selection) -> Result<Chosen> {
        if !(selection.features.is_empty() && selection.text.is_empty() && selection.tokenizer.is_none()) {
            return Err(Error::input("only a table (.csv, .jsonl, .parquet) has columns to choose from")
                .help("name the array of an input with --feature INPUT=ARRAY"));
        }
        let arrays = selection.inputs.iter().map(|(name, arrays)| (Some(name), arrays));
        let arrays = arrays.chain(selection.targets.iter().map(|(name, arrays)| (name.as_ref(), arrays)));
        if let Some((name, arrays)) = arrays.into_iter().find(|(_, arrays)| arrays.len() != 1) {
            let of = name.map(|name| format!(" for `{name}`")).unwrap_or_default();
            return Err(Error::input(format!("{} arrays are named{of}; expected one", arrays.len()))
                .help("columns can stand side by side in a table; in an archive an input is one array"));
        }
        Ok(Chosen { selection: selection.clone(), ..Chosen::default() })
    }

    fn part(&mut self, part: Part, chosen: &Chosen) -> Result<Option<Dataset>> {
        let Some(names) = Names::of(&self.names(), part, &chosen.selection) else { return Ok(None) };
        let Names { inputs, targets, suffix } = names;
        let stored = |name: &str| format!("{name}{suffix}");
        let inputs = inputs
            .into_iter()
            .map(|(name, array)| Ok(Input { name, ..Input::from(crate::Samples::from(self.read(&stored(&array))?)) }));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let targets = targets
            .into_iter()
            .map(|(name, array)| Ok(Target { name, ..Target::from(Labels::new(self.read(&stored(&array))?)?) }));
        let targets = targets.collect::<Result<Vec<_>>>()?;
        let path = self.path();
        let data = Dataset::of(inputs, targets);
        data.map(|data| Some(data.from_files(path, path))).map_err(|error| error.in_file(path))
    }

    fn is_single_set(&self) -> bool {
        !self.names().iter().any(|name| name.ends_with(Part::Train.suffix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(there: &[&str], part: Part, selection: &Selection) -> Option<String> {
        let there: Vec<String> = there.iter().map(|&name| name.to_owned()).collect();
        let Names { inputs, targets, suffix } = Names::of(&there, part, selection)?;
        let said = |names: Vec<(Option<String>, String)>| {
            let pairs = names.into_iter().map(|(name, array)| format!("{}<{array}{suffix}", name.unwrap_or_default()));
            pairs.collect::<Vec<_>>().join(" ")
        };
        Some(format!("{} | {}", said(inputs), said(targets)))
    }

    #[test]
    fn arrays_are_told_by_their_names() {
        let any = Selection::default();
        let train = |there: &[&str]| names(there, Part::Train, &any).unwrap();
        assert_eq!(train(&["x", "y", "note"]), "<x | <y");
        assert_eq!(train(&["x_train", "y_train", "x_test", "y_test"]), "<x_train | <y_train");
        let transformer = train(&["input_ids", "attention_mask", "labels"]);
        assert_eq!(transformer, "attention_mask<attention_mask input_ids<input_ids | <labels");
        assert_eq!(
            train(&["ids_train", "label_train", "ids_test", "label_test", "ids"]),
            "ids<ids_train | <label_train"
        );
        assert_eq!(train(&["y"]), "<x | <y");
        let chosen =
            Selection { inputs: vec![("a".to_owned(), vec!["tokens".to_owned()])], ..Selection::predicting(["tags"]) };
        assert_eq!(names(&["tokens", "tags", "y"], Part::Train, &chosen).unwrap(), "a<tokens | <tags");
    }

    #[test]
    fn a_test_set_has_names_of_its_own_or_an_archive() {
        let test = |there: &[&str]| names(there, Part::Test, &Selection::default());
        assert_eq!(test(&["x_train", "y_train"]), None);
        assert_eq!(test(&["x_test", "y_test"]).unwrap(), "<x_test | <y_test");
        assert_eq!(test(&["x", "y"]).unwrap(), "<x | <y");
    }
}
