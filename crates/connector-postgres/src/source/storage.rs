//! Entering a table: is what the snapshot would read what the log continues?
//!
//! A rewriting ALTER TABLE and a TRUNCATE give a table new storage that older snapshots see as empty, and the log
//! holds no change for it. So a table is locked first, and then its storage now is compared with the one in the
//! snapshot's catalog; as long as the lock is held, neither can happen any more.

use serde_json::Value;
use tokio_postgres::Client;
use wavemark_connector::source::{DROPPED_IN_LOAD, Entered};
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::names::quoted;
use super::watch;
use crate::error;
use crate::native::{ColumnNative, TableNative};
use crate::wire::quote_identifier;

/// A table with storage of its own: the table itself or one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) oid: u32,
    pub(super) filenode: u32,
    /// Quoted and qualified; can't change while the table is entered.
    pub(super) name: String,
}

pub(super) struct Found {
    pub(super) entered: Entered,
    pub(super) leaves: Vec<Leaf>,
}

/// The leaves below a table in the catalog that the session sees, in order of their OIDs.
const LEAVES: &str = "\
    WITH RECURSIVE tree(oid) AS ( \
        SELECT $1::oid UNION ALL \
        SELECT i.inhrelid FROM tree JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p' \
        JOIN pg_inherits i ON i.inhparent = tree.oid \
          AND NOT coalesce((to_jsonb(i) ->> 'inhdetachpending')::bool, false)) \
    SELECT c.oid, c.relfilenode, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::float8 \
    FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind <> 'p' ORDER BY c.oid";

/// The columns as they are now; `native` as discovery writes it.
const COLUMNS: &str = "\
    SELECT attname::text, attnum, atttypid, atttypmod, attgenerated <> '' FROM pg_attribute \
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";

/// Locks a table and looks at its storage. `holder` reads in the snapshot, `control` what is true now.
pub(super) async fn enter(holder: &Client, control: &Client, table: &TablePlan) -> Result<Found, Problem> {
    let doing = format!("enter table {}", table.name());
    let failed = |error: tokio_postgres::Error| error::driver(&error, &doing).table(table.name());
    let native = TableNative::of(&table.source)
        .map_err(|error| Problem::internal(format!("The plan of table {} can't be read: {error}.", table.name())))?;
    if table.source.kind == TableKind::View {
        return Ok(whole_view(table));
    }
    let locked = lock(holder, table).await;
    let is_it = locked.is_ok() && now(control, table).await? == Some(native.oid);
    if !is_it {
        match watch::names(control, &[native.oid]).await?.get(&native.oid) {
            None => return Err(dropped(table)),
            Some(name) if name != table.name() => return Err(changed(table, &format!("it is now named {name}"))),
            Some(_) => locked?,
        }
        return Err(changed(table, "it had another name meanwhile"));
    }
    compare_columns(control, native.oid, table).await?;
    let seen = leaves(holder.query(LEAVES, &[&native.oid]).await.map_err(failed)?, table)?;
    let present = leaves(control.query(LEAVES, &[&native.oid]).await.map_err(failed)?, table)?;
    let mark = mark(&present.0);
    Ok(Found {
        entered: Entered { storage: mark, readable: seen.0 == present.0, rows_estimated: present.1 },
        leaves: present.0,
    })
}

fn whole_view(table: &TablePlan) -> Found {
    let entered = Entered { storage: "view".to_owned(), readable: true, rows_estimated: table.source.rows_estimated };
    Found { entered, leaves: Vec::new() }
}

/// Takes ACCESS SHARE until the view is let go. A lock that isn't given in time leaves the snapshot as it was.
async fn lock(holder: &Client, table: &TablePlan) -> Result<(), Problem> {
    let only = if table.source.kind == TableKind::Partitioned { "" } else { "ONLY " };
    let statement = format!("LOCK TABLE {only}{} IN ACCESS SHARE MODE", quoted(table.name()));
    let failed = |error: tokio_postgres::Error| {
        error::driver(&error, &format!("lock table {}", table.name())).table(table.name())
    };
    holder.batch_execute("SAVEPOINT entering").await.map_err(failed)?;
    let locked = holder.batch_execute(&statement).await;
    let end = if locked.is_ok() { "RELEASE entering" } else { "ROLLBACK TO entering; RELEASE entering" };
    holder.batch_execute(end).await.map_err(failed)?;
    locked.map_err(failed)
}

