//! What tables there are, with columns, keys and everything that a PostgreSQL target needs to make them again.
//!
//! First the names of all, then a handful of queries for all that are wanted at once, in one snapshot; the rest is put
//! together here.
//!
//! Functions of the server that write definitions look at what is there now instead. What has gone since the snapshot they
//! answer with NULL or an error of the class XX; then nothing of the answers is taken, and all is read anew.

mod sql;
mod types;

use std::collections::HashMap;

use serde_json::{Map, Value};
use tokio_postgres::{Client, Row};
use wavemark_connector::source::Wanted;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, Problem, Table, TableName};

use crate::error;
use crate::native::TableNative;
use types::Types;

/// How often the catalog is read anew because it changed meanwhile.
const TRIES: usize = 5;

/// Every table that is wanted, in order of schema and name. The client's `search_path` must be empty.
///
/// # Errors
/// When the catalog can't be read, or changes each time.
pub(crate) async fn tables(client: &mut Client, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
    for _ in 1..TRIES {
        match tables_now(client, wanted).await {
            Err(problem) if matches!(&*problem.code, CHANGED | error::INTERNAL) => {}
            read => return read,
        }
    }
    tables_now(client, wanted).await
}

async fn tables_now(client: &mut Client, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "read the catalog");
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(failed)?;
    let names = transaction.query(sql::NAMES, &[]).await.map_err(failed)?;
    let oid = |row: &Row| wanted(&name(row, 1)).then(|| row.get(0));
    let oids: Vec<u32> = names.iter().filter_map(oid).collect();
    let found = read(transaction.client(), oids).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    found.into_tables()
}

/// One table, in the client's transaction; none if it isn't there. The problem of one that changes meanwhile is transient:
/// it has to be asked for in another transaction.
pub(crate) async fn table(client: &Client, oid: u32) -> Result<Option<Table>, Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "read the catalog");
    Ok(read(client, vec![oid]).await.map_err(failed)?.into_tables()?.into_iter().next())
}

/// How a type with a modifier is written, and what it is, as a `TypeRef`.
pub(crate) struct Form {
    pub(crate) declared: String,
    pub(crate) reference: Value,
}

/// Types with their modifiers; without those that are not there any more.
pub(crate) async fn forms(client: &Client, wanted: &[(u32, i32)]) -> Result<HashMap<(u32, i32), Form>, Problem> {
    let failed = |error: tokio_postgres::Error| error::driver(&error, "read the catalog");
    let (oids, modifiers): (Vec<u32>, Vec<i32>) = wanted.iter().copied().unzip();
    let types = Types::new(&client.query(sql::TYPES_BY_ID, &[&oids]).await.map_err(failed)?);
    let declared = "SELECT t.oid, w.modifier, format_type(t.oid, w.modifier) \
                    FROM unnest($1::oid[], $2::int4[]) w (type, modifier) JOIN pg_type t ON t.oid = w.type";
    let rows = client.query(declared, &[&oids, &modifiers]).await.map_err(failed)?;
    let form = |row: &Row| {
        let type_id: u32 = row.get(0);
        Ok(((type_id, row.get(1)), Form { declared: row.get(2), reference: types.reference(type_id)? }))
    };
    rows.iter().map(form).collect()
}

/// The answers, still apart.
struct Found {
    tables: Vec<Row>,
    columns: Vec<Row>,
    types: Types,
    constraints: Vec<Row>,
    indexes: Vec<Row>,
    identities: HashMap<u32, Vec<String>>,
    sequences: Vec<Row>,
}

fn name(row: &Row, at: usize) -> TableName {
    TableName::new(row.get::<_, String>(at), row.get::<_, String>(at + 1))
}

async fn read(client: &Client, oids: Vec<u32>) -> Result<Found, tokio_postgres::Error> {
    let tables = client.query(sql::TABLES, &[&oids]).await?;
    let oids: Vec<u32> = tables.iter().map(|row| row.get(0)).collect();
    let identities = client.query(sql::IDENTITIES, &[&oids]).await?;
    Ok(Found {
        columns: client.query(sql::COLUMNS, &[&oids]).await?,
        types: Types::new(&client.query(sql::TYPES, &[&oids]).await?),
        constraints: client.query(sql::CONSTRAINTS, &[&oids]).await?,
        indexes: client.query(sql::INDEXES, &[&oids]).await?,
        identities: identities.iter().map(|row| (row.get(0), row.get(1))).collect(),
        sequences: client.query(sql::SEQUENCES, &[&oids]).await?,
        tables,
    })
}

