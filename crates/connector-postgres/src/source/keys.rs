//! Fetching rows by key, in the view.
//!
//! Keys travel as bound values in their binary form, row by row in a VALUES list, which takes every type that can be
//! a key, arrays too. The source may be read-only, so there is no temporary table to put them into. The join is a
//! semi-join, so a row comes once even if two of the keys are equal by the type's own rules (1.0 and 1.00).

use std::collections::VecDeque;
use std::error::Error;

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use futures_util::{StreamExt, pin_mut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Row, Statement};
use wavemark_connector::source::{Block, BlockFormat, KeySet, RowReader};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Logical, Problem, TablePlan};

use super::canonical::Form;
use super::chunks::columns;
use super::copy::{BLOCK, Sink, too_large};
use super::lent::Lent;
use super::names::{literal, quoted};
use super::rows::condition as filter;
use super::text::forms;
use crate::native::{ColumnNative, TypeRef};
use crate::wire::{Connection, WireError, quote_identifier};
use crate::{error, logical};

/// At most so many keys in one statement.
const KEYS: usize = 1_000;
/// The protocol counts parameters in 16 bits.
const PARAMETERS: usize = 30_000;

/// After [`search_path`].
pub(super) const RESET: &str = "SET search_path = ''";

/// Reads the rows of given keys.
pub(super) struct KeyReader {
    table: TablePlan,
    lent: Option<Lent<Client>>,
    left: VecDeque<Vec<Vec<u8>>>,
    /// Keys per full statement, and that statement once it is prepared.
    per_statement: usize,
    full: Option<Statement>,
    sink: Sink,
    blocks: VecDeque<Block>,
    types: Vec<String>,
    /// Schemas of the key's types, whose operators may lie there.
    search_path: String,
}

impl KeyReader {
    pub(super) fn new(
        lent: Lent<Client>,
        table: &TablePlan,
        keys: &KeySet,
        format: BlockFormat,
    ) -> Result<Self, Problem> {
        check_key(table)?;
        let mut sink = Sink::new(format);
        sink.begin();
        Ok(Self {
            left: keys.iter().map(|key| key.into_iter().map(<[u8]>::to_vec).collect()).collect(),
            per_statement: KEYS.min(PARAMETERS / table.key.len()),
            types: key_columns(table).map(|column| column.declared.clone()).collect(),
            search_path: search_path(table)?,
            table: table.clone(),
            lent: Some(lent),
            full: None,
            sink,
            blocks: VecDeque::new(),
        })
    }

    fn statement(&self, keys: usize) -> String {
        let width = self.types.len();
        let rows = (0..keys).map(|row| {
            let cell = |(at, declared): (usize, &String)| format!("${}::{declared}", row * width + at + 1);
            format!("({})", self.types.iter().enumerate().map(cell).collect::<Vec<_>>().join(", "))
        });
        select(&self.table, &rows.collect::<Vec<_>>())
    }

    async fn fetch(&mut self) -> Result<(), Problem> {
        let keys: Vec<Vec<Vec<u8>>> = self.left.drain(..self.per_statement.min(self.left.len())).collect();
        let Some(lent) = &self.lent else { return Ok(()) };
        let doing = format!("read table {}", self.table.name());
        let failed = |error: tokio_postgres::Error| error::driver(&error, &doing).table(self.table.name());
        let statement = match &self.full {
            Some(statement) if keys.len() == self.per_statement => statement.clone(),
            _ => {
                lent.session.batch_execute(&self.search_path).await.map_err(failed)?;
                lent.session.prepare(&self.statement(keys.len())).await.map_err(failed)?
            }
        };
        let values: Vec<Raw<'_>> = keys.iter().flatten().map(|value| Raw(value)).collect();
        let rows = lent.session.query_raw(&statement, values.iter().map(|value| value as &dyn ToSql));
        let rows = rows.await.map_err(failed)?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            let row = row.map_err(failed)?;
            let cells = cells(&row).map_err(failed)?;
            let size = cells.iter().flatten().map(|cell| cell.len()).sum();
            if size > lent.most_row() {
                return Err(too_large(&self.table, size, lent.most_row()));
            }
            self.sink.push_values(&cells, &self.table)?;
            self.blocks.extend(self.sink.block(BLOCK));
        }
        if keys.len() == self.per_statement {
            self.full = Some(statement);
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Problem> {
        self.sink.end();
        self.blocks.extend(self.sink.block(0));
        if let Some(lent) = self.lent.take() {
            let reset = lent.session.batch_execute(RESET).await;
            reset.map_err(|error| error::driver(&error, "reset a session"))?;
            lent.give_back();
        }
        Ok(())
    }
}

#[async_trait]
impl RowReader for KeyReader {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        loop {
            if let Some(block) = self.blocks.pop_front() {
                return Ok(Some(block));
            }
            if self.lent.is_none() {
                return Ok(None);
            }
            if self.left.is_empty() { self.end().await? } else { self.fetch().await? }
        }
    }
}

