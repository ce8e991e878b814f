//! What a table gets after its rows: defaults, primary key, unique constraints, indexes, checks; and foreign keys
//! when all tables have theirs.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Transaction};
use uuid::Uuid;
use wavemark_connector::target::Stage;
use wavemark_domain::{Problem, TableId, TableName, TablePlan};

use super::create::{native, sequence_options};
use super::fault::problem;
use super::fence::Grant;
use super::marks;
use super::names::Names;
use super::table::quote_table;
use crate::native::{ColumnNative, ForeignKey, Key, Sequence, TableNative};
use crate::wire::quote_identifier;

/// Makes what is missing, in one commit.
pub(crate) async fn table(client: &mut Client, grant: &Grant, table: &TablePlan) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("make keys and indexes of {}", table.target)).table(table.name())
    };
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.share()).await.map_err(failed)?;
    match marks::stage_of(&transaction, grant.task, table).await.map_err(failed)? {
        Some((stage, made)) if stage != "loaded" => {
            if made {
                for statement in statements(&transaction, table).await? {
                    transaction.batch_execute(&statement).await.map_err(failed)?;
                }
            }
            transaction.batch_execute(&format!("ANALYZE {}", quote_table(&table.target))).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        }
        Some(_) => Ok(()),
        None => Err(Problem::internal(format!("Table {} is finished but was never begun.", table.target))),
    }
}

/// Marks a table loaded whose load is under way.
pub(crate) async fn complete(client: &mut Client, grant: &Grant, table: &TablePlan) -> Result<(), Problem> {
    let failed =
        |error: tokio_postgres::Error| problem(&error, &format!("mark {} as loaded", table.target)).table(table.name());
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.share()).await.map_err(failed)?;
    match marks::stage_of(&transaction, grant.task, table).await.map_err(failed)? {
        Some((stage, _)) if stage == "loading" => {
            marks::set_stage(&transaction, grant.task, table.name(), &Stage::Loaded).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        }
        Some(_) => Ok(()),
        None => Err(Problem::internal(format!("Table {} is completed but was never begun.", table.target))),
    }
}

async fn statements(transaction: &Transaction<'_>, table: &TablePlan) -> Result<Vec<String>, Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("look at keys and indexes of {}", table.target)).table(table.name())
    };
    let native = native(table)?;
    let names = Names::of(table);
    let name = quote_table(&table.target);
    let mut statements = defaults(table, &native, &names);
    let taken = taken(transaction, &table.target.schema).await.map_err(failed)?;
    let there = there(transaction, &name).await.map_err(failed)?;
    // What an earlier load made is still there after a reload; it is kept as it is.
    let alter = |what: &str, definition: &str| {
        let missing = !there.names.iter().any(|name| name == what);
        missing.then(|| format!("ALTER TABLE {name} ADD CONSTRAINT {} {definition}", quote_identifier(what)))
    };
    if let Some(key) = &native.primary_key {
        statements.extend(key_definition("PRIMARY KEY", key, &names).and_then(|text| alter(&key.name, &text)));
    }
    for key in &native.uniques {
        statements.extend(key_definition("UNIQUE", key, &names).and_then(|text| alter(&key.name, &text)));
    }
    for index in &native.indexes {
        let Some(definition) = names.text(&index.definition) else { continue };
        if there.has_index(&definition) {
            continue;
        }
        let unique = if index.unique { "UNIQUE " } else { "" };
        // A name that another table's index has is left to the server to choose.
        let own = if taken.contains(&index.name) { String::new() } else { quote_identifier(&index.name) };
        statements.push(format!("CREATE {unique}INDEX {own} ON {name} {definition}"));
    }
    for (what, definition) in native
        .checks
        .iter()
        .map(|check| (&check.name, &check.definition))
        .chain(native.exclusions.iter().map(|exclusion| (&exclusion.name, &exclusion.definition)))
    {
        statements.extend(names.text(definition).and_then(|text| alter(what, &text)));
    }
    statements.extend(comments(table, &native, &name));
    Ok(statements)
}

