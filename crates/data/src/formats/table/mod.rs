//! Tables: a row for each sample, columns by name. Each format of files is a module, and makes a [`Table`].

mod csv;
mod json_lines;
mod parquet;
mod rows;

pub(super) use csv::CsvFiles;
pub(super) use json_lines::JsonLines;
pub(super) use parquet::ParquetFiles;

use super::{Chosen, Part, Parts};
use crate::array::{Array, Values, element_count};
use crate::text::Tokenizer;
use crate::{Dataset, Input, Labels, Lists, Samples, Selection, Target, memory};
use ::csv::StringRecord;
use gnp_base::choice::{listed, nearest};
use gnp_base::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// A table with named columns.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    names: Vec<String>,
    /// The entries as text; nothing where they are lists.
    rows: Vec<StringRecord>,
    /// Where each row stands in the file.
    lines: Vec<u64>,
    /// The columns of lists.
    lists: HashMap<usize, Lists>,
}

impl Parts for Table {
    fn choose(&self, selection: &Selection) -> Result<Chosen> {
        let selection = self.complete(selection)?;
        let classes = selection.targets.iter().map(|(_, columns)| self.classes_of(columns)).collect();
        let tokenizer = match (&selection.tokenizer, &selection.text[..]) {
            (None, []) => None,
            (Some(file), [_] | [_, _]) => Some(Arc::new(Tokenizer::open(file, selection.most_tokens)?)),
            (Some(_), []) => {
                let help = format!("name it with --text; the columns are {}", listed(&self.names));
                return Err(Error::input("which column is the text?").help(help));
            }
            (Some(_), _) => {
                return Err(Error::input(format!("{} columns of text are named", selection.text.len()))
                    .help("name one with --text, or two whose texts make a pair"));
            }
            (None, _) => {
                return Err(Error::input("the model takes numbers: what makes them of the text?")
                    .help("name its tokenizer.json with --tokenizer"));
            }
        };
        Ok(Chosen { selection, classes, tokenizer })
    }

    fn part(&mut self, _: Part, chosen: &Chosen) -> Result<Option<Dataset>> {
        if chosen.selection.targets.is_empty() {
            return Err(Error::input(
                "the test data are a table, and the training data are none: what are its columns?",
            ));
        }
        self.dataset(chosen).map(Some)
    }

    fn is_single_set(&self) -> bool {
        true
    }
}

impl Table {
    /// The columns that are asked for; by default, features are all columns but the targets whose first entry is a
    /// number.
    ///
    /// # Errors
    /// Where no target is named, a column is not there, or there is no feature.
    fn complete(&self, selection: &Selection) -> Result<Selection> {
        let Selection { features, inputs, text, targets, .. } = selection;
        if targets.is_empty() {
            return Err(Error::input("which column is to be predicted?")
                .help(format!("name it with --target; the columns are {}", listed(&self.names))));
        }
        let targets: Vec<&String> = targets.iter().flat_map(|(_, columns)| columns).collect();
        let asked = || features.iter().chain(inputs.iter().flat_map(|(_, columns)| columns)).chain(text);
        for name in asked().chain(targets.iter().copied()) {
            self.index(name)?;
        }
        if let Some(both) = asked().find(|name| targets.contains(name)) {
            return Err(Error::input(format!(
                "column `{both}` is a feature and a target: it would be predicted from itself"
            )));
        }
        if asked().next().is_some() || selection.tokenizer.is_some() {
            return Ok(selection.clone());
        }
        let is_numeric = |index| self.entries(index).find(|entry| !entry.is_empty()).and_then(number).is_some();
        let others = self.names.iter().enumerate().filter(|(_, name)| !targets.contains(name));
        let features: Vec<String> =
            others.filter(|(index, _)| is_numeric(*index)).map(|(_, name)| name.clone()).collect();
        let mut lists = self.lists.keys().map(|&index| &self.names[index]).filter(|name| !targets.contains(name));
        match (&features[..], lists.next(), lists.next()) {
            ([], None, _) => Err(Error::input(
                "no column besides the target is numeric: there is nothing to predict from",
            )
            .help(
                "a column of text becomes numbers by the model's tokenizer: --text COLUMN --tokenizer tokenizer.json",
            )),
            ([], Some(list), None) => Ok(Selection { features: vec![list.clone()], ..selection.clone() }),
            (_, Some(list), _) => Err(Error::input(format!("column `{list}` holds lists: which input are they for?"))
                .help(format!("say it with --feature INPUT={list}"))),
            _ => Ok(Selection { features, ..selection.clone() }),
        }
    }

