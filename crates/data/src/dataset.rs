//! Samples and their labels, in memory.

use crate::array::Array;
use crate::labels::Labels;
use crate::order;
use crate::samples::Samples;
use gnp_base::choice::nearest;
use gnp_base::digest::Digest;
use gnp_base::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Samples, and the labels of each.
#[derive(Clone, Debug)]
pub struct Dataset {
    inputs: Vec<Input>,
    targets: Vec<Target>,
    origin: Origin,
}

/// What an input of a model is fed.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The name of the model's input; none where the data do not say.
    pub name: Option<String>,
    /// One for each sample.
    pub samples: Samples,
    /// What lists are filled up with where nothing else is asked for.
    pub pad: f64,
}

/// What one of a model's losses compares its output with.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The name of the model's output; none where the data do not say.
    pub name: Option<String>,
    /// One for each sample.
    pub labels: Labels,
    /// The names of the classes, in order of class; none where they are unknown.
    pub class_names: Vec<String>,
}

impl From<Samples> for Input {
    fn from(samples: Samples) -> Self {
        Self { name: None, samples, pad: 0.0 }
    }
}

impl Input {
    /// Samples for the input `name`.
    pub fn new(name: impl Into<String>, samples: impl Into<Samples>) -> Self {
        Self { name: Some(name.into()), samples: samples.into(), pad: 0.0 }
    }

    /// What messages call it.
    fn called(&self) -> String {
        self.name.as_ref().map_or_else(|| "the samples".to_owned(), |name| format!("`{name}`"))
    }
}

impl From<Labels> for Target {
    fn from(labels: Labels) -> Self {
        Self { name: None, labels, class_names: Vec::new() }
    }
}

impl Target {
    /// What messages call it.
    fn called(&self) -> String {
        self.name.as_ref().map_or_else(|| "the labels".to_owned(), |name| format!("the labels of `{name}`"))
    }

    /// One more than the largest class; 0 where the labels are no classes.
    pub fn label_bound(&self) -> usize {
        let largest = self.labels.classes().and_then(|classes| classes.iter().max());
        largest.and_then(|&class| usize::try_from(class).ok()).map_or(0, |class| class.saturating_add(1))
    }

    /// The labels with a name for each class, in order of class.
    ///
    /// # Errors
    /// Where the labels are no classes, or there are fewer names than classes.
    pub fn with_class_names(self, class_names: Vec<String>) -> Result<Self> {
        let classes = self.label_bound();
        if !class_names.is_empty() && (class_names.len() < classes || self.labels.classes().is_none()) {
            return Err(Error::input(format!(
                "there are {} names of classes, but {classes} classes",
                class_names.len()
            )));
        }
        Ok(Self { class_names, ..self })
    }

    /// Renumbers the classes so that those of equal names are those of `names`.
    ///
    /// # Errors
    /// Where one of these classes has none of these names.
    fn align_classes(mut self, names: &[String]) -> Result<Self> {
        if self.class_names.is_empty() || self.class_names == names {
            return Ok(self);
        }
        let known: HashMap<&str, i64> = names.iter().map(String::as_str).zip(0..).collect();
        let places = self.class_names.iter().map(|name| {
            known.get(&**name).copied().ok_or_else(|| {
                let near = nearest(name, names.iter().map(String::as_str));
                Error::input(format!("the class `{name}` is none of the training data's ({near})"))
            })
        });
        let places = places.collect::<Result<Vec<_>>>()?;
        if let Labels::Classes(classes) = &mut self.labels {
            for class in classes {
                *class = places[*class as usize];
            }
        }
        self.class_names = names.to_vec();
        Ok(self)
    }

    fn select(&self, rows: &[usize]) -> Result<Self> {
        Ok(Self { labels: self.labels.select(rows)?, ..self.clone() })
    }
}

/// Where a data set comes from, for messages.
#[derive(Clone, Debug, Default)]
struct Origin {
    samples: Option<PathBuf>,
    labels: Option<PathBuf>,
    /// The numbers of its samples there, where they are a part.
    rows: Option<Vec<usize>>,
}

/// Whether samples, labels and names are the same, wherever they come from.
impl PartialEq for Dataset {
    fn eq(&self, other: &Self) -> bool {
        (&self.inputs, &self.targets) == (&other.inputs, &other.targets)
    }
}

/// What is trained on, and what the result is measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The training set.
    pub train: Dataset,
    /// The test set, where there is one.
    pub test: Option<Dataset>,
}