impl Found {
    fn into_tables(self) -> Result<Vec<Table>, Problem> {
        let mut parts = Parts::new(&self)?;
        let tables = self.tables.iter().map(|row| whole(put_together(row, &mut parts, &self.identities)));
        tables.collect()
    }
}

/// The answers by table.
struct Parts {
    columns: HashMap<u32, Vec<Column>>,
    definitions: HashMap<u32, Vec<Value>>,
    native: HashMap<u32, Map<String, Value>>,
}

impl Parts {
    fn new(found: &Found) -> Result<Self, Problem> {
        let mut parts = Self { columns: HashMap::new(), definitions: HashMap::new(), native: HashMap::new() };
        let mut used: HashMap<u32, Vec<u32>> = HashMap::new();
        for row in &found.columns {
            let (table, type_id): (u32, u32) = (row.get(0), row.get(2));
            parts.columns.entry(table).or_default().push(column(row, found.types.reference(type_id)?));
            used.entry(table).or_default().push(type_id);
        }
        parts.definitions = used.into_iter().map(|(table, types)| (table, found.types.definitions(&types))).collect();
        for row in &found.constraints {
            match row.get::<_, &str>(1) {
                "p" => parts.set(row.get(0), "primary_key", row.get(2)),
                "u" => parts.push(row.get(0), "uniques", row.get(2)),
                "c" => parts.push(row.get(0), "checks", row.get(2)),
                "x" => parts.push(row.get(0), "exclusions", row.get(2)),
                _ => parts.push(row.get(0), "foreign_keys", row.get(2)),
            }
        }
        found.indexes.iter().for_each(|row| parts.push(row.get(0), "indexes", row.get(1)));
        found.sequences.iter().for_each(|row| parts.push(row.get(0), "sequences", row.get(4)));
        Ok(parts)
    }

    fn set(&mut self, table: u32, name: &str, value: Value) {
        self.native.entry(table).or_default().insert(name.to_owned(), value);
    }

    fn push(&mut self, table: u32, name: &str, value: Value) {
        let list = self.native.entry(table).or_default().entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
    }
}

fn column(row: &Row, type_reference: Value) -> Column {
    let mut native: Value = row.get(6);
    native["type"] = type_reference;
    Column { name: row.get(1), declared: row.get(3), not_null: row.get(4), generated: row.get(5), native }
}

fn put_together(row: &Row, parts: &mut Parts, identities: &HashMap<u32, Vec<String>>) -> Table {
    let oid: u32 = row.get(0);
    let relkind: &str = row.get(3);
    let mut native: Value = row.get(6);
    if let Value::Object(object) = &mut native {
        object.extend(parts.native.remove(&oid).unwrap_or_default());
        object.insert("types".to_owned(), Value::Array(parts.definitions.remove(&oid).unwrap_or_default()));
    }
    Table {
        name: name(row, 1),
        kind: match relkind {
            "p" => TableKind::Partitioned,
            "r" => TableKind::Table,
            _ => TableKind::View,
        },
        columns: parts.columns.remove(&oid).unwrap_or_default(),
        key: key(&native, identities.get(&oid)),
        rows_estimated: row.get::<_, Option<f64>>(4).map(rounded),
        bytes_estimated: row.get::<_, Option<i64>>(5).and_then(|bytes| u64::try_from(bytes).ok()),
        native,
    }
}

/// The code of the problem of a table that changed while it was read.
const CHANGED: &str = "catalog-changed";

/// The table, if none of its definitions had gone when the server wrote it.
fn whole(table: Table) -> Result<Table, Problem> {
    match TableNative::of(&table) {
        Ok(_) => Ok(table),
        Err(error) => {
            let text = format!("Table {} changed while the catalog was read: {error}.", table.name);
            Err(Problem::transient(CHANGED, text).table(&table.name))
        }
    }
}

/// The columns by which the log names a row: those of the index chosen as replica identity, else the primary key.
/// With replica identity full and a primary key the key is taken out of the whole old row. A primary key that is
/// deferrable names nothing: the server does not take it for an identity, and for a while two rows may have it.
fn key(native: &Value, identity: Option<&Vec<String>>) -> Vec<String> {
    if native["replica_identity"] == "i" {
        return identity.cloned().unwrap_or_default();
    }
    let named = native["primary_key"]["deferrable"] != true;
    let columns = native["primary_key"]["columns"].as_array().filter(|_| named);
    columns.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, and never negative")]
fn rounded(rows: f64) -> u64 {
    rows.max(0.0) as u64
}
