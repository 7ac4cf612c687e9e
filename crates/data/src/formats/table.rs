//! CSV files: a row for each sample, columns by name.

use super::{Columns, Format, Found, Part, Parts};
use crate::array::{Array, Values, element_count};
use crate::{Dataset, memory};
use gnp_base::choice::{listed, nearest};
use gnp_base::{Error, Result, files};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// After how many bytes of a table it is asked whether there is memory for more.
const ASKED_EVERY: usize = 64 << 20;

/// A table of text with named columns.
pub(super) struct Table {
    path: PathBuf,
    names: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

/// `.csv` files.
pub(super) struct CsvFiles;

impl Format for CsvFiles {
    fn name(&self) -> &str {
        "a .csv file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && found.has_extension("csv")
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(Table::read(path)?))
    }
}

impl Parts for Table {
    fn columns(&self, features: &[String], targets: &[String]) -> Result<Option<Columns>> {
        self.choose(features, targets).map(Some).map_err(|error| error.in_file(&self.path))
    }

    fn part(&mut self, _: Part, columns: Option<&Columns>) -> Result<Option<Dataset>> {
        let unknown = "the test data are a table, and the training data are none: what are its columns?";
        self.dataset(columns.ok_or_else(|| Error::input(unknown))?).map(Some)
    }

    fn is_single_set(&self) -> bool {
        true
    }
}

impl Table {
    /// Reads a file whose first line names the columns.
    ///
    /// # Errors
    /// Where it cannot be read, a line has another number of fields than the first, or two columns have one name.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let unreadable = |error: csv::Error| {
            let message = match error.kind() {
                csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = pos.as_ref().map_or(0, csv::Position::line);
                    format!("line {line} has {len} fields, the header {expected_len}")
                }
                _ => format!("cannot read the table: {error}"),
            };
            Error::format(message).in_file(path).help("expected a CSV file in UTF-8, with commas and a header")
        };
        let opened = files::open(path).map_err(|error| Error::io("read the table", path, &error))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(opened);
        let names: Vec<String> = reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
        if let Some(number) = names.iter().find_map(|name| number(name)) {
            return Err(Error::format(format!(
                "the first line has the number {number}; expected the names of the columns"
            ))
            .in_file(path)
            .help("put a line with a name for each column at the top of the file"));
        }
        let mut seen = HashSet::with_capacity(names.len());
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(Error::format(format!("two columns have the name {}", shown(twice))).in_file(path));
        }
        let (mut rows, mut unasked) = (Vec::new(), 0);
        for row in reader.records() {
            let row = row.map_err(unreadable)?;
            unasked += row.as_slice().len() + row.len() * size_of::<usize>() + size_of::<csv::StringRecord>();
            rows.push(row);
            if unasked > ASKED_EVERY {
                memory::ensure("the rest of the table", Some(ASKED_EVERY as u64)).map_err(|e| e.in_file(path))?;
                unasked = 0;
            }
        }
        if rows.is_empty() {
            return Err(Error::format("the table has no rows").in_file(path));
        }
        Ok(Self { path: path.to_owned(), names, rows })
    }

    /// The columns that are asked for. Features by default are all columns but the targets whose first entry is a
    /// number.
    ///
    /// # Errors
    /// Where no target is named, a column is not there, or there is no feature.
    fn choose(&self, features: &[String], targets: &[String]) -> Result<Columns> {
        if targets.is_empty() {
            return Err(Error::input("which column is to be predicted?")
                .help(format!("name it with --target; the columns are {}", listed(&self.names))));
        }
        for name in features.iter().chain(targets) {
            self.index(name)?;
        }
        if let Some(both) = features.iter().find(|name| targets.contains(name)) {
            return Err(Error::input(format!(
                "column `{both}` is a feature and a target: it would be predicted from itself"
            )));
        }
        let features = if features.is_empty() {
            let is_numeric = |index| self.entries(index).find(|entry| !entry.is_empty()).and_then(number).is_some();
            let others = self.names.iter().enumerate().filter(|(_, name)| !targets.contains(name));
            others.filter(|(index, _)| is_numeric(*index)).map(|(_, name)| name.clone()).collect()
        } else {
            features.to_vec()
        };
        if features.is_empty() {
            return Err(Error::input("no column besides the target is numeric: there is nothing to predict from"));
        }
        let classes = match targets {
            [target] => {
                let entries = || self.entries(self.index(target).unwrap_or_default());
                let is_text = entries().find(|entry| !entry.is_empty()).is_some_and(|entry| number(entry).is_none());
                let names = || entries().filter(|entry| !entry.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
                is_text.then(|| names().into_iter().collect())
            }
            _ => None,
        };
        Ok(Columns { features, targets: targets.to_vec(), classes })
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|there| there == name).ok_or_else(|| {
            let near = nearest(name, self.names.iter().map(String::as_str));
            Error::input(format!("there is no column `{name}` ({near})"))
        })
    }

    fn entries(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |row| row.get(column).unwrap_or_default())
    }

    /// The table as samples of numbers and their labels: classes where the target is text (their names are kept), whole
    /// numbers where it is such, floats otherwise.
    ///
    /// # Errors
    /// Where a column is missing, an entry is no number (line and column are named), or a class is none of `columns`'.
    pub(super) fn dataset(&self, columns: &Columns) -> Result<Dataset> {
        let data = self.convert(columns).map_err(|error| error.in_file(&self.path))?;
        Ok(data.from_files(&self.path, &self.path))
    }

    fn convert(&self, columns: &Columns) -> Result<Dataset> {
        let samples = self.floats(&columns.features)?;
        match (&columns.classes, &*columns.targets) {
            (Some(names), [target]) => {
                let classes = self.classes(self.index(target)?, names)?;
                Dataset::new(samples, classes)?.with_class_names(names.clone())
            }
            (_, [target]) => {
                let index = self.index(target)?;
                let whole: Option<Vec<i64>> = self.entries(index).map(|entry| entry.parse().ok()).collect();
                let labels = match whole {
                    Some(classes) => Array::new(vec![classes.len()], Values::I64(classes))?,
                    None => self.floats(&columns.targets)?,
                };
                Dataset::new(samples, labels)
            }
            (_, targets) => Dataset::new(samples, self.floats(targets)?),
        }
    }

    /// The columns as an array of shape `[rows, columns]`.
    fn floats(&self, names: &[String]) -> Result<Array> {
        let places: HashMap<&str, usize> = self.names.iter().enumerate().map(|(at, name)| (&**name, at)).collect();
        let place = |name: &String| places.get(&**name).copied().map_or_else(|| self.index(name), Ok);
        let indices = names.iter().map(place).collect::<Result<Vec<_>>>()?;
        let count = element_count(&[self.rows.len(), indices.len()]);
        let bytes = count.and_then(|count| count.checked_mul(size_of::<f32>()));
        memory::ensure("the table in numbers", bytes.map(|bytes| bytes as u64))?;
        let mut values = Vec::with_capacity(count.unwrap_or_default());
        for row in &self.rows {
            for &index in &indices {
                let entry = row.get(index).unwrap_or_default();
                values.push(number(entry).ok_or_else(|| self.misfit(row, index, "a number"))?);
            }
        }
        Array::new(vec![self.rows.len(), indices.len()], Values::F32(values))
    }

    fn classes(&self, index: usize, names: &[String]) -> Result<Array> {
        let mut classes = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let entry = row.get(index).unwrap_or_default();
            // They are sorted, and none is empty.
            let class = names.binary_search_by(|name| (**name).cmp(entry)).map_err(|_| {
                let known: Vec<_> = names.iter().take(8).map(|name| shown(name)).collect();
                self.misfit(row, index, &format!("one of the training data's classes ({})", known.join(", ")))
            })?;
            classes.push(class as i64);
        }
        Array::new(vec![classes.len()], Values::I64(classes))
    }

    /// That the entry at `index` of `row` is not what was `expected`.
    fn misfit(&self, row: &csv::StringRecord, index: usize, expected: &str) -> Error {
        let line = row.position().map_or(0, csv::Position::line);
        let entry = match row.get(index).unwrap_or_default() {
            "" => "nothing".to_owned(),
            entry => shown(entry),
        };
        Error::format(format!("line {line}, column {}: expected {expected}, found {entry}", shown(&self.names[index])))
            .help("mend the entry, remove the line, or name the columns to be used with --features and --target")
    }
}

