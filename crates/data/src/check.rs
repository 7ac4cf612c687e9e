//! Whether the numbers of a data set mean something to the graph that they are fed to: labels are classes, token ids
//! are rows of a table.

use super::array::Values;
use super::feed::{Fed, Labelled};
use super::{Feed, Labels};
use gnp_base::contract::{Outside, Range};
use gnp_base::{Error, Result};
use gnp_tensor::{ElementType, Port};

impl Feed<'_> {
    /// Checks the samples by which the graph looks something up, of the data that are called `what` (training, test).
    ///
    /// # Errors
    /// Where a number is out of its range: the message names file, sample, place and range.
    pub fn check_samples(&self, what: &str) -> Result<()> {
        for (port, Fed { values, shape }) in self.fed() {
            let Some(Outside { place, value, range }) = outside(&port.ranges, &shape, values) else { continue };
            let (row, place) = self.place_of(port, &place);
            let sample = self.data().number_of(row);
            let of = if self.data().inputs().len() > 1 { format!(" of `{}`", port.name) } else { String::new() };
            let message = format!(
                "sample {sample} of the {what} data has {value} at {place:?}{of}, which the model looks up in a table; \
                 expected {range}"
            );
            let help = "give the model numbers that its tables have rows for, or export it with larger tables";
            return Err(self.data().in_samples_file(Error::input(message).help(help)));
        }
        Ok(())
    }

    /// Checks the labels of the data that are called `what`. They may be any of `classes` classes, where the graph does
    /// not say how many it has (`class_count`).
    ///
    /// # Errors
    /// As [`Feed::check_samples`]; where no label counts.
    pub fn check_labels(&self, what: &str, classes: Option<usize>) -> Result<()> {
        self.labelled().try_for_each(|(port, labels)| self.check_target(what, classes, port, labels))
    }

    fn check_target(&self, what: &str, classes: Option<usize>, port: &Port, labelled: &Labelled<'_>) -> Result<()> {
        let (labels, one_hot) = (labelled.labels, labelled.one_hot());
        let classes = classes.filter(|_| port.classes().is_none());
        let numbers = |count: usize| Range::up_to(i64::try_from(count).unwrap_or(i64::MAX).saturating_sub(1));
        let known = || classes.map(|count| Range { ignored: port.ignored(), ..numbers(count) });
        let ranges: Vec<Range> = match (one_hot, labels) {
            (Some(count), _) => vec![numbers(count)],
            (None, Labels::Classes(_)) => known().into_iter().chain(port.ranges.iter().copied()).collect(),
            (None, Labels::Targets(_) | Labels::Lists(_)) => port.ranges.clone(),
        };
        let shape = [&[self.data().len()][..], labelled.shape()].concat();
        let found = match labels {
            Labels::Classes(classes) => {
                let values = classes.iter().map(|&class| class as f64);
                ranges.iter().find_map(|range| range.first_outside(&shape[..1], values.clone()))
            }
            Labels::Targets(array) => outside(&ranges, &shape, array.values()),
            Labels::Lists(lists) => outside(&ranges, &[lists.values().len()], lists.values()),
        };
        if let Some(Outside { place, value, range }) = found {
            let (row, place) = match labels {
                Labels::Lists(lists) => lists.find(place[0]),
                _ => (place[0], place[1..].to_vec()),
            };
            let sample = self.data().number_of(row);
            let at = if place.is_empty() { String::new() } else { format!(" at {place:?}") };
            let message = format!("sample {sample} of the {what} data has the label {value}{at}; expected {range}");
            let help = if one_hot.is_none() && port.element == ElementType::F32 {
                "the loss is of probabilities; train class numbers with --loss cross-entropy".to_owned()
            } else if range.ignored.is_some() {
                format!(
                    "labels of {value} are left out with --ignore-index {value}, given where the loss is put on the \
                     model; all others are numbers of its classes, which begin at 0"
                )
            } else {
                "number the classes from 0, and train a model with as many".to_owned()
            };
            return Err(self.data().in_labels_file(Error::input(message).help(help)));
        }
        match port.ignored().filter(|ignored| one_hot.is_none() && all_are(labels, *ignored)) {
            None => Ok(()),
            Some(ignored) => Err(self.data().in_labels_file(
                Error::input(format!("all labels of the {what} data are {ignored}, which does not count"))
                    .help("choose another number to be ignored, with --ignore-index"),
            )),
        }
    }
}

fn outside(ranges: &[Range], shape: &[usize], values: &Values) -> Option<Outside> {
    ranges.iter().find_map(|range| match values {
        Values::U8(values) => range.first_outside(shape, values.iter().map(|&value| value.into())),
        Values::I64(values) => range.first_outside(shape, values.iter().map(|&value| value as f64)),
        Values::F32(values) => range.first_outside(shape, values.iter().map(|&value| value.into())),
    })
}

