//! Whether a copy equals its source: row by row, with the databases' own eyes.
//!
//! Each side sends, for each table, `md5(key), md5(whole row)` in the order of the first; both streams are merged
//! here. The whole row is the server's own text form of its columns by name, in the source's order, under one
//! fixed set of session settings, so nothing of ours stands between a value and its comparison. Two rows that
//! are equal in the hash and differ in the text would need a collision of md5.

pub mod catalog;
mod rows;
pub mod texts;

use std::fmt;

use anyhow::Result;
use tokio_postgres::Client;

pub use catalog::CatalogDifferences;
pub use rows::TableDifference;

/// A table on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Schema and name on the source.
    pub source: (String, String),
    /// Schema and name on the target.
    pub target: (String, String),
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Tables compared.
    pub tables: usize,
    /// Rows of the source compared.
    pub rows: u64,
    /// Tables that differ.
    pub different: Vec<TableDifference>,
    /// How the catalogs differ, one sentence each.
    pub catalog: Vec<String>,
    /// Differences that the documents promise, one sentence each.
    pub documented: Vec<String>,
}

impl Report {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.different.is_empty() && self.catalog.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} tables, {} rows compared", self.tables, self.rows)?;
        self.different.iter().try_for_each(|table| writeln!(f, "  {table}"))?;
        self.catalog.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Every ordinary and partitioned table of a schema, paired with its namesake in another.
///
/// # Errors
/// A statement fails.
pub async fn pairs(source: &Client, schema: &str, target_schema: &str) -> Result<Vec<Pair>> {
    let rows = source
        .query(
            "select relname::text from pg_class where relnamespace = to_regnamespace(quote_ident($1))
               and relkind in ('r', 'p') and not relispartition order by 1",
            &[&schema],
        )
        .await?;
    let pair =
        |name: String| Pair { source: (schema.to_owned(), name.clone()), target: (target_schema.to_owned(), name) };
    Ok(rows.into_iter().map(|row| pair(row.get(0))).collect())
}

/// Compares rows and catalog of the tables. Neither side should be written to meanwhile.
///
/// # Errors
/// A statement fails, other than for a table that is missing on the target, which is a difference.
pub async fn all(source: &Client, target: &Client, pairs: &[Pair]) -> Result<Report> {
    let mut report = rows_of(source, target, pairs).await?;
    let found = catalog::differences(source, target, pairs).await?;
    (report.catalog, report.documented) = (found.unexpected, found.documented);
    Ok(report)
}

/// Compares the rows alone.
///
/// # Errors
/// As [`all`].
pub async fn rows_of(source: &Client, target: &Client, pairs: &[Pair]) -> Result<Report> {
    for client in [source, target] {
        client.batch_execute(rows::SESSION).await?;
    }
    let mut report = Report { tables: pairs.len(), ..Report::default() };
    for pair in pairs {
        let difference = rows::compare(source, target, pair).await?;
        report.rows += difference.source_rows;
        if !difference.is_equal() {
            report.different.push(difference);
        }
    }
    Ok(report)
}