    /// The classes of a target of these columns, where it is one of text.
    fn classes_of(&self, columns: &[String]) -> Option<Vec<String>> {
        let [column] = columns else { return None };
        let entries = || self.entries(self.index(column).unwrap_or_default());
        let is_text = entries().find(|entry| !entry.is_empty()).is_some_and(|entry| number(entry).is_none());
        let names = || entries().filter(|entry| !entry.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
        is_text.then(|| names().into_iter().collect())
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|there| there == name).ok_or_else(|| {
            let near = nearest(name, self.names.iter().map(String::as_str));
            Error::input(format!("there is no column `{name}` ({near})"))
        })
    }

    fn entries(&self, column: usize) -> impl ExactSizeIterator<Item = &str> {
        self.rows.iter().map(move |row| row.get(column).unwrap_or_default())
    }

    /// The table as samples and their labels: classes where a target is text (their names are kept), whole numbers
    /// where it is such, lists where it is such, floats otherwise.
    ///
    /// # Errors
    /// Where a column is missing, an entry is no number (line and column are named), or a class is none of those that
    /// were chosen.
    pub(super) fn dataset(&self, chosen: &Chosen) -> Result<Dataset> {
        let data = self.convert(chosen).map_err(|error| error.in_file(&self.path))?;
        Ok(data.from_files(&self.path, &self.path))
    }

    fn convert(&self, chosen: &Chosen) -> Result<Dataset> {
        let Chosen { selection, classes, tokenizer } = chosen;
        let mut inputs = Vec::new();
        if let Some(tokenizer) = tokenizer {
            inputs.extend(self.tokens(tokenizer, &selection.text)?);
        }
        for (name, columns) in &selection.inputs {
            inputs.push(Input::new(name, self.samples(columns, true)?));
        }
        if !selection.features.is_empty() {
            inputs.push(self.samples(&selection.features, false)?.into());
        }
        let targets = selection.targets.iter().zip(classes).map(|((name, columns), classes)| {
            Ok(Target { name: name.clone(), ..self.target(columns, classes.as_deref())? })
        });
        Dataset::of(inputs, targets.collect::<Result<_>>()?)
    }

    /// What `tokenizer` makes of the text in these columns.
    fn tokens(&self, tokenizer: &Tokenizer, columns: &[String]) -> Result<Vec<Input>> {
        let indices = columns.iter().map(|column| self.index(column)).collect::<Result<Vec<_>>>()?;
        let first = indices.first().copied().unwrap_or_default();
        let second = indices.get(1).copied();
        tokenizer.encode(self.rows.iter().map(move |row| {
            (row.get(first).unwrap_or_default(), second.map(|second| row.get(second).unwrap_or_default()))
        }))
    }

    /// The samples in these columns: lists where it is one of lists, else `[rows, columns]`, whole numbers where all
    /// are such and may be that.
    fn samples(&self, columns: &[String], may_be_whole: bool) -> Result<Samples> {
        if let [column] = columns
            && let Some(lists) = self.lists.get(&self.index(column)?)
        {
            return Ok(lists.clone().into());
        }
        let whole = if may_be_whole { self.whole(columns)? } else { None };
        whole.map_or_else(|| self.floats(columns), Ok).map(Samples::from)
    }