fn all_are(labels: &Labels, number: i64) -> bool {
    let of_values = |values: &Values| match values {
        Values::U8(values) => values.iter().all(|value| i64::from(*value) == number),
        Values::I64(values) => values.iter().all(|value| *value == number),
        Values::F32(_) => false,
    };
    match labels {
        Labels::Classes(classes) => classes.iter().all(|class| *class == number),
        Labels::Targets(_) | Labels::Lists(_) => labels.values().is_some_and(of_values),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Array, Dataset, Preparation};
    use super::*;
    use gnp_base::contract::Part;
    use std::path::Path;

    fn ports(ids: Vec<Range>, labels: Range, dims: &[Option<usize>]) -> [Port; 2] {
        let ids = Port { ranges: ids, ..Port::new("ids", ElementType::I64, [None, Some(2)]) };
        [ids, Port { ranges: vec![labels], ..Port::new("labels", ElementType::I64, dims) }]
    }

    fn classes() -> Range {
        Range { ignored: Some(-100), ..Range::up_to(2) }
    }

    fn refusal(ids: &[i64], labels: &[i64], shape: &[usize], ports: &[Port]) -> Option<(String, String)> {
        let samples = Array::new(vec![ids.len() / 2, 2], Values::I64(ids.to_vec())).unwrap();
        let labels = Array::new(shape.to_vec(), Values::I64(labels.to_vec())).unwrap();
        let data = Dataset::new(samples, labels).unwrap().from_files(Path::new("x.npy"), Path::new("y.npy"));
        let feed = Feed::new(&data, ports, &Preparation::default(), 0).unwrap();
        let error = feed.check_samples("training").and_then(|()| feed.check_labels("training", None)).err()?;
        Some((error.to_string(), error.help_text().unwrap().to_owned()))
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_place() {
        let one = ports(vec![], classes(), &[None]);
        let says = |labels: &[i64]| refusal(&[0; 6], labels, &[3], &one);
        assert_eq!(says(&[0, -100, 2]), None);
        let (message, help) = says(&[0, 2, 255]).unwrap();
        assert_eq!(
            message,
            "y.npy: sample 2 of the training data has the label 255; expected 0 to 2, or -100, which does not count"
        );
        assert!(help.contains("--ignore-index 255"), "{help}");
        assert!(says(&[0, -1, 0]).unwrap().0.contains("sample 1 of the training data has the label -1;"));
        assert!(says(&[-100; 3]).unwrap().0.contains("all labels of the training data are -100"));

        let tokens = ports(vec![], classes(), &[None, None]);
        let (message, _) = refusal(&[0; 4], &[0, 1, -100, 2, 1, 3], &[2, 3], &tokens).unwrap();
        assert!(
            message.starts_with("y.npy: sample 1 of the training data has the label 3 at [2]; expected"),
            "{message}"
        );
    }

    #[test]
    fn an_id_out_of_range_is_named_with_its_place() {
        let second = Range { part: Some(Part { axis: 1, start: 1, end: i64::MAX }), ..Range::up_to(6) };
        let ports = ports(vec![second, Range::up_to(19)], classes(), &[None]);
        let says = |ids: &[i64]| refusal(ids, &[0, 0], &[2], &ports).map(|(message, _)| message);
        assert_eq!(says(&[19, 6, 7, 0]), None);
        let message = says(&[19, 6, 7, 7]).unwrap();
        assert_eq!(
            message,
            "x.npy: sample 1 of the training data has 7 at [1], which the model looks up in a table; expected 0 to 6"
        );
        assert!(says(&[20, 0, 0, 0]).unwrap().contains("sample 0 of the training data has 20 at [0]"));
        assert!(says(&[0, 0, -1, 0]).unwrap().contains("has -1 at [0]"));
    }

    #[test]
    fn samples_keep_their_numbers_in_a_part_of_the_data() {
        let samples = Array::new(vec![10, 2], Values::I64(vec![0; 20])).unwrap();
        let labels: Vec<i64> = (0..10).map(|sample| if sample == 7 { 9 } else { 0 }).collect();
        let data = Dataset::new(samples, Array::new(vec![10], Values::I64(labels)).unwrap()).unwrap();
        let ports = ports(vec![], classes(), &[None]);
        let message = |data: &Dataset| {
            let feed = Feed::new(data, &ports, &Preparation::default(), 0).unwrap();
            feed.check_labels("test", None).err().map(|error| error.to_string())
        };
        let (rest, drawn) = data.split(0.5, 3).unwrap();
        let said: Vec<_> = [&rest, &drawn].into_iter().filter_map(message).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("sample 7 of the test data has the label 9"), "{said:?}");
    }
}
