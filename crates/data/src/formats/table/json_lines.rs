//! JSON lines: an object for each sample, whose keys name the columns.

use super::Table;
use super::rows::Rows;
use crate::formats::{Format, Found, Parts};
use gnp_base::{Error, Result, files};
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// `.jsonl` and `.ndjson` files.
pub(in crate::formats) struct JsonLines;

impl Format for JsonLines {
    fn name(&self) -> &str {
        "a .jsonl file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && ["jsonl", "ndjson"].into_iter().any(|extension| found.has_extension(extension))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(read(path)?))
    }
}

/// Reads a file whose first line's keys are the columns; empty lines are passed over.
///
/// # Errors
/// Where it cannot be read, or a line is no object with the keys of the first.
fn read(path: &Path) -> Result<Table> {
    let opened = files::open(path).map_err(|error| Error::io("read the table", path, &error))?;
    let mut begun: Option<(Vec<String>, Rows)> = None;
    for (line, number) in BufReader::new(opened).lines().zip(1..) {
        let line = line.map_err(|error| Error::io("read the table", path, &error))?;
        if line.trim().is_empty() {
            continue;
        }
        let misfit = |what: &str| {
            Error::format(format!("line {number}: {what}"))
                .in_file(path)
                .help("expected an object a line, each with the keys of the first: {\"text\": \"…\", \"label\": 1}")
        };
        let mut object: Map<String, Value> =
            serde_json::from_str(&line).map_err(|error| misfit(&format!("not a JSON object: {error}")))?;
        let (names, rows) = match &mut begun {
            Some(begun) => begun,
            none => {
                let names: Vec<String> = object.keys().cloned().collect();
                none.insert((names.clone(), Rows::of(path, names)?))
            }
        };
        let mut record = csv::StringRecord::with_capacity(line.len(), names.len());
        for (column, name) in names.iter().enumerate() {
            let value = object.remove(name).ok_or_else(|| misfit(&format!("it has no `{name}`")))?;
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                Value::Bool(truth) => u8::from(truth).to_string(),
                Value::Number(number) => number.to_string(),
                Value::Array(items) => match numbers(&items) {
                    Some((numbers, inner)) => {
                        rows.push_list(column, numbers, inner, number)?;
                        String::new()
                    }
                    None => Value::Array(items).to_string(),
                },
                object @ Value::Object(_) => object.to_string(),
            };
            record.push_field(text.trim());
        }
        if let Some(name) = object.keys().next() {
            return Err(misfit(&format!("it has `{name}`, and the first line does not")));
        }
        rows.push(record, number)?;
    }
    match begun {
        Some((_, rows)) => rows.table(),
        None => Err(Error::format("the table has no rows").in_file(path)),
    }
}

/// The numbers of a list, and how many make an item where it is one of lists.
fn numbers(items: &[Value]) -> Option<(Vec<f64>, Option<usize>)> {
    let inner = match items.first()? {
        Value::Array(first) => Some(first.len()),
        _ => None,
    };
    let mut numbers = Vec::with_capacity(items.len() * inner.unwrap_or(1));
    for item in items {
        match (item, inner) {
            (Value::Array(item), Some(size)) if item.len() == size => {
                item.iter().try_for_each(|number| number.as_f64().map(|number| numbers.push(number)))?;
            }
            (Value::Number(number), None) => numbers.push(number.as_f64()?),
            _ => return None,
        }
    }
    Some((numbers, inner))
}
