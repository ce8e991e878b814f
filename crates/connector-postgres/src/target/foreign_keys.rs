//! Foreign keys of target tables: those in the way are dropped with a note, and all are made once their tables stand
//! at one position.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;
use wavemark_domain::{Fault, Problem, TableName, TablePlan};

use super::create::native;
use super::fault::problem;
use super::fence::Grant;
use super::finish::deferral;
use super::names::Names;
use super::table::quote_table;
use crate::native::ForeignKey;
use crate::wire::quote_identifier;

/// How a definition says that the rows were not looked at.
const NOT_VALID: &str = " NOT VALID";

/// Which foreign keys are in the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of other tables: the table's own go with it.
    FromOthers,
    /// Its own too: the tables that they point at may stand at another position.
    AndItsOwn,
}

/// A foreign key as it is in the target, or was.
pub(crate) struct Noted {
    pub(crate) on: TableName,
    pub(crate) name: String,
    pub(crate) definition: String,
}

/// Drops foreign keys that point at the table, or that it has, after noting how to make them again.
pub(crate) async fn release(
    transaction: &Transaction<'_>,
    task: Uuid,
    table: &TablePlan,
    which: Which,
) -> Result<Vec<Noted>, tokio_postgres::Error> {
    const SQL: &str = "SELECT n.nspname::text, c.relname::text, k.conname::text, pg_catalog.pg_get_constraintdef(k.oid) \
        FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE k.contype = 'f' AND k.conparentid = 0 \
        AND CASE WHEN k.conrelid = pg_catalog.to_regclass($1) THEN $2 ELSE k.confrelid = pg_catalog.to_regclass($1) END";
    const NOTE: &str = "INSERT INTO wavemark.foreign_keys VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let rows = transaction.query(SQL, &[&quote_table(&table.target), &(which == Which::AndItsOwn)]).await?;
    let found: Vec<Noted> = rows.iter().map(noted).collect();
    for key in &found {
        transaction.execute(NOTE, &[&task, &key.on.schema, &key.on.table, &key.name, &key.definition]).await?;
        let (on, name) = (quote_table(&key.on), quote_identifier(&key.name));
        transaction.batch_execute(&format!("ALTER TABLE {on} DROP CONSTRAINT {name}")).await?;
    }
    Ok(found)
}

/// Drops the foreign keys between a table that has ended and other tables of the task, and what was noted of such; returns
/// them in words.
pub(crate) async fn part(client: &Client, task: Uuid, table: &TablePlan) -> Result<Vec<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT n.nspname::text, c.relname::text, k.conname::text, pg_catalog.pg_get_constraintdef(k.oid) \
        FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> k.confrelid \
        AND pg_catalog.to_regclass($1) IN (k.conrelid, k.confrelid) \
        AND (SELECT pg_catalog.count(DISTINCT t.oid) FROM wavemark.tables w, LATERAL (SELECT pg_catalog.to_regclass( \
            pg_catalog.format('%I.%I', w.target_schema, w.target_table))::oid) t (oid) \
            WHERE w.task = $2 AND t.oid IN (k.conrelid, k.confrelid)) = 2 ORDER BY 1, 2, 3";
    const NOTED: &str = "DELETE FROM wavemark.foreign_keys WHERE task = $1 AND ((on_schema, on_table) = ($2, $3) \
        OR pg_catalog.strpos(definition, pg_catalog.format(' REFERENCES %I.%I(', $2::text, $3::text)) > 0)";
    let rows = client.query(SQL, &[&quote_table(&table.target), &task]).await?;
    let keys: Vec<Noted> = rows.iter().map(noted).collect();
    for key in &keys {
        let (on, name) = (quote_table(&key.on), quote_identifier(&key.name));
        client.batch_execute(&format!("ALTER TABLE {on} DROP CONSTRAINT {name}")).await?;
    }
    client.execute(NOTED, &[&task, &table.target.schema, &table.target.table]).await?;
    Ok(keys.into_iter().map(|key| format!("{} on {}", key.name, key.on)).collect())
}

