//! Which rows of a table travel: conditions on its columns, in the words of AWS DMS.
//!
//! A row travels if every filter has a condition that holds. One that can't be decided, because the row has NULL there,
//! does not hold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rows of a table that travel: those for which all of these hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowFilter(pub Vec<ColumnFilter>);

/// Conditions on one column, of which one must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFilter {
    /// The exact name at the source.
    pub column: String,
    /// The conditions; at least one.
    pub any: Vec<Condition>,
}

/// A condition on a value. What it is compared with is a text that the source reads as one of the column's type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Equal.
    Equal(String),
    /// Not equal.
    NotEqual(String),
    /// Equal or greater.
    AtLeast(String),
    /// Equal or less.
    AtMost(String),
    /// From the first to the second, both included.
    Between(String, String),
    /// Less than the first or greater than the second.
    NotBetween(String, String),
    /// NULL.
    Null,
    /// Not NULL.
    NotNull,
}

impl RowFilter {
    /// The columns that it looks at, each once, in its order.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = Vec::new();
        for filter in &self.0 {
            if !columns.contains(&filter.column.as_str()) {
                columns.push(&filter.column);
            }
        }
        columns
    }
}

impl Condition {
    /// What the column's values are compared with.
    #[must_use]
    pub fn values(&self) -> Vec<&str> {
        match self {
            Self::Equal(value) | Self::NotEqual(value) | Self::AtLeast(value) | Self::AtMost(value) => vec![value],
            Self::Between(from, to) | Self::NotBetween(from, to) => vec![from, to],
            Self::Null | Self::NotNull => Vec::new(),
        }
    }
}

/// For people: `region = 'eu' and (id between '1' and '9' or id is null)`.
impl fmt::Display for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, filter) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { " and " };
            write!(f, "{before}{filter}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ColumnFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.any.iter().map(|one| one.words(&self.column)).collect();
        let is_one = words.len() == 1;
        let (open, close) = if is_one { ("", "") } else { ("(", ")") };
        write!(f, "{open}{}{close}", words.join(" or "))
    }
}

impl Condition {
    fn words(&self, column: &str) -> String {
        match self {
            Self::Equal(value) => format!("{column} = '{value}'"),
            Self::NotEqual(value) => format!("{column} <> '{value}'"),
            Self::AtLeast(value) => format!("{column} >= '{value}'"),
            Self::AtMost(value) => format!("{column} <= '{value}'"),
            Self::Between(from, to) => format!("{column} between '{from}' and '{to}'"),
            Self::NotBetween(from, to) => format!("{column} not between '{from}' and '{to}'"),
            Self::Null => format!("{column} is null"),
            Self::NotNull => format!("{column} is not null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reads_as_a_sentence_and_names_its_columns_once() {
        let filter = |column: &str, any: Vec<Condition>| ColumnFilter { column: column.to_owned(), any };
        let rows = RowFilter(vec![
            filter("region", vec![Condition::Equal("eu".to_owned())]),
            filter("id", vec![Condition::Between("1".to_owned(), "9".to_owned()), Condition::Null]),
            filter("id", vec![Condition::NotEqual("5".to_owned())]),
        ]);
        assert_eq!(rows.to_string(), "region = 'eu' and (id between '1' and '9' or id is null) and id <> '5'");
        assert_eq!(rows.columns(), ["region", "id"]);
        assert_eq!(rows.0[1].any[0].values(), ["1", "9"]);
    }
}
