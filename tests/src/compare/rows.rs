//! The rows of one table on both sides, streamed in one order and merged.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use tokio_postgres::{Client, CopyOutStream};

use super::Pair;

/// Settings under which both sides write the same text for the same value.
pub(super) const SESSION: &str = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres';
    set extra_float_digits = 3; set bytea_output = 'hex'; set xmloption = 'content'; set lc_monetary = 'C';
    set search_path = ''; set work_mem = '128MB'; set jit = off; set statement_timeout = 0";

/// How many keys of each sort are kept.
const SHOWN: usize = 5;

/// How one table differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDifference {
    /// The source's name.
    pub table: String,
    /// Rows on the source.
    pub source_rows: u64,
    /// Rows on the target.
    pub target_rows: u64,
    /// Rows of the source that the target has not, and the first keys.
    pub missing: Keys,
    /// Rows of the target that the source has not.
    pub extra: Keys,
    /// Rows on both sides with different values.
    pub different: Keys,
    /// Why rows could not be compared at all.
    pub problem: Option<String>,
}

impl TableDifference {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.problem.is_none() && self.missing.count + self.extra.count + self.different.count == 0
    }
}

impl fmt::Display for TableDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} rows in the source, {} in the target", self.table, self.source_rows, self.target_rows)?;
        for (word, keys) in [("missing", &self.missing), ("extra", &self.extra), ("different", &self.different)] {
            if keys.count > 0 {
                write!(f, "; {} {word}, first {}", keys.count, keys.first.join(" "))?;
            }
        }
        self.problem.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

/// A number of rows and the keys of the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// How many.
    pub count: u64,
    /// The first ones, as the server writes them.
    pub first: Vec<String>,
}

impl Keys {
    fn add(&mut self, row: &Row) {
        self.note(&row.key);
    }

    /// Counts one row by its key.
    pub(super) fn note(&mut self, key: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(key.to_owned());
        }
    }
}

/// Compares one table.
///
/// # Errors
/// A statement fails for another reason than a table or column that the target has not.
pub(super) async fn compare(source: &Client, target: &Client, pair: &Pair) -> Result<TableDifference> {
    let mut found = TableDifference { table: format!("{}.{}", pair.source.0, pair.source.1), ..Default::default() };
    let shape = Shape::read(source, &pair.source).await?;
    let mut left = Rows::open(source, &shape.select(&pair.source)).await?;
    let mut right = match Rows::open(target, &shape.select(&pair.target)).await {
        Ok(rows) => rows,
        Err(error) => {
            found.problem = Some(format!("the target can't be read: {error:#}"));
            left.drain().await?;
            return Ok(found);
        }
    };
    let (mut a, mut b) = (left.next().await?, right.next().await?);
    loop {
        let order = match (&a, &b) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.order.cmp(&b.order),
        };
        match (order, &a, &b) {
            (Ordering::Less, Some(row), _) => found.missing.add(row),
            (Ordering::Greater, _, Some(row)) => found.extra.add(row),
            (_, Some(one), Some(other)) if one.hash != other.hash => found.different.add(one),
            _ => {}
        }
        if order != Ordering::Greater {
            a = left.next().await?;
        }
        if order != Ordering::Less {
            b = right.next().await?;
        }
    }
    (found.source_rows, found.target_rows) = (left.count, right.count);
    Ok(found)
}

/// What of a table is compared: all columns, told apart by its primary key or, without one, by all columns.
struct Shape {
    columns: Vec<String>,
    key: Vec<String>,
}

impl Shape {
    async fn read(client: &Client, (schema, table): &(String, String)) -> Result<Self> {
        let row = client
            .query_one(
                "select array_agg(quote_ident(attname) order by attnum),
                        coalesce(array_agg(quote_ident(attname) order by attnum) filter (where attnum = any (
                            select unnest(indkey) from pg_index where indrelid = attrelid and indisprimary)), '{}')
                 from pg_attribute join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
                 where nspname = $1 and relname = $2 and attnum > 0 and not attisdropped",
                &[schema, table],
            )
            .await
            .with_context(|| format!("reading the columns of {schema}.{table}"))?;
        let columns: Option<Vec<String>> = row.get(0);
        Ok(Self { columns: columns.with_context(|| format!("{schema}.{table} is not there"))?, key: row.get(1) })
    }

    fn select(&self, (schema, table): &(String, String)) -> String {
        let row = format!("row({})::text", self.columns.join(", "));
        let key = if self.key.is_empty() { row.clone() } else { format!("row({})::text", self.key.join(", ")) };
        let name = format!("\"{}\".\"{}\"", schema.replace('"', "\"\""), table.replace('"', "\"\""));
        format!(
            "copy (select pg_catalog.md5({key})::uuid, pg_catalog.md5({row})::uuid, pg_catalog.left({key}, 120)
                   from {name} order by 1, 2) to stdout"
        )
    }
}

struct Row {
    order: String,
    hash: String,
    key: String,
}

/// The lines of a `COPY … TO STDOUT`.
struct Rows {
    stream: Pin<Box<CopyOutStream>>,
    buffer: Vec<u8>,
    at: usize,
    count: u64,
}

impl Rows {
    async fn open(client: &Client, sql: &str) -> Result<Self> {
        let stream = client.copy_out(sql).await.map_err(|error| match error.as_db_error() {
            Some(refusal) => anyhow::anyhow!("{} [{}]", refusal.message(), refusal.code().code()),
            None => error.into(),
        })?;
        Ok(Self { stream: Box::pin(stream), buffer: Vec::new(), at: 0, count: 0 })
    }

    async fn next(&mut self) -> Result<Option<Row>> {
        loop {
            if let Some(length) = self.buffer[self.at..].iter().position(|&byte| byte == b'\n') {
                let line = std::str::from_utf8(&self.buffer[self.at..self.at + length])?;
                let mut parts = line.splitn(3, '\t').map(str::to_owned);
                let (Some(order), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
                    anyhow::bail!("the server sent a line of another form: {line}");
                };
                self.at += length + 1;
                self.count += 1;
                return Ok(Some(Row { order, hash, key }));
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let Some(chunk) = self.stream.next().await else { return Ok(None) };
            self.buffer.extend_from_slice(&chunk.context("reading rows to compare")?);
        }
    }

    async fn drain(&mut self) -> Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