/// Drops what parked tables are in the way of, in one commit; returns the keys in words. `None` if somebody else uses
/// the tables just now: nobody is kept waiting for long.
pub(crate) async fn release_parked(
    client: &mut Client,
    grant: &Grant,
    parked: &[TablePlan],
) -> Result<Option<Vec<String>>, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "drop the foreign keys of parked tables");
    let transaction = client.transaction().await.map_err(failed)?;
    let begin = format!("{}; SET LOCAL lock_timeout = '1s'", grant.share());
    transaction.batch_execute(&begin).await.map_err(failed)?;
    let mut dropped = Vec::new();
    for table in parked {
        match release(&transaction, grant.task, table, Which::AndItsOwn).await.map_err(failed) {
            Ok(keys) => dropped.extend(keys.into_iter().map(|key| format!("{} on {}", key.name, key.on))),
            Err(problem) if problem.code == "lock-timeout" => return Ok(None),
            Err(problem) => return Err(problem),
        }
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Some(dropped))
}

fn noted(row: &Row) -> Noted {
    Noted {
        on: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        name: row.get(2),
        definition: row.get(3),
    }
}

/// One foreign key to make.
struct Wanted {
    key: Noted,
    /// Whether the rows are to be looked at, too.
    validated: bool,
}

/// Makes the foreign keys between loaded tables, and those that were dropped and are of no parked table. What can't be
/// made is returned, and tried again the next time.
///
/// `switched_off` says whether the session that applies changes has them switched off. Where it may not they do nothing by
/// themselves, for the log has what they did at the source; and they are checked at the end of a wave, for a statement of the
/// source is many here.
pub(crate) async fn make(
    client: &mut Client,
    grant: &Grant,
    plan: &[TablePlan],
    switched_off: bool,
) -> Result<Vec<Problem>, Problem> {
    let mut wanted = planned(client, grant, plan, switched_off).await?;
    wanted.extend(dropped(client, grant.task).await?);
    let mut left = Vec::new();
    for Wanted { key, validated } in wanted {
        let Err(error) = add(client, grant, &key, validated).await else { continue };
        let problem = problem(&error, &format!("make foreign key {} on {}", key.name, key.on));
        if problem.fault != Fault::Data {
            return Err(problem);
        }
        let table = plan.iter().find(|table| table.target == key.on);
        left.push(match table {
            Some(table) => problem.table(table.name()),
            None => problem,
        });
    }
    Ok(left)
}

async fn planned(
    client: &Client,
    grant: &Grant,
    plan: &[TablePlan],
    switched_off: bool,
) -> Result<Vec<Wanted>, Problem> {
    const LOADED: &str =
        "SELECT source_schema, source_table FROM wavemark.tables WHERE task = $1 AND stage = 'loaded' AND made";
    const ANY: &str = "SELECT source_schema, source_table FROM wavemark.tables WHERE task = $1 AND stage = 'loaded'";
    let failed = |error: tokio_postgres::Error| problem(&error, "read the marks of loaded tables");
    let name = |row: &tokio_postgres::Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    let made: Vec<TableName> = client.query(LOADED, &[&grant.task]).await.map_err(failed)?.iter().map(name).collect();
    let there: Vec<TableName> = client.query(ANY, &[&grant.task]).await.map_err(failed)?.iter().map(name).collect();
    let tables: BTreeMap<&TableName, &TablePlan> =
        plan.iter().filter(|table| there.contains(table.name())).map(|table| (table.name(), table)).collect();
    let mut wanted = Vec::new();
    for table in plan.iter().filter(|table| made.contains(table.name())) {
        for key in native(table)?.foreign_keys {
            let parent = TableName::new(key.target.schema.clone(), key.target.name.clone());
            // A row that leaves its filter goes from the target and is still pointed at.
            let parent = tables.get(&parent).filter(|parent| switched_off || parent.rows.is_none());
            let definition = parent.and_then(|parent| definition(&key, table, parent, switched_off));
            wanted.extend(definition.map(|definition| Wanted {
                key: Noted { on: table.target.clone(), name: key.name.clone(), definition },
                validated: key.validated,
            }));
        }
    }
    Ok(wanted)
}

fn definition(key: &ForeignKey, child: &TablePlan, parent: &TablePlan, switched_off: bool) -> Option<String> {
    let action = |letter: &str| match letter {
        _ if !switched_off => " NO ACTION",
        "r" => " RESTRICT",
        "c" => " CASCADE",
        "n" => " SET NULL",
        "d" => " SET DEFAULT",
        _ => " NO ACTION",
    };
    let full = if key.r#match == "f" { " MATCH FULL" } else { "" };
    Some(format!(
        "FOREIGN KEY ({}) REFERENCES {} ({}){full} ON UPDATE{} ON DELETE{}{}",
        Names::of(child).list(&key.columns)?,
        quote_table(&parent.target),
        Names::of(parent).list(&key.target_columns)?,
        action(&key.on_update),
        action(&key.on_delete),
        deferral(key.deferrable || !switched_off, key.deferred),
    ))
}

