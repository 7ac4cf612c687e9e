//! Parquet files.

use super::Table;
use super::rows::Rows;
use crate::formats::{Format, Found, Parts};
use gnp_base::caught::caught;
use gnp_base::{Error, Result, files};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::fmt::Display;
use std::path::Path;

/// `.parquet` files.
pub(in crate::formats) struct ParquetFiles;

impl Format for ParquetFiles {
    fn name(&self) -> &str {
        "a .parquet file"
    }

    fn recognises(&self, found: &Found<'_>) -> bool {
        !found.is_folder() && (found.start().starts_with(b"PAR1") || found.has_extension("parquet"))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Parts>> {
        // The library panics on some damaged files.
        let table = caught(|| read(path)).unwrap_or_else(|panic| Err(damaged(path, &panic)))?;
        Ok(Box::new(table))
    }
}

/// Reads all columns of a file.
///
/// # Errors
/// Where it cannot be read.
fn read(path: &Path) -> Result<Table> {
    let unreadable = |error: parquet::errors::ParquetError| damaged(path, &error);
    let opened = files::open(path).map_err(|error| Error::io("read the table", path, &error))?;
    let reader = SerializedFileReader::new(opened).map_err(unreadable)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let names = schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut rows = Rows::of(path, names)?;
    for (row, number) in reader.get_row_iter(None).map_err(unreadable)?.zip(1..) {
        let row = row.map_err(unreadable)?;
        let mut record = csv::StringRecord::new();
        for (column, (_, field)) in row.get_column_iter().enumerate() {
            let list = if let Field::ListInternal(list) = field { Some(list) } else { None };
            let numbers = list.and_then(|list| list.elements().iter().map(as_number).collect::<Option<Vec<f64>>>());
            match numbers {
                Some(numbers) => {
                    rows.push_list(column, numbers, None, number)?;
                    record.push_field("");
                }
                None => record.push_field(text(field).trim()),
            }
        }
        rows.push(record, number)?;
    }
    rows.table()
}

/// That the file at `path` cannot be read, and why.
fn damaged(path: &Path, why: &dyn Display) -> Error {
    Error::format(format!("cannot read the table: {why}"))
        .in_file(path)
        .help("expected a whole Parquet file, compressed with Snappy, Zstandard, gzip or not at all")
}

/// An entry as a table of text has it.
fn text(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Bool(truth) => u8::from(*truth).to_string(),
        Field::Float16(number) => number.to_f32().to_string(),
        // Their own form has them rounded.
        Field::Float(number) => number.to_string(),
        Field::Double(number) => number.to_string(),
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        other => other.to_string(),
    }
}

fn as_number(field: &Field) -> Option<f64> {
    match field {
        Field::Str(_) | Field::Bytes(_) | Field::Null => None,
        other => text(other).parse().ok(),
    }
}