impl Dataset {
    /// A data set of `samples` and their `labels`, both of any shape: the outermost axis counts the samples.
    ///
    /// Integers of shape `[n]` or `[n, 1]` are classes, all else are targets.
    ///
    /// # Errors
    /// As [`Dataset::of`].
    pub fn new(samples: impl Into<Samples>, labels: Array) -> Result<Self> {
        Self::of(vec![samples.into().into()], vec![Labels::new(labels)?.into()])
    }

    /// A data set with several inputs and targets.
    ///
    /// ```
    /// use gnp_data::{Array, Dataset, Input, Labels, Lists, Values};
    /// let ids = Lists::new(Values::I64(vec![5, 6, 7]), &[2, 1], vec![])?;
    /// let age = Array::new(vec![2, 1], Values::F32(vec![31.0, 17.0]))?;
    /// let data = Dataset::of(
    ///     vec![Input::new("input_ids", ids), Input::new("age", age)],
    ///     vec![Labels::Classes(vec![0, 1]).into()],
    /// )?;
    /// assert_eq!((data.len(), data.inputs().len()), (2, 2));
    /// # Ok::<(), gnp_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no input or no target, the counts differ, there are none, there is nothing in them, or an element
    /// is NaN or infinite.
    pub fn of(inputs: Vec<Input>, targets: Vec<Target>) -> Result<Self> {
        let (Some(first), Some(_)) = (inputs.first(), targets.first()) else {
            return Err(Error::input("a data set has samples and labels"));
        };
        for Target { labels, .. } in &targets {
            labels.check_finite("the labels")?;
        }
        for input in &inputs {
            input.samples.check(&input.called())?;
        }
        let count = first.samples.len();
        let counts = inputs.iter().map(|input| (input.samples.len(), input.called()));
        let counts = counts.chain(targets.iter().map(|target| (target.labels.len(), target.called())));
        if let Some((other, called)) = counts.into_iter().find(|(other, _)| *other != count) {
            let (what, of) = match inputs.len() {
                1 => ("samples".to_owned(), called.strip_prefix("the ").unwrap_or(&called).to_owned()),
                _ => (format!("samples of {}", first.called()), format!("of {called}")),
            };
            return Err(Error::input(format!("there are {count} {what} but {other} {of}")));
        }
        if count == 0 {
            return Err(Error::input("the data set is empty"));
        }
        // There could be any number of them in a file of no size.
        let shapes = inputs.iter().filter_map(|input| Some(("samples", input.samples.shape()?)));
        for (what, shape) in shapes.chain(targets.iter().map(|target| ("labels", target.labels.shape()))) {
            if shape.contains(&0) {
                return Err(Error::input(format!("the {what} have the shape {shape:?}: there is nothing in them")));
            }
        }
        Ok(Self { inputs, targets, origin: Origin::default() })
    }

    /// The data set with the files that its samples and labels come from, which messages name.
    #[must_use]
    pub fn from_files(self, samples: &Path, labels: &Path) -> Self {
        let (samples, labels) = (Some(samples.to_owned()), Some(labels.to_owned()));
        Self { origin: Origin { samples, labels, ..self.origin }, ..self }
    }

    /// The number that the sample `row` has where the data come from.
    pub fn number_of(&self, row: usize) -> usize {
        self.origin.rows.as_ref().map_or(row, |rows| rows[row])
    }

    /// An error about the samples with the name of their file.
    pub fn in_samples_file(&self, error: Error) -> Error {
        self.origin.samples.iter().fold(error, |error, file| error.in_file(file))
    }

    /// An error about the labels with the name of their file.
    pub fn in_labels_file(&self, error: Error) -> Error {
        self.origin.labels.iter().fold(error, |error, file| error.in_file(file))
    }

    /// The data set with a name for each class of its first target, in order of class.
    ///
    /// # Errors
    /// As [`Target::with_class_names`].
    pub fn with_class_names(mut self, class_names: Vec<String>) -> Result<Self> {
        let named = self.targets.remove(0).with_class_names(class_names)?;
        self.targets.insert(0, named);
        Ok(self)
    }

