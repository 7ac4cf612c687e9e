//! The one look of all tables.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// A table with a line under its header; the first column is aligned left, the others, numbers as a rule, right.
pub fn table<'h>(header: impl IntoIterator<Item = &'h str>) -> Table {
    let rule = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(rule));
    table.set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