async fn now(control: &Client, table: &TablePlan) -> Result<Option<u32>, Problem> {
    let row = control
        .query_one("SELECT to_regclass($1)::oid", &[&quoted(table.name())])
        .await
        .map_err(|error| error::driver(&error, &format!("look up table {}", table.name())).table(table.name()))?;
    Ok(row.get(0))
}

/// The plan was made before the view: a column that changed in between would be read as something else, and the values of
/// one that came would be missed.
async fn compare_columns(control: &Client, oid: u32, table: &TablePlan) -> Result<(), Problem> {
    let rows = control
        .query(COLUMNS, &[&oid])
        .await
        .map_err(|error| error::driver(&error, &format!("read the columns of {}", table.name())))?;
    for column in &table.columns {
        let planned = &table.source.columns[column.source];
        let native = ColumnNative::of(planned).map_err(|error| {
            Problem::internal(format!("The plan of column {}.{} can't be read: {error}.", table.name(), planned.name))
        })?;
        let same = rows.iter().any(|row| {
            row.get::<_, &str>(0) == planned.name
                && row.get::<_, i16>(1) == native.attnum
                && row.get::<_, u32>(2) == native.r#type.oid
                && row.get::<_, i32>(3) == native.type_modifier
                && !row.get::<_, bool>(4)
        });
        if !same {
            return Err(changed(table, &format!("its column {} is not what it was", planned.name)));
        }
    }
    let known = |number: i16| {
        let numbers = table.source.columns.iter().filter_map(|column| ColumnNative::of(column).ok());
        numbers.into_iter().any(|native| native.attnum == number)
    };
    if let Some(row) = rows.iter().find(|row| !row.get::<_, bool>(4) && !known(row.get(1))) {
        return Err(changed(table, &format!("it has a new column {}", row.get::<_, &str>(0))));
    }
    Ok(())
}

fn changed(table: &TablePlan, how: &str) -> Problem {
    let text = format!("Table {} changed after the task's plan was made: {how}.", table.name());
    Problem::new(Fault::Data, "table-changed", text).advice("Reload the table.").table(table.name())
}

fn dropped(table: &TablePlan) -> Problem {
    let text = format!("Table {} was dropped before its load was over.", table.name());
    Problem::new(Fault::Data, DROPPED_IN_LOAD, text)
        .advice("Reload the table if it is there again.")
        .table(table.name())
}

fn leaves(rows: Vec<tokio_postgres::Row>, table: &TablePlan) -> Result<(Vec<Leaf>, Option<u64>), Problem> {
    let mut found = Vec::new();
    let mut estimate = Some(0.0_f64);
    for row in rows {
        let (schema, name): (&str, &str) = (row.get(2), row.get(3));
        if row.get::<_, &str>(4) != "r" {
            let text = format!("Partition {schema}.{name} of table {} is a foreign table.", table.name());
            return Err(Problem::new(Fault::Data, "foreign-partition", text).table(table.name()));
        }
        let rows: f64 = row.get(5);
        estimate = estimate.filter(|_| rows >= 0.0).map(|sum| sum + rows);
        found.push(Leaf {
            oid: row.get(0),
            filenode: row.get(1),
            name: format!("{}.{}", quote_identifier(schema), quote_identifier(name)),
        });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, and not negative")]
    Ok((found, estimate.map(|sum| sum as u64)))
}

/// Changes when any leaf gets new storage, or a leaf comes or goes.
fn mark(leaves: &[Leaf]) -> String {
    let marks: Vec<_> = leaves.iter().map(|leaf| Value::from(vec![leaf.oid, leaf.filenode])).collect();
    Value::from(marks).to_string()
}
