//! CSV files: a line for each sample, the first with the names of the columns.

use super::rows::Rows;
use super::{Table, number};
use crate::formats::{Format, Found, Parts};
use gnp_base::{Error, Result, files};
use std::path::Path;

/// `.csv` files.
pub(in crate::formats) struct CsvFiles;

impl Format for CsvFiles {
    fn name(&self) -> &str {
        "a .csv file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && found.has_extension("csv")
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        Ok(Box::new(read(path)?))
    }
}

/// Reads a file whose first line names the columns.
///
/// # Errors
/// Where it cannot be read, a line has another number of fields than the first, or two columns have one name.
pub(super) fn read(path: &Path) -> Result<Table> {
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
    let mut rows = Rows::of(path, names)?;
    for row in reader.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(0, csv::Position::line);
        rows.push(row, line)?;
    }
    rows.table()
}
