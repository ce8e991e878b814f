//! A table whose layout changed, as the catalog describes it now: all at one moment.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::{Client, IsolationLevel, Row};
use wavemark_domain::{Problem, Table};

use super::known::{Storage, storages};
use crate::discover::{self, Form};
use crate::error;
use crate::pgoutput::{Column, RelationBody};

const ATTRIBUTES: &str = "\
    SELECT attnum, attname::text, attisdropped, attgenerated::text <> '', atttypid, atttypmod FROM pg_attribute \
    WHERE attrelid = $1 AND attnum > 0 ORDER BY attnum";

/// What rows have in columns that were added after them. The server keeps it in an array of one element.
const MISSING: &str = "\
    SELECT attname::text, array_to_string(attmissingval, '') FROM pg_attribute \
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped AND atthasmissing";

/// A table as the catalog has it now.
pub(super) struct Present {
    pub(super) table: Table,
    /// Every column that it ever had, in order of their numbers.
    pub(super) attributes: Vec<Attribute>,
    /// What rows have in a column that was added after them, by its number; `None` if they don't agree.
    pub(super) missing: BTreeMap<i16, Option<String>>,
    pub(super) storage: Storage,
    /// The types that are asked for and that no column has by now.
    pub(super) forms: HashMap<(u32, i32), Form>,
}

/// A column in the catalog.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) number: i16,
    pub(super) name: String,
    pub(super) is_dropped: bool,
    pub(super) is_generated: bool,
    pub(super) type_id: u32,
    pub(super) modifier: i32,
}

impl Attribute {
    /// What a Relation message says of it.
    pub(super) fn shape(&self) -> (&str, u32, i32) {
        (&self.name, self.type_id, self.modifier)
    }
}

/// The table that a message describes, if it is there.
pub(super) async fn present(client: &mut Client, message: &RelationBody<'_>) -> Result<Option<Present>, Problem> {
    let oid = message.id;
    let failed = |error: tokio_postgres::Error| error::driver(&error, "look up a table that was changed");
    let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = begin.start().await.map_err(failed)?;
    let client = transaction.client();
    let Some(table) = discover::table(client, oid).await? else { return Ok(None) };
    let rows = client.query(ATTRIBUTES, &[&oid]).await.map_err(failed)?;
    let attributes: Vec<Attribute> = rows.iter().map(attribute).collect();
    let storage = storages(client, &[oid]).await?.remove(&oid).map(|(_, storage)| storage).unwrap_or_default();
    let leaves: Vec<u32> = storage.keys().copied().collect();
    let rows = client.query(MISSING, &[&leaves]).await.map_err(failed)?;
    // Another column that has the type says nothing of how it is written here.
    let is_there = |column: &Column<'_>| {
        attributes
            .iter()
            .any(|one| one.name == column.name && (one.type_id, one.modifier) == (column.type_id, column.modifier))
    };
    let columns = message.columns.iter().filter(|column| !is_there(column));
    let gone: Vec<(u32, i32)> = columns.map(|column| (column.type_id, column.modifier)).collect();
    let forms = if gone.is_empty() { HashMap::new() } else { discover::forms(client, &gone).await? };
    transaction.commit().await.map_err(failed)?;
    Ok(Some(Present { table, missing: missing(&rows, &attributes), attributes, storage, forms }))
}

fn attribute(row: &Row) -> Attribute {
    Attribute {
        number: row.get(0),
        name: row.get(1),
        is_dropped: row.get(2),
        is_generated: row.get(3),
        type_id: row.get(4),
        modifier: row.get(5),
    }
}

/// Partitions have numbers of their own for the same columns: the names tell.
fn missing(rows: &[Row], attributes: &[Attribute]) -> BTreeMap<i16, Option<String>> {
    let mut missing: BTreeMap<i16, Option<String>> = BTreeMap::new();
    for row in rows {
        let (name, value): (&str, Option<String>) = (row.get(0), row.get(1));
        let Some(attribute) = attributes.iter().find(|one| !one.is_dropped && one.name == name) else { continue };
        let of_all = missing.entry(attribute.number).or_insert_with(|| value.clone());
        if *of_all != value {
            *of_all = None;
        }
    }
    missing
}
