//! What a table gets after its rows: defaults, primary key, unique constraints, indexes, checks. Foreign keys
//! come when all tables have theirs: see `foreign_keys`.

use tokio_postgres::{Client, Transaction};
use wavemark_connector::target::Stage;
use wavemark_domain::{Problem, TableName, TablePlan};

use super::create::{native, sequence_options};
use super::fault::problem;
use super::fence::Grant;
use super::marks;
use super::names::Names;
use super::table::quote_table;
use crate::native::{ColumnNative, Key, Sequence, TableNative};
use crate::wire::quote_identifier;

/// Makes what is missing, in one commit.
pub(crate) async fn table(
    client: &mut Client,
    grant: &Grant,
    table: &TablePlan,
    analyzes: bool,
) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| {
        problem(&error, &format!("make keys and indexes of {}", table.target)).table(table.name())
    };
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&grant.share()).await.map_err(failed)?;
    match marks::begun(&transaction, grant.task, table).await.map_err(failed)? {
        Some(begun) if begun.stage != "loaded" => {
            if begun.made {
                for statement in statements(&transaction, table).await? {
                    transaction.batch_execute(&statement).await.map_err(failed)?;
                }
            }
            if analyzes {
                let analyze = format!("ANALYZE {}", quote_table(&table.target));
                transaction.batch_execute(&analyze).await.map_err(failed)?;
            }
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
    match marks::begun(&transaction, grant.task, table).await.map_err(failed)? {
        Some(begun) if begun.stage == "loading" => {
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
    let keys = native.primary_key.iter().chain(&native.uniques).map(|key| key.name.as_str());
    let indexes = native.indexes.iter().map(|index| index.name.as_str());
    let exclusions = native.exclusions.iter().map(|exclusion| exclusion.name.as_str());
    let wanted: Vec<&str> = keys.chain(indexes).chain(exclusions).collect();
    let taken = taken(transaction, &table.target.schema, &wanted).await.map_err(failed)?;
    let there = there(transaction, &name).await.map_err(failed)?;
    // What an earlier load made is still there after a reload; it is kept as it is.
    let alter = |what: &str, definition: &str| {
        let missing = !there.names.iter().any(|name| name == what) && !there.has_constraint(definition);
        // A name that another table's index has is left to the server to choose.
        let is_free = !taken.iter().any(|name| name == what);
        let own = if is_free { format!("CONSTRAINT {} ", quote_identifier(what)) } else { String::new() };
        missing.then(|| format!("ALTER TABLE {name} ADD {own}{definition}"))
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
    /// Its constraints' names and definitions.
    names: Vec<String>,
    constraints: Vec<String>,
    /// Its indexes' definitions.
    indexes: Vec<String>,
}

impl There {
    fn has_index(&self, definition: &str) -> bool {
        let wanted = format!(" {}", plain(definition));
        self.indexes.iter().any(|index| plain(index).ends_with(&wanted))
    }

    fn has_constraint(&self, definition: &str) -> bool {
        self.constraints.iter().any(|constraint| plain(constraint) == plain(definition))
    }
}

/// Names are quoted always by us and only where needed by the server, so quotes say nothing.
fn plain(definition: &str) -> String {
    definition.replace('"', "")
}

async fn there(transaction: &Transaction<'_>, table: &str) -> Result<There, tokio_postgres::Error> {
    const SQL: &str = "SELECT \
        ARRAY(SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1)), \
        ARRAY(SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint \
              WHERE conrelid = pg_catalog.to_regclass($1)), \
        ARRAY(SELECT pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index i \
              WHERE indrelid = pg_catalog.to_regclass($1) \
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid))";
    let row = transaction.query_one(SQL, &[&table]).await?;
    Ok(There { names: row.get(0), constraints: row.get(1), indexes: row.get(2) })
}

/// Those of these names that something in the schema has.
async fn taken(
    transaction: &Transaction<'_>,
    schema: &str,
    names: &[&str],
) -> Result<Vec<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT ARRAY(SELECT c.relname::text FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY ($2))";
    if names.is_empty() {
        return Ok(Vec::new());
    }
    transaction.query_one(SQL, &[&schema, &names]).await.map(|row| row.get(0))
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

pub(crate) fn deferral(deferrable: bool, deferred: bool) -> &'static str {
    match (deferrable, deferred) {
        (false, _) => "",
        (true, false) => " DEFERRABLE",
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
    }
}

fn defaults(table: &TablePlan, native: &TableNative, names: &Names) -> Vec<String> {
    let mut statements = Vec::new();
    for column in &table.in_target().columns {
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
    let beside = sequence.name.schema == table.in_target().name.schema;
    let schema = if beside { &table.target.schema } else { &sequence.name.schema };
    TableName::new(schema.clone(), sequence.name.name.clone())
}

fn comments(table: &TablePlan, native: &TableNative, name: &str) -> Vec<String> {
    let literal = postgres_protocol::escape::escape_literal;
    let mut statements: Vec<String> =
        native.comment.iter().map(|text| format!("COMMENT ON TABLE {name} IS {}", literal(text))).collect();
    for column in &table.columns {
        let own = ColumnNative::of(&table.in_target().columns[column.source]).ok().and_then(|own| own.comment);
        statements.extend(own.map(|text| {
            format!("COMMENT ON COLUMN {name}.{} IS {}", quote_identifier(&column.target_name), literal(&text))
        }));
    }
    statements
}