/// What a table has already.
struct There {
    /// Its constraints' names.
    names: Vec<String>,
    /// Its indexes' definitions.
    indexes: Vec<String>,
}

impl There {
    /// Names are quoted always by us and only where needed by the server, so quotes say nothing.
    fn has_index(&self, definition: &str) -> bool {
        let plain = |text: &str| text.replace('"', "");
        let wanted = format!(" {}", plain(definition));
        self.indexes.iter().any(|index| plain(index).ends_with(&wanted))
    }
}

async fn there(transaction: &Transaction<'_>, table: &str) -> Result<There, tokio_postgres::Error> {
    const SQL: &str = "SELECT \
        ARRAY(SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1)), \
        ARRAY(SELECT pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index i \
              WHERE indrelid = pg_catalog.to_regclass($1) \
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid))";
    let row = transaction.query_one(SQL, &[&table]).await?;
    Ok(There { names: row.get(0), indexes: row.get(1) })
}

async fn taken(transaction: &Transaction<'_>, schema: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT ARRAY(SELECT c.relname::text FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)";
    transaction.query_one(SQL, &[&schema]).await.map(|row| row.get(0))
}

fn key_definition(kind: &str, key: &Key, names: &Names) -> Option<String> {
    let mut text = kind.to_owned();
    if key.nulls_not_distinct {
        text.push_str(" NULLS NOT DISTINCT");
    }
    text = format!("{text} ({})", names.list(&key.columns)?);
    if !key.included.is_empty() {
        text = format!("{text} INCLUDE ({})", names.list(&key.included)?);
    }
    text.push_str(deferral(key.deferrable, key.deferred));
    Some(text)
}

fn deferral(deferrable: bool, deferred: bool) -> &'static str {
    match (deferrable, deferred) {
        (false, _) => "",
        (true, false) => " DEFERRABLE",
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
    }
}

fn defaults(table: &TablePlan, native: &TableNative, names: &Names) -> Vec<String> {
    let mut statements = Vec::new();
    for column in &table.source.columns {
        let (Some(target), Ok(own)) = (names.one(&column.name), ColumnNative::of(column)) else { continue };
        let Some(default) = own.default else { continue };
        let name = quote_table(&table.target);
        let target = quote_identifier(target);
        let sequence = native.sequences.iter().find(|sequence| !sequence.identity && sequence.column == column.name);
        let default = match sequence.filter(|_| default.starts_with("nextval(")) {
            Some(sequence) => {
                let own = quote_table(&sequence_name(table, sequence));
                statements.push(format!(
                    "CREATE SEQUENCE IF NOT EXISTS {own} AS {} {}",
                    sequence.data_type,
                    sequence_options(sequence)
                ));
                if sequence.owned {
                    statements.push(format!("ALTER SEQUENCE {own} OWNED BY {name}.{target}"));
                }
                format!("nextval({}::regclass)", postgres_protocol::escape::escape_literal(&own))
            }
            None => default,
        };
        statements.push(format!("ALTER TABLE {name} ALTER COLUMN {target} SET DEFAULT {default}"));
    }
    statements
}

/// A sequence goes where its table goes, unless it lived in another schema than the table.
pub(crate) fn sequence_name(table: &TablePlan, sequence: &Sequence) -> TableName {
    let beside = sequence.name.schema == table.source.name.schema;
    let schema = if beside { &table.target.schema } else { &sequence.name.schema };
    TableName::new(schema.clone(), sequence.name.name.clone())
}

fn comments(table: &TablePlan, native: &TableNative, name: &str) -> Vec<String> {
    let literal = postgres_protocol::escape::escape_literal;
    let mut statements: Vec<String> =
        native.comment.iter().map(|text| format!("COMMENT ON TABLE {name} IS {}", literal(text))).collect();
    for column in &table.columns {
        let own = ColumnNative::of(&table.source.columns[column.source]).ok().and_then(|own| own.comment);
        statements.extend(own.map(|text| {
            format!("COMMENT ON COLUMN {name}.{} IS {}", quote_identifier(&column.target_name), literal(&text))
        }));
    }
    statements
}