    /// The number of samples; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.inputs[0].samples.len()
    }

    /// What the inputs of a model are fed; at least one.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// What its losses compare its outputs with; at least one.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The names of the classes of the first target, in order of class; none where they are unknown.
    pub fn class_names(&self) -> &[String] {
        &self.targets[0].class_names
    }

    /// The samples of the first input.
    pub fn samples(&self) -> &Samples {
        &self.inputs[0].samples
    }

    /// The labels of the first target.
    pub fn labels(&self) -> &Labels {
        &self.targets[0].labels
    }

    /// One more than the largest class of the first target; 0 where its labels are no classes.
    pub fn label_bound(&self) -> usize {
        self.targets[0].label_bound()
    }

    /// Renumbers the classes of each target so that those of equal names are those of `train`.
    ///
    /// # Errors
    /// Where one of this data set's classes has none of these names.
    pub(super) fn align_classes(self, train: &Self) -> Result<Self> {
        let targets = self.targets.into_iter().zip(&train.targets);
        let targets = targets.map(|(target, train)| target.align_classes(&train.class_names)).collect::<Result<_>>()?;
        Ok(Self { targets, ..self })
    }

    /// The data set in two: what is left, and the fraction `fraction` of the samples, drawn at random by `seed`. Both
    /// in the order of before.
    ///
    /// # Errors
    /// Where one of the two would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let count = (fraction * self.len() as f64).round();
        if !(count >= 1.0 && count < self.len() as f64) {
            return Err(Error::input(format!(
                "of {} samples the fraction {fraction} cannot be split off: both parts need a sample",
                self.len()
            ))
            .help("give a fraction between 0 and 1, such as 0.1"));
        }
        let (rest, drawn) = order::split(self.len(), count as usize, seed);
        Ok((self.select(&rest)?, self.select(&drawn)?))
    }

    /// The data set of `count` of the samples, drawn at random by `seed`, in the order of before. The names of the
    /// classes stay, also of one that none of them has.
    ///
    /// # Errors
    /// Where there are fewer, or it would be empty.
    pub fn subset(&self, count: usize, seed: u64) -> Result<Self> {
        if !(1..=self.len()).contains(&count) {
            return Err(Error::input(format!("{count} samples are asked for, but there are {}", self.len()))
                .help(format!("ask for 1 to {}", self.len())));
        }
        self.select(&order::subset(self.len(), count, seed))
    }

    fn select(&self, rows: &[usize]) -> Result<Self> {
        let input = |input: &Input| {
            Ok(Input { name: input.name.clone(), samples: input.samples.select(rows)?, pad: input.pad })
        };
        let numbers = rows.iter().map(|&row| self.number_of(row)).collect();
        Ok(Self {
            inputs: self.inputs.iter().map(input).collect::<Result<_>>()?,
            targets: self.targets.iter().map(|target| target.select(rows)).collect::<Result<_>>()?,
            origin: Origin { rows: Some(numbers), ..self.origin.clone() },
        })
    }

    /// Redraws the labels of the fraction `noise` of the samples uniformly over all `classes`: a label may come out as
    /// it was. Labels of `ignored`, which stand for no class, stay. The same `seed` redraws the same samples to the
    /// same labels.
    ///
    /// # Errors
    /// Where `noise` is not between 0 and 1, or above 0 with labels that are no classes.
    pub fn redraw_labels(&mut self, noise: f64, classes: usize, ignored: Option<i64>, seed: u64) -> Result<()> {
        if !(0.0..=1.0).contains(&noise) {
            return Err(Error::input(format!("the label noise must lie between 0 and 1, not at {noise}")));
        }
        match &mut self.targets[..] {
            _ if noise == 0.0 => {}
            [Target { labels: Labels::Classes(labels), .. }] => order::redraw(labels, noise, classes, ignored, seed),
            _ => return Err(Error::input("only labels that are classes can be redrawn at random")),
        }
        Ok(())
    }

    /// The SHA-256 of shape, samples and labels, in hexadecimal: which data these are. Of images in files the names and
    /// sizes stand for the pixels.
    pub fn digest(&self) -> String {
        let mut digest = Digest::default();
        for Input { name, samples, .. } in &self.inputs {
            name.iter().for_each(|name| digest.add(name));
            samples.hash(&mut digest);
        }
        for Target { name, labels, .. } in &self.targets {
            name.iter().for_each(|name| digest.add(name));
            labels.hash(&mut digest);
        }
        digest.hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Values;

    fn bytes(shape: &[usize], values: &[u8]) -> Array {
        Array::new(shape.to_vec(), Values::U8(values.to_vec())).unwrap()
    }

    fn message(result: Result<Dataset>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_is_no_data_set() {
        let samples = || bytes(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(message(Dataset::new(samples(), bytes(&[3], &[0; 3]))), "there are 2 samples but 3 labels");
        assert_eq!(message(Dataset::new(bytes(&[0, 2], &[]), bytes(&[0], &[]))), "the data set is empty");
        let nothing = || bytes(&[1 << 40, 0], &[]);
        assert_eq!(
            message(Dataset::new(nothing(), nothing())),
            "the samples have the shape [0]: there is nothing in them"
        );
        assert!(message(Dataset::new(samples(), bytes(&[2, 0], &[]))).starts_with("the labels have the shape [0]"));
        let scalar = Array::new(vec![], Values::F32(vec![1.0])).unwrap();
        assert!(message(Dataset::new(samples(), scalar)).contains("single number"));
    }

    #[test]
    fn one_integer_a_sample_is_a_class() {
        let labels = |labels: Array| Dataset::new(bytes(&[2, 2], &[1, 2, 3, 4]), labels).unwrap().labels().clone();
        assert_eq!(labels(bytes(&[2, 1], &[0, 1])), Labels::Classes(vec![0, 1]));
        let floats = Array::new(vec![2], Values::F32(vec![-0.5, 1.0])).unwrap();
        assert_eq!(labels(floats.clone()), Labels::Targets(floats));
        assert_eq!(labels(bytes(&[2, 3], &[0; 6])), Labels::Targets(bytes(&[2, 3], &[0; 6])));
    }

    fn named(names: &[&str], classes: &[u8]) -> Dataset {
        let data = Dataset::new(bytes(&[classes.len(), 1], classes), bytes(&[classes.len()], classes)).unwrap();
        data.with_class_names(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    #[test]
    fn classes_are_aligned_by_name() {
        let names = ["cat", "dog", "eel"].map(String::from);
        let train = named(&["cat", "dog", "eel"], &[0, 1, 2]);
        let aligned = named(&["cat", "eel"], &[1, 0, 1]).align_classes(&train).unwrap();
        assert_eq!((aligned.labels().classes().unwrap(), aligned.class_names()), (&[2, 0, 2][..], &names[..]));
        let error = named(&["cat", "dogs"], &[0]).align_classes(&train).unwrap_err().to_string();
        assert_eq!(error, "the class `dogs` is none of the training data's (did you mean `dog`?)");
        let data = Dataset::new(bytes(&[1, 1], &[2]), bytes(&[1], &[2])).unwrap();
        assert!(data.with_class_names(names[..2].to_vec()).is_err());
    }

    #[test]
    fn a_split_parts_the_samples() {
        let data = named(&["a", "b"], &[0, 1, 1, 0, 1, 0, 0, 1, 1, 0]);
        let (train, test) = data.split(0.3, 5).unwrap();
        assert_eq!((train.len(), test.len(), test.class_names().len()), (7, 3, 2));
        assert_eq!(data.split(0.3, 5).unwrap(), (train.clone(), test));
        assert_ne!(data.split(0.3, 6).unwrap().0, train);
        for fraction in [0.0, 0.01, 0.99, 1.0, -1.0, f64::NAN] {
            assert!(data.split(fraction, 5).is_err(), "{fraction}");
        }
    }

    #[test]
    fn a_subset_keeps_order_labels_and_names() {
        // Each sample is its number.
        let labels: Vec<u8> = (0..10).map(|sample| sample % 3).collect();
        let data = Dataset::new(bytes(&[10, 1], &(0..10).collect::<Vec<_>>()), bytes(&[10], &labels)).unwrap();
        let data = data.with_class_names(["a", "b", "c", "d"].map(String::from).to_vec()).unwrap();
        let subset = data.subset(4, 5).unwrap();
        let Samples::Array(samples) = subset.samples() else { panic!("no array") };
        let Values::U8(drawn) = samples.values() else { panic!("no bytes") };
        assert!(drawn.len() == 4 && drawn.is_sorted_by(|a, b| a < b), "{drawn:?}");
        let classes: Vec<i64> = drawn.iter().map(|number| i64::from(number % 3)).collect();
        assert_eq!(subset.labels().classes().unwrap(), classes);
        assert_eq!(subset.class_names(), data.class_names());
        assert_eq!(data.subset(4, 5).unwrap(), subset);
        assert!((6..16).any(|seed| data.subset(4, seed).unwrap() != subset));
        assert_eq!(data.subset(10, 5).unwrap(), data);
        let error = data.subset(11, 5).unwrap_err();
        assert_eq!((&*error.to_string(), error.exit_code()), ("11 samples are asked for, but there are 10", 2));
        assert!(data.subset(0, 5).is_err());
    }

    #[test]
    fn the_digest_tells_data_apart() {
        let data = |label| Dataset::new(bytes(&[1, 1], &[1]), bytes(&[1], &[label])).unwrap();
        assert_eq!(data(0).digest(), data(0).digest());
        assert_ne!(data(0).digest(), data(1).digest());
    }
}
