//! A table as it is read, row by row: the same for all formats of files.

use super::{Table, shown};
use crate::array::Values;
use crate::{Lists, memory};
use ::csv::StringRecord;
use gnp_base::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// After how many bytes of a table it is asked whether there is memory for more.
const ASKED_EVERY: usize = 64 << 20;

/// A table as it is read, row by row.
pub(super) struct Rows {
    table: Table,
    lists: BTreeMap<usize, ListColumn>,
    /// Bytes that came since it was asked whether there is memory.
    unasked: usize,
}

/// A column of lists as it is read.
#[derive(Default)]
struct ListColumn {
    numbers: Vec<f64>,
    lengths: Vec<usize>,
    inner: Option<usize>,
}

impl Rows {
    /// A table of the file at `path` with columns of these names, and no row.
    ///
    /// # Errors
    /// Where two columns have one name.
    pub(super) fn of(path: &Path, names: Vec<String>) -> Result<Self> {
        let mut seen = HashSet::with_capacity(names.len());
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(Error::format(format!("two columns have the name {}", shown(twice))).in_file(path));
        }
        let (rows, lines, lists) = (Vec::new(), Vec::new(), HashMap::new());
        let table = Table { path: path.to_owned(), names, rows, lines, lists };
        Ok(Self { table, lists: BTreeMap::new(), unasked: 0 })
    }

    /// Adds the list of a `column` to the row that is pushed next, of line `line`: numbers, or items of `inner`
    /// numbers.
    ///
    /// # Errors
    /// Where the rows before have none, or items of another size.
    pub(super) fn push_list(
        &mut self,
        column: usize,
        numbers: Vec<f64>,
        inner: Option<usize>,
        line: u64,
    ) -> Result<()> {
        let list = self.lists.entry(column).or_insert_with(|| ListColumn { inner, ..ListColumn::default() });
        if list.lengths.len() != self.table.rows.len() || list.inner != inner {
            return Err(self.unlike(column, line));
        }
        list.lengths.push(numbers.len() / inner.unwrap_or(1).max(1));
        self.unasked += numbers.len() * size_of::<f64>();
        list.numbers.extend(numbers);
        Ok(())
    }

    /// Adds a row, which stands in line `line`.
    ///
    /// # Errors
    /// Where a column of lists has no list here, or there is no memory for more.
    pub(super) fn push(&mut self, row: StringRecord, line: u64) -> Result<()> {
        self.unasked += row.as_slice().len() + row.len() * size_of::<usize>() + size_of::<StringRecord>();
        self.table.rows.push(row);
        self.table.lines.push(line);
        let count = self.table.rows.len();
        if let Some((&column, _)) = self.lists.iter().find(|(_, list)| list.lengths.len() != count) {
            return Err(self.unlike(column, line));
        }
        if self.unasked > ASKED_EVERY {
            let asked = memory::ensure("the rest of the table", Some(ASKED_EVERY as u64));
            asked.map_err(|error| error.in_file(&self.table.path))?;
            self.unasked = 0;
        }
        Ok(())
    }

    /// That `column` holds another kind of entry in `line` than in the rows before.
    fn unlike(&self, column: usize, line: u64) -> Error {
        let name = shown(&self.table.names[column]);
        Error::format(format!(
            "line {line}, column {name}: a list in one row and none, or one of other items, in another"
        ))
        .in_file(&self.table.path)
        .help("let a column hold lists of numbers in all rows, or in none")
    }

    /// The table.
    ///
    /// # Errors
    /// Where it has no rows.
    pub(super) fn table(self) -> Result<Table> {
        let Self { mut table, lists, .. } = self;
        if table.rows.is_empty() {
            return Err(Error::format("the table has no rows").in_file(&table.path));
        }
        for (column, ListColumn { numbers, lengths, inner }) in lists {
            // Whole numbers up to 2⁵³ come through a float as they are.
            let are_whole = numbers.iter().all(|number| number.fract() == 0.0 && number.abs() < 9e15);
            let values = match are_whole {
                true => Values::I64(numbers.into_iter().map(|number| number as i64).collect()),
                false => Values::F32(numbers.into_iter().map(|number| number as f32).collect()),
            };
            table.lists.insert(column, Lists::new(values, &lengths, inner.into_iter().collect())?);
        }
        Ok(table)
    }
}