/// The rows whose key is in a list.
fn select(table: &TablePlan, keys: &[String]) -> String {
    let names: Vec<_> = key_columns(table).map(|column| quote_identifier(&column.name)).collect();
    let only = if table.source.kind == TableKind::Table { "ONLY " } else { "" };
    format!(
        "SELECT {} FROM {only}{} WHERE ({}) IN (VALUES {}){}",
        columns(table),
        quoted(table.name()),
        names.join(", "),
        keys.join(", "),
        filter(table).map(|filter| format!(" AND {filter}")).unwrap_or_default()
    )
}

fn check_key(table: &TablePlan) -> Result<(), Problem> {
    if table.is_keyless() {
        let text = format!("Table {} has no key by which rows could be fetched.", table.name());
        return Err(Problem::internal(text).table(table.name()));
    }
    Ok(())
}

/// Statements that read the rows of keys of another system's form. COPY takes no bound values: the keys stand in them.
pub(super) fn as_text(
    table: &TablePlan,
    keys: &KeySet,
) -> Result<impl Iterator<Item = Result<String, Problem>> + Send + use<>, Problem> {
    check_key(table)?;
    let forms = forms(table)?;
    let columns = table.key.iter().map(|cell| {
        let column = &table.source.columns[table.columns[*cell].source];
        Key { form: forms[*cell], declared: column.declared.clone(), logical: logical::of(column) }
    });
    let columns: Vec<Key> = columns.collect();
    let own = |key: Vec<&[u8]>| -> Vec<Vec<u8>> { key.into_iter().map(<[u8]>::to_vec).collect() };
    let mut left = keys.iter().map(own).collect::<Vec<_>>().into_iter();
    let table = table.clone();
    Ok(std::iter::from_fn(move || {
        let row = |key: Vec<Vec<u8>>| {
            let cells: Option<Vec<String>> = columns.iter().zip(&key).map(|(column, cell)| column.sql(cell)).collect();
            let misshapen = || Problem::internal(format!("A key of table {} can't be read.", table.name()));
            cells.map(|cells| format!("({})", cells.join(", "))).ok_or_else(misshapen)
        };
        let rows: Result<Vec<String>, Problem> = left.by_ref().take(KEYS).map(row).collect();
        match rows {
            Ok(rows) if rows.is_empty() => None,
            rows => Some(rows.map(|rows| select(&table, &rows))),
        }
    }))
}

/// A column of a key that is written out.
struct Key {
    form: Form,
    declared: String,
    logical: Option<Logical>,
}

impl Key {
    fn sql(&self, cell: &[u8]) -> Option<String> {
        let text = self.form.text(cell)?;
        let digits = match self.logical {
            // Whole bytes begin with bits that are none of the value.
            Some(Logical::Bits { length }) => text.get(text.len().checked_sub(length.into())?..)?,
            _ => &text,
        };
        Some(format!("{}::{}", literal(digits), self.declared))
    }
}

/// Lets a session find the operators of the key's types.
pub(super) async fn find_operators(session: &mut Connection, table: &TablePlan) -> Result<(), Problem> {
    let failed = |error: WireError| error::wire(&error, "set up a session");
    session.query(&search_path(table)?).await.map(drop).map_err(failed)
}

fn key_columns(table: &TablePlan) -> impl Iterator<Item = &wavemark_domain::Column> {
    table.key.iter().map(|cell| &table.source.columns[table.columns[*cell].source])
}

fn search_path(table: &TablePlan) -> Result<String, Problem> {
    let mut schemas: Vec<String> = Vec::new();
    for column in key_columns(table) {
        let native = ColumnNative::of(column).map_err(|error| {
            Problem::internal(format!("The plan of column {} can't be read: {error}.", column.name))
        })?;
        collect(&native.r#type, &mut schemas);
    }
    let names: Vec<_> = schemas.iter().map(|schema| quote_identifier(schema)).collect();
    let list = if names.is_empty() { "''".to_owned() } else { format!("pg_catalog, {}", names.join(", ")) };
    Ok(format!("SET search_path = {list}"))
}

fn collect(reference: &TypeRef, schemas: &mut Vec<String>) {
    if reference.name.schema != "pg_catalog" && !schemas.contains(&reference.name.schema) {
        schemas.push(reference.name.schema.clone());
    }
    reference.inner.iter().for_each(|inner| collect(inner, schemas));
    reference.attributes.iter().for_each(|attribute| collect(attribute, schemas));
}

fn cells(row: &Row) -> Result<Vec<Option<&[u8]>>, tokio_postgres::Error> {
    (0..row.len()).map(|at| Ok(row.try_get::<_, Option<Raw<'_>>>(at)?.map(|raw| raw.0))).collect()
}

/// A value in its binary form, whatever its type.
#[derive(Debug)]
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}