/// One foreign key to make: on which table, its name and definition.
struct Wanted {
    table: Option<TableId>,
    on: TableName,
    name: String,
    definition: String,
    validated: bool,
}

/// Makes the foreign keys between loaded tables, and those that were dropped for the load. What can't be made is
/// returned.
pub(crate) async fn foreign_keys(
    client: &mut Client,
    grant: &Grant,
    plan: &[TablePlan],
) -> Result<Vec<(TableId, Problem)>, Problem> {
    let mut wanted = planned(client, grant, plan).await?;
    wanted.extend(dropped(client, grant.task, plan).await?);
    let mut left = Vec::new();
    for key in wanted {
        let doing = format!("make foreign key {} on {}", key.name, key.on);
        match add(client, grant, &key).await {
            Ok(()) => {}
            Err(error) => {
                let problem = problem(&error, &doing);
                if problem.fault != wavemark_domain::Fault::Data {
                    return Err(problem);
                }
                let Some(table) = key.table else {
                    tracing::warn!(%problem, "a foreign key that was dropped for the load can't be made again");
                    continue;
                };
                let name = plan.iter().find(|one| one.id == table).map(TablePlan::name);
                left.push((
                    table,
                    match name {
                        Some(name) => problem.table(name),
                        None => problem,
                    },
                ));
            }
        }
    }
    Ok(left)
}

async fn planned(client: &Client, grant: &Grant, plan: &[TablePlan]) -> Result<Vec<Wanted>, Problem> {
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
            let definition = tables.get(&parent).and_then(|parent| definition(&key, table, parent));
            wanted.extend(definition.map(|definition| Wanted {
                table: Some(table.id),
                on: table.target.clone(),
                name: key.name.clone(),
                definition,
                validated: key.validated,
            }));
        }
    }
    Ok(wanted)
}

fn definition(key: &ForeignKey, child: &TablePlan, parent: &TablePlan) -> Option<String> {
    let action = |letter: &str| match letter {
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
        deferral(key.deferrable, key.deferred),
    ))
}

async fn dropped(client: &Client, task: Uuid, plan: &[TablePlan]) -> Result<Vec<Wanted>, Problem> {
    const SQL: &str = "SELECT on_schema, on_table, name, definition FROM wavemark.foreign_keys WHERE task = $1";
    let rows = client
        .query(SQL, &[&task])
        .await
        .map_err(|error| problem(&error, "read the foreign keys that were dropped for the load"))?;
    Ok(rows
        .iter()
        .map(|row| {
            let on = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            Wanted {
                table: plan.iter().find(|table| table.target == on).map(|table| table.id),
                on,
                name: row.get(2),
                definition: row.get(3),
                validated: true,
            }
        })
        .collect())
}

/// Adds a key without looking at the rows, which takes its locks for a moment only, then validates it.
async fn add(client: &mut Client, grant: &Grant, key: &Wanted) -> Result<(), tokio_postgres::Error> {
    const THERE: &str = "SELECT convalidated FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conname = $2 \
        AND conrelid = pg_catalog.to_regclass($1)";
    let (table, name) = (quote_table(&key.on), quote_identifier(&key.name));
    let there: Option<bool> = client.query_opt(THERE, &[&table, &key.name]).await?.map(|row| row.get(0));
    let transaction = client.transaction().await?;
    transaction.batch_execute(&grant.share()).await?;
    if there.is_none() {
        let definition = key.definition.trim_end_matches(" NOT VALID");
        transaction.batch_execute(&format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")).await?;
    }
    transaction
        .execute(
            "DELETE FROM wavemark.foreign_keys WHERE task = $1 AND on_schema = $2 AND on_table = $3 AND name = $4",
            &[&grant.task, &key.on.schema, &key.on.table, &key.name],
        )
        .await?;
    transaction.commit().await?;
    if there == Some(true) || !key.validated {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(&grant.share()).await?;
    transaction.batch_execute(&format!("ALTER TABLE {table} VALIDATE CONSTRAINT {name}")).await?;
    transaction.commit().await
}