    fn target(&self, columns: &[String], classes: Option<&[String]>) -> Result<Target> {
        if let [column] = columns {
            let index = self.index(column)?;
            if let Some(lists) = self.lists.get(&index) {
                return Ok(Labels::Lists(lists.clone()).into());
            }
            if let Some(names) = classes {
                let labels = Labels::new(self.classes(index, names)?)?;
                return Target::from(labels).with_class_names(names.to_vec());
            }
            if let Some(whole) = self.whole(columns)? {
                return Ok(Labels::new(whole)?.into());
            }
        }
        Ok(Labels::new(self.floats(columns)?)?.into())
    }

    /// The columns as an array of whole numbers of shape `[rows, columns]`; none where an entry is none.
    fn whole(&self, columns: &[String]) -> Result<Option<Array>> {
        let indices = columns.iter().map(|column| self.index(column)).collect::<Result<Vec<_>>>()?;
        let entries = self
            .rows
            .iter()
            .flat_map(|row| indices.iter().map(|&index| row.get(index).unwrap_or_default().parse::<i64>().ok()));
        let Some(values) = entries.collect::<Option<Vec<i64>>>() else { return Ok(None) };
        Array::new(vec![self.rows.len(), columns.len()], Values::I64(values)).map(Some)
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
        for (at, row) in self.rows.iter().enumerate() {
            for &index in &indices {
                let entry = row.get(index).unwrap_or_default();
                values.push(number(entry).ok_or_else(|| self.misfit(at, index, "a number"))?);
            }
        }
        Array::new(vec![self.rows.len(), indices.len()], Values::F32(values))
    }

    fn classes(&self, index: usize, names: &[String]) -> Result<Array> {
        let mut classes = Vec::with_capacity(self.rows.len());
        for (at, entry) in self.entries(index).enumerate() {
            // They are sorted, and none is empty.
            let class = names.binary_search_by(|name| (**name).cmp(entry)).map_err(|_| {
                let known: Vec<_> = names.iter().take(8).map(|name| shown(name)).collect();
                self.misfit(at, index, &format!("one of the training data's classes ({})", known.join(", ")))
            })?;
            classes.push(class as i64);
        }
        Array::new(vec![classes.len()], Values::I64(classes))
    }

