//! Rows of numbers as an aligned text table, as Markdown, or as JSON.
use serde_json::{Map, Value, json};

/// One value of a table: what is shown, and what JSON holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    shown: String,
    value: Value,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        let shown = text.into();
        Self {
            value: json!(shown),
            shown,
        }
    }

    /// A whole number, shown in groups of three digits.
    pub fn count(count: usize) -> Self {
        let digits = count.to_string();
        let mut shown = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                shown.push(',');
            }
            shown.push(digit);
        }
        Self {
            shown,
            value: json!(count),
        }
    }

    /// A number shown with `decimals` digits after the point.
    pub fn number(value: f64, decimals: usize) -> Self {
        Self {
            shown: format!("{value:.decimals$}"),
            value: json!(value),
        }
    }

    /// A share from 0 to 1, shown in percent with one decimal.
    pub fn percent(share: f64) -> Self {
        Self {
            shown: format!("{:.1} %", share * 100.0),
            value: json!(share),
        }
    }

    /// A size, shown with a binary unit.
    pub fn bytes(count: usize) -> Self {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut size = count as f64 / 1024.0;
        let mut unit = 0;
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let shown = if count < 1024 {
            format!("{count} B")
        } else {
            format!("{size:.1} {}", UNITS[unit])
        };
        Self {
            shown,
            value: json!(count),
        }
    }

    /// What was not measured: `-`, and `null` in JSON.
    pub fn missing() -> Self {
        Self {
            shown: "-".into(),
            value: Value::Null,
        }
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or_else(Self::missing, Into::into)
    }
}

#[derive(Debug, Clone)]
struct Column {
    key: &'static str,
    title: String,
    is_right: bool,
}

/// A table under construction: columns first, then rows.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column of text, aligned left. `key` names it in JSON.
    pub fn text_column(mut self, key: &'static str, title: impl Into<String>) -> Self {
        self.columns.push(Column {
            key,
            title: title.into(),
            is_right: false,
        });
        self
    }

    /// Adds a column of numbers, aligned right. `key` names it in JSON.
    pub fn number_column(mut self, key: &'static str, title: impl Into<String>) -> Self {
        self.columns.push(Column {
            key,
            title: title.into(),
            is_right: true,
        });
        self
    }

    /// Adds a row. Cells it lacks are missing; cells beyond the last column are dropped.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = cells.into_iter().collect();
        row.resize(self.columns.len(), Cell::missing());
        self.rows.push(row);
    }

    /// Title of each column, and whether it is of numbers.
    pub fn titles(&self) -> Vec<(&str, bool)> {
        let columns = self.columns.iter();
        columns
            .map(|column| (column.title.as_str(), column.is_right))
            .collect()
    }

    /// What each row shows, a text a column.
    pub fn shown(&self) -> Vec<Vec<&str>> {
        let rows = self.rows.iter();
        rows.map(|row| row.iter().map(|cell| cell.shown.as_str()).collect())
            .collect()
    }

    /// Aligned plain text, two spaces between columns, one line a row.
    pub fn to_text(&self) -> String {
        let width = |index: usize| {
            let shown = self.rows.iter().map(|row| row[index].shown.chars().count());
            shown
                .chain([self.columns[index].title.chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: Vec<&str>| {
            let mut line = String::new();
            for ((cell, column), width) in cells.into_iter().zip(&self.columns).zip(&widths) {
                let cell = if column.is_right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                };
                line.push_str(&cell);
                line.push_str("  ");
            }
            format!("{}\n", line.trim_end())
        };
        let mut text = line(
            self.columns
                .iter()
                .map(|column| column.title.as_str())
                .collect(),
        );
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| cell.shown.as_str()).collect()));
        }
        text
    }

    /// A Markdown table.
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let escape = |text: &str| text.replace('|', "\\|");
        let mut text = line(
            self.columns
                .iter()
                .map(|column| escape(&column.title))
                .collect(),
        );
        let rule = |column: &Column| if column.is_right { "---:" } else { "---" }.to_owned();
        text.push_str(&line(self.columns.iter().map(rule).collect()));
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| escape(&cell.shown)).collect()));
        }
        text
    }

    /// A JSON array with one object a row, full precision.
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let pairs = self.columns.iter().zip(row);
            let object: Map<String, Value> = pairs
                .map(|(column, cell)| (column.key.to_owned(), cell.value.clone()))
                .collect();
            Value::Object(object)
        };
        Value::Array(self.rows.iter().map(object).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new()
            .text_column("model", "model")
            .number_column("perplexity", "perplexity")
            .number_column("recall", "recall")
            .number_column("parameters", "parameters")
            .number_column("state_bytes", "state at 4k");
        table.push([
            Cell::text("teacher"),
            Cell::number(31.0952866, 2),
            Cell::percent(0.984375),
            Cell::count(134_515_008),
            Cell::bytes(94_371_840),
        ]);
        table.push([
            Cell::text("a|b"),
            Cell::number(9.5, 2),
            Cell::missing(),
            Cell::count(999),
        ]);
        table
    }

    #[test]
    fn text_is_aligned() {
        insta::assert_snapshot!(table().to_text());
    }

    #[test]
    fn markdown_escapes_bars() {
        insta::assert_snapshot!(table().to_markdown());
    }

    #[test]
    fn json_keeps_full_precision_and_marks_what_is_missing() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&table().to_json()).unwrap());
    }

    #[test]
    fn sizes_take_the_largest_unit_that_fits() {
        let shown = |count| Cell::bytes(count).shown;
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown(3 << 30), "3.0 GiB");
    }
}