/// Refuses a table with a foreign key to or from another table of tasks that changes rows by itself: the log has those
/// changes, too. Only for sessions that have them not switched off.
pub(crate) async fn refuse_acting(client: &Client, table: &TablePlan) -> Result<(), Problem> {
    const SQL: &str = "SELECT k.conname::text, k.conrelid::pg_catalog.regclass::text, \
            pg_catalog.pg_get_constraintdef(k.oid) \
        FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 \
        AND pg_catalog.to_regclass($1) IN (k.conrelid, k.confrelid) \
        AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')) \
        AND CASE WHEN pg_catalog.to_regclass($1) = k.conrelid THEN k.confrelid ELSE k.conrelid END IN ( \
            SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', w.target_schema, w.target_table)) \
            FROM wavemark.tables w) ORDER BY 1 LIMIT 1";
    let failed = |error: tokio_postgres::Error| problem(&error, "look for foreign keys that act").table(table.name());
    let Some(row) = client.query_opt(SQL, &[&quote_table(&table.target)]).await.map_err(failed)? else {
        return Ok(());
    };
    let (name, on, definition): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    let text = format!(
        "Foreign key {name} on {on} changes rows of {on} by itself ({definition}), and the endpoint's role may not switch it \
         off: what it did at the source is in the log and would be done twice."
    );
    Err(Problem::new(Fault::Data, "target-key-acts", text).table(table.name()).advice(
        "Let the role SET session_replication_role (GRANT SET ON PARAMETER, from version 15 on), or make the key without \
         actions and DEFERRABLE; then reload the table.",
    ))
}

/// Those that were dropped and whose tables are no longer parked. The server writes a definition's names in full here.
async fn dropped(client: &Client, task: Uuid) -> Result<Vec<Wanted>, Problem> {
    const SQL: &str = "SELECT on_schema, on_table, name, definition FROM wavemark.foreign_keys k WHERE task = $1 \
        AND NOT EXISTS (SELECT FROM wavemark.tables t WHERE t.task = $1 AND t.stage = 'parked' \
            AND ((t.target_schema, t.target_table) = (k.on_schema, k.on_table) OR pg_catalog.strpos(k.definition, \
                pg_catalog.format(' REFERENCES %I.%I(', t.target_schema, t.target_table)) > 0))";
    let rows = client.query(SQL, &[&task]).await;
    let rows = rows.map_err(|error| problem(&error, "read the foreign keys that were dropped"))?;
    let wanted = |key: Noted| Wanted { validated: !key.definition.ends_with(NOT_VALID), key };
    Ok(rows.iter().map(|row| wanted(noted(row))).collect())
}

/// Adds a key without looking at the rows, which takes its locks for a moment only, then validates it. Its note stays
/// until all of that is done.
async fn add(client: &mut Client, grant: &Grant, key: &Noted, validated: bool) -> Result<(), tokio_postgres::Error> {
    const THERE: &str = "SELECT convalidated FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conname = $2 \
        AND conrelid = pg_catalog.to_regclass($1)";
    let (table, name) = (quote_table(&key.on), quote_identifier(&key.name));
    let there: Option<bool> = client.query_opt(THERE, &[&table, &key.name]).await?.map(|row| row.get(0));
    if there.is_none() {
        let transaction = client.transaction().await?;
        transaction.batch_execute(&grant.share()).await?;
        let definition = key.definition.trim_end_matches(NOT_VALID);
        let add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}{NOT_VALID}");
        transaction.batch_execute(&add).await?;
        transaction.commit().await?;
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(&grant.share()).await?;
    if validated && there != Some(true) {
        transaction.batch_execute(&format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}")).await?;
    }
    transaction
        .execute(
            "DELETE FROM wavemark.foreign_keys WHERE task = $1 AND on_schema = $2 AND on_table = $3 AND name = $4",
            &[&grant.task, &key.on.schema, &key.on.table, &key.name],
        )
        .await?;
    transaction.commit().await
}