    /// That the entry of column `index` in row `row` is not what was `expected`.
    fn misfit(&self, row: usize, index: usize, expected: &str) -> Error {
        let line = self.lines[row];
        let entry = match self.rows[row].get(index).unwrap_or_default() {
            "" if self.lists.contains_key(&index) => "a list".to_owned(),
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
    use crate::{Data, DataSource};
    use std::path::Path;

    const IRIS: &str = "id,length,width,note,species\n\
                        1,5.1,3.5,,setosa\n\
                        2,7.0,3.2,\"tall, wide\",versicolor\n\
                        3,4.9,3.0,,setosa\n";

    fn table(text: &str) -> Table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iris.csv");
        std::fs::write(&path, text).unwrap();
        csv::read(&path).unwrap()
    }

    fn load(text: &str, features: &[&str], targets: &[&str]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iris.csv");
        std::fs::write(&path, text).unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = csv::read(&path)?;
        let targets = if targets.is_empty() { vec![] } else { vec![(None, owned(targets))] };
        let selection = Selection { features: owned(features), targets, ..Selection::default() };
        table.choose(&selection).and_then(|chosen| table.dataset(&chosen)).map_err(|error| error.in_file(&path))
    }

    fn floats(data: &Dataset) -> Vec<f32> {
        match data.samples() {
            Samples::Array(array) => match array.values() {
                Values::F32(values) => values.clone(),
                _ => panic!("no floats"),
            },
            _ => panic!("no array"),
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
        let columns = table(IRIS).choose(&Selection::predicting(["species"])).unwrap();
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
        assert_eq!(load(&text, &[], &["y"]).unwrap().samples().shape().unwrap(), [MANY]);
        let help = load(&text, &[], &[]).unwrap_err().help_text().unwrap().to_owned();
        assert!(help.ends_with("c48, c49 and 299951 more"), "{help}");

        let rows: String = (0..MANY).map(|row| format!("1,c{row:06}\n")).collect();
        let data = load(&format!("x,y\n{rows}"), &[], &["y"]).unwrap();
        assert_eq!((data.class_names().len(), data.labels().classes().unwrap()[MANY - 1]), (MANY, MANY as i64 - 1));
        assert_eq!(data.clone().align_classes(&data).unwrap(), data);
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_is_one_entry() {
        let text = format!("x,y\n1,2\n\"{}", "3,4\n".repeat(100_000));
        let error = load(&text, &[], &["y"]).unwrap_err().to_string();
        assert!(error.ends_with("line 3 has 1 fields, the header 2"), "{error}");
    }

    fn files() -> impl Iterator<Item = PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tables");
        ["pandas.parquet", "polars.parquet", "pandas.jsonl", "polars.jsonl"]
            .into_iter()
            .map(move |file| folder.join(file))
    }

    fn load_file(path: &Path, selection: &Selection) -> Result<Dataset> {
        let source = DataSource { selection: selection.clone(), ..DataSource::new(path) };
        Data::load(&source, 0).map(|data| data.train)
    }

    #[test]
    fn tables_of_other_formats_have_the_same_entries() {
        let of_input = |name: &str, column: &str| (name.to_owned(), vec![column.to_owned()]);
        for path in files() {
            let selection = Selection {
                inputs: vec![of_input("input_ids", "ids"), of_input("m", "minutes"), of_input("l", "long")],
                ..Selection::predicting(["stars"])
            };
            let data = load_file(&path, &selection).unwrap();
            let [ids, minutes, long] = data.inputs() else { panic!("{} inputs", data.inputs().len()) };
            let lists = Lists::new(Values::I64(vec![1, 3, 5, 4, 8, 4, 8, 9, 8, 5]), &[3, 1, 4, 2], vec![]).unwrap();
            assert_eq!((ids.name.as_deref(), &ids.samples), (Some("input_ids"), &Samples::Lists(lists)));
            let column = |values| Samples::Array(Array::new(vec![4, 1], values).unwrap());
            assert_eq!(minutes.samples, column(Values::F32(vec![90.5, 100.0, 80.25, 120.0])));
            assert_eq!(long.samples, column(Values::I64(vec![0, 0, 0, 1])));
            assert_eq!(data.labels().classes().unwrap(), [4, 1, 3, 2]);

            let numeric =
                load_file(&path, &Selection { features: vec!["long".into()], ..Selection::predicting(["review"]) });
            assert_eq!(numeric.unwrap().class_names(), ["Good film", "a film", "bad", "not bad at all"]);
            let error = load_file(&path, &Selection::predicting(["stars"])).unwrap_err();
            assert!(error.to_string().ends_with("column `ids` holds lists: which input are they for?"), "{error}");
            let text = Selection { text: vec!["review".into()], ..Selection::predicting(["stars"]) };
            let error = load_file(&path, &text).unwrap_err();
            assert!(error.help_text().unwrap().contains("--tokenizer"), "{error}");
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            load_file(&path, &Selection::predicting(["y"])).unwrap_err().to_string()
        };
        assert!(message("{\"x\": 1, \"y\": 0}\n\n{\"x\": 1}\n").ends_with("t.jsonl: line 3: it has no `y`"));
        assert!(
            message("{\"y\": 0}\n{\"x\": 1, \"y\": 0}\n").ends_with("line 2: it has `x`, and the first line does not")
        );
        assert!(message("[1]\n").contains("line 1: not a JSON object"));
        assert!(message("\n").ends_with("the table has no rows"));
        let mixed = message("{\"x\": [1], \"y\": 0}\n{\"x\": 1, \"y\": 0}\n");
        assert!(mixed.contains("line 2, column `x`: a list in one row"), "{mixed}");
        let mixed = message("{\"x\": [1], \"y\": 0}\n{\"x\": [[1]], \"y\": 0}\n");
        assert!(mixed.contains("line 2, column `x`"), "{mixed}");
        let nothing = message("{\"x\": null, \"y\": 0}\n");
        assert!(nothing.contains("nothing to predict from"), "{nothing}");
    }
}