/// What of an entry fits into a message.
fn shown(entry: &str) -> String {
    const MOST: usize = 60;
    match entry.char_indices().nth(MOST) {
        Some((end, _)) => format!("`{}…`", &entry[..end]),
        None => format!("`{entry}`"),
    }
}

/// The finite number that a text is.
fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Samples};

    const IRIS: &str = "id,length,width,note,species\n\
                        1,5.1,3.5,,setosa\n\
                        2,7.0,3.2,\"tall, wide\",versicolor\n\
                        3,4.9,3.0,,setosa\n";

    fn table(text: &str) -> Table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iris.csv");
        std::fs::write(&path, text).unwrap();
        Table::read(&path).unwrap()
    }

    fn load(text: &str, features: &[&str], targets: &[&str]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iris.csv");
        std::fs::write(&path, text).unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = Table::read(&path)?;
        table.dataset(&table.columns(&owned(features), &owned(targets))?.unwrap())
    }

    fn floats(data: &Dataset) -> Vec<f32> {
        match data.samples() {
            Samples::Array(array) => match array.values() {
                Values::F32(values) => values.clone(),
                _ => panic!("no floats"),
            },
            Samples::Images(_) => panic!("no array"),
        }
    }

    #[test]
    fn text_becomes_classes_and_numbers_features() {
        let data = load(IRIS, &[], &["species"]).unwrap();
        assert_eq!(floats(&data), [1.0, 5.1, 3.5, 2.0, 7.0, 3.2, 3.0, 4.9, 3.0]);
        assert_eq!(
            (data.labels(), data.class_names()),
            (&Labels::Classes(vec![0, 1, 0]), &["setosa", "versicolor"].map(String::from)[..])
        );
        let data = load(IRIS, &["width", "length"], &["species"]).unwrap();
        assert_eq!(floats(&data), [3.5, 5.1, 3.2, 7.0, 3.0, 4.9]);
    }

    #[test]
    fn numbers_are_targets_or_classes() {
        let labels = |targets: &[&str]| load(IRIS, &["width"], targets).unwrap().labels().clone();
        let table = |shape: &[usize], values: &[f32]| {
            Labels::Targets(Array::new(shape.to_vec(), Values::F32(values.to_vec())).unwrap())
        };
        assert_eq!(labels(&["id"]), Labels::Classes(vec![1, 2, 3]));
        assert_eq!(labels(&["length"]), table(&[3, 1], &[5.1, 7.0, 4.9]));
        assert_eq!(labels(&["id", "length"]), table(&[3, 2], &[1.0, 5.1, 2.0, 7.0, 3.0, 4.9]));
        let negative = load("x,y\n1,-2\n3,4\n", &[], &["y"]).unwrap();
        assert_eq!(*negative.labels(), Labels::Classes(vec![-2, 4]));
    }

    #[test]
    fn names_line_and_column_of_what_is_no_number() {
        let message = |text: &str, features: &[&str]| load(text, features, &["species"]).unwrap_err().to_string();
        let broken = IRIS.replace("3.2", "3,2");
        assert!(message(&broken, &[]).contains("iris.csv: line 3 has 6 fields, the header 5"));
        let broken = IRIS.replace("3.2", "n/a");
        assert!(message(&broken, &[]).ends_with("iris.csv: line 3, column `width`: expected a number, found `n/a`"));
        assert!(
            message(&IRIS.replace("4.9", ""), &[])
                .ends_with("line 4, column `length`: expected a number, found nothing")
        );
        assert!(
            message(&IRIS.replace("4.9", "inf"), &[])
                .ends_with("line 4, column `length`: expected a number, found `inf`")
        );
        assert!(message(IRIS, &["note"]).ends_with("line 2, column `note`: expected a number, found nothing"));
        assert!(message(&IRIS.replace("versicolor", ""), &[]).contains("line 3, column `species`: expected one of"));
    }

    #[test]
    fn columns_must_be_there() {
        let message = |features: &[&str], targets: &[&str]| load(IRIS, features, targets).unwrap_err().to_string();
        assert!(message(&[], &["speces"]).ends_with("there is no column `speces` (did you mean `species`?)"));
        assert!(message(&["hight"], &["species"]).contains("there is no column `hight`"));
        assert!(message(&["id"], &["id"]).contains("predicted from itself"));
        let error = load(IRIS, &[], &[]).unwrap_err();
        assert!(error.help_text().unwrap().ends_with("the columns are id, length, width, note, species"));
        assert!(message(&[], &["id", "length", "width"]).contains("nothing to predict from"));
        let no_header = load("1,2\n3,4\n", &[], &["y"]).err().unwrap().to_string();
        assert!(no_header.contains("the first line has the number 1"), "{no_header}");
        assert!(load("x,x\n1,2\n", &[], &["x"]).err().unwrap().to_string().contains("two columns have the name `x`"));
    }

    #[test]
    fn a_test_table_has_the_columns_and_classes_of_the_training_table() {
        let columns = table(IRIS).columns(&[], &["species".to_owned()]).unwrap().unwrap();
        let test = table("species,width,length,id\nversicolor,1,2,3\n").dataset(&columns).unwrap();
        assert_eq!((floats(&test), test.labels().classes().unwrap()), (vec![3.0, 2.0, 1.0], &[1][..]));
        let error = table("species,width,length,id\nvirginica,1,2,3\n").dataset(&columns).unwrap_err().to_string();
        assert!(
            error.ends_with("expected one of the training data's classes (`setosa`, `versicolor`), found `virginica`"),
            "{error}"
        );
    }

    #[test]
    fn many_columns_and_many_classes_are_no_trouble() {
        const MANY: usize = 300_000;
        let line = |entry: &dyn Fn(usize) -> String| (0..MANY).map(entry).collect::<Vec<_>>().join(",");
        let text = format!("{},y\n{},a\n", line(&|column| format!("c{column}")), line(&|_| "1".to_owned()));
        assert_eq!(load(&text, &[], &["y"]).unwrap().sample_shape().unwrap(), [MANY]);
        let help = load(&text, &[], &[]).unwrap_err().help_text().unwrap().to_owned();
        assert!(help.ends_with("c48, c49 and 299951 more"), "{help}");

        let rows: String = (0..MANY).map(|row| format!("1,c{row:06}\n")).collect();
        let data = load(&format!("x,y\n{rows}"), &[], &["y"]).unwrap();
        assert_eq!((data.class_names().len(), data.labels().classes().unwrap()[MANY - 1]), (MANY, MANY as i64 - 1));
        assert_eq!(data.clone().align_classes(data.class_names()).unwrap(), data);
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_is_one_entry() {
        let text = format!("x,y\n1,2\n\"{}", "3,4\n".repeat(100_000));
        let error = load(&text, &[], &["y"]).unwrap_err().to_string();
        assert!(error.ends_with("line 3 has 1 fields, the header 2"), "{error}");
    }
}
