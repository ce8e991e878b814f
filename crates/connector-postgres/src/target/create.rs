//! Making a table ready to be loaded: schema, types, the table itself; keys and indexes come after the rows.

use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::fault::problem;
use super::foreign_keys::{self, Which};
use super::table::{Relation, quote_table};
use crate::native::{ColumnNative, Identity, Qualified, Sequence, TableNative, TypeDefinition, TypeShape};
use crate::wire::quote_identifier;

/// What stands in the way, and what it means for the table.
pub(crate) struct Before {
    /// What is under the target's name.
    pub(crate) relation: Option<Relation>,
    /// Whether this task made it.
    pub(crate) made: bool,
    /// Whether rows that are there are this task's.
    pub(crate) written: bool,
    /// Columns that this task wrote and writes no more, because the source has dropped them.
    pub(crate) gone: Vec<String>,
}

/// Makes the table, or makes room in it. Returns whether it is one that we made.
pub(crate) async fn prepare(
    transaction: &Transaction<'_>,
    task: Uuid,
    table: &TablePlan,
    preparation: Preparation,
    before: Before,
) -> Result<bool, Problem> {
    let failed = |error: tokio_postgres::Error| refused(&error, table);
    let Some(relation) = before.relation else {
        create(transaction, table).await?;
        return Ok(true);
    };
    let misfit = relation.misfit(table);
    if preparation == Preparation::DropAndCreate || (before.made && misfit.is_some()) {
        foreign_keys::release(transaction, task, table, Which::FromOthers).await.map_err(failed)?;
        transaction.batch_execute(&format!("DROP TABLE {}", quote_table(&table.target))).await.map_err(failed)?;
        create(transaction, table).await?;
        return Ok(true);
    }
    if let Some(misfit) = misfit {
        return Err(misfit);
    }
    if preparation == Preparation::Truncate || before.written {
        foreign_keys::release(transaction, task, table, Which::AndItsOwn).await.map_err(failed)?;
        transaction.batch_execute(&format!("TRUNCATE {}", relation.alone(table))).await.map_err(failed)?;
    } else if !is_empty(transaction, &relation.alone(table)).await.map_err(failed)? {
        let text = format!("The target table {} has rows already.", table.target);
        return Err(Problem::new(Fault::Data, "table-not-empty", text)
            .table(table.name())
            .advice("Empty it, or let the task truncate it or drop and create it."));
    }
    for column in before.gone.iter().filter(|column| before.made && relation.has(column)) {
        let drop = format!("ALTER TABLE {} DROP COLUMN {}", quote_table(&table.target), quote_identifier(column));
        transaction.batch_execute(&drop).await.map_err(failed)?;
    }
    Ok(before.made)
}

fn refused(error: &tokio_postgres::Error, table: &TablePlan) -> Problem {
    let problem = problem(error, &format!("prepare the target table {}", table.target)).table(table.name());
    match error.code().map(tokio_postgres::error::SqlState::code) {
        Some("2BP01") => {
            problem.advice("Drop what depends on the table (views, for example), or let the task truncate it.")
        }
        _ => problem,
    }
}

async fn is_empty(transaction: &Transaction<'_>, table: &str) -> Result<bool, tokio_postgres::Error> {
    let sql = format!("SELECT NOT EXISTS (SELECT FROM {table})");
    transaction.query_one(&sql, &[]).await.map(|row| row.get(0))
}

async fn create(transaction: &Transaction<'_>, table: &TablePlan) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| refused(&error, table);
    let native = native(table)?;
    for definition in &native.types {
        create_type(transaction, table, definition).await?;
    }
    create_schema(transaction, &table.target.schema).await.map_err(failed)?;
    let version = transaction.query_one("SELECT pg_catalog.current_setting('server_version_num')::int4", &[]).await;
    let version: i32 = version.map_err(failed)?.get(0);
    transaction.batch_execute(&create_statement(table, &native, version)?).await.map_err(failed)
}

/// Schemas are made only where missing: a role may own a schema without the right to make one.
pub(crate) async fn create_schema(transaction: &impl GenericClient, name: &str) -> Result<(), tokio_postgres::Error> {
    let there: bool = transaction
        .query_one("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", &[&name])
        .await?
        .get(0);
    if there {
        return Ok(());
    }
    transaction.batch_execute(&format!("CREATE SCHEMA {}", quote_identifier(name))).await
}

/// Reads the native part of a table's description.
pub(crate) fn native(table: &TablePlan) -> Result<TableNative, Problem> {
    TableNative::of(table.in_target()).map_err(|error| unreadable(table, &error))
}

pub(super) fn unreadable(table: &TablePlan, error: &serde_json::Error) -> Problem {
    Problem::internal(format!("The description of table {} can't be read: {error}.", table.name())).table(table.name())
}

/// Whether every travelling column keeps its name, so that expressions over them hold on the target too.
pub(crate) fn keeps_names(table: &TablePlan) -> bool {
    table.columns.iter().all(|column| table.in_target().columns[column.source].name == column.target_name)
}

fn create_statement(table: &TablePlan, native: &TableNative, version: i32) -> Result<String, Problem> {
    let generates = keeps_names(table);
    let mut columns = Vec::new();
    for (at, source) in table.in_target().columns.iter().enumerate() {
        let own = ColumnNative::of(source).map_err(|error| unreadable(table, &error))?;
        let not_null = if source.not_null { " NOT NULL" } else { "" };
        let planned = table.columns.iter().find(|column| column.source == at);
        let (name, kind) = match (planned, &own.generated) {
            (Some(column), _) => {
                let of = |one: &&Sequence| one.identity && one.column == source.name;
                let sequence = native.sequences.iter().find(of);
                (&column.target_name, own.identity.map_or_else(String::new, |kind| identity_clause(kind, sequence)))
            }
            (None, Some(expression)) if source.generated && generates => {
                // What an older server can't make when it is read it stores.
                let kind = if own.is_virtual && version >= 180_000 { "VIRTUAL" } else { "STORED" };
                (&source.name, format!(" GENERATED ALWAYS AS ({expression}) {kind}"))
            }
            _ => continue,
        };
        let collation = collate(own.collation.as_ref());
        columns.push(format!("{} {}{collation}{kind}{not_null}", quote_identifier(name), source.declared));
    }
    Ok(format!("CREATE TABLE {} (\n    {}\n)", quote_table(&table.target), columns.join(",\n    ")))
}

pub(crate) fn collate(collation: Option<&Qualified>) -> String {
    collation.map_or_else(String::new, |name| format!(" COLLATE {}", qualified(name)))
}

pub(crate) fn qualified(name: &Qualified) -> String {
    format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.name))
}

fn identity_clause(identity: Identity, sequence: Option<&Sequence>) -> String {
    let kind = match identity {
        Identity::Always => "ALWAYS",
        Identity::ByDefault => "BY DEFAULT",
    };
    let options = sequence.map_or_else(String::new, |sequence| format!(" ({})", sequence_options(sequence)));
    format!(" GENERATED {kind} AS IDENTITY{options}")
}

/// What CREATE SEQUENCE and an identity column take.
pub(crate) fn sequence_options(sequence: &Sequence) -> String {
    format!(
        "INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {}{}",
        sequence.increment,
        sequence.min,
        sequence.max,
        sequence.start,
        sequence.cache,
        if sequence.cycle { " CYCLE" } else { "" },
    )
}

/// Makes the types of the plan that are not there.
pub(crate) async fn create_missing_types(
    client: &impl GenericClient,
    table: &TablePlan,
    native: &TableNative,
) -> Result<(), Problem> {
    for definition in &native.types {
        if type_there(client, table, definition).await?.is_none() {
            make_type(client, table, definition).await?;
        }
    }
    Ok(())
}

/// Makes a type, unless one of its name is there that can take the values.
async fn create_type(
    transaction: &Transaction<'_>,
    table: &TablePlan,
    definition: &TypeDefinition,
) -> Result<(), Problem> {
    match type_there(transaction, table, definition).await? {
        Some(oid) => fits(transaction, table, definition, oid).await,
        None => make_type(transaction, table, definition).await,
    }
}

fn type_failed(table: &TablePlan, definition: &TypeDefinition, error: &tokio_postgres::Error) -> Problem {
    problem(error, &format!("make type {} in the target", qualified(&definition.name))).table(table.name())
}

async fn type_there(
    client: &impl GenericClient,
    table: &TablePlan,
    definition: &TypeDefinition,
) -> Result<Option<u32>, Problem> {
    let there = client.query_one("SELECT pg_catalog.to_regtype($1)::oid", &[&qualified(&definition.name)]).await;
    there.map(|row| row.get(0)).map_err(|error| type_failed(table, definition, &error))
}

async fn make_type(client: &impl GenericClient, table: &TablePlan, definition: &TypeDefinition) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| type_failed(table, definition, &error);
    if let TypeShape::Extension { extension } = &definition.shape {
        let text =
            format!("The target lacks type {}, which extension {extension} brings.", qualified(&definition.name));
        let (extension, schema) = (quote_identifier(extension), quote_identifier(&definition.name.schema));
        let make = format!("CREATE EXTENSION {extension} SCHEMA {schema}");
        let is_there = definition.name.schema == "public";
        let advice = if is_there { make } else { format!("CREATE SCHEMA IF NOT EXISTS {schema}; {make}") };
        return Err(Problem::new(Fault::Data, "extension-missing", text).table(table.name()).advice(advice));
    }
    create_schema(client, &definition.name.schema).await.map_err(failed)?;
    client.batch_execute(&type_statement(definition)).await.map_err(failed)
}

fn type_statement(definition: &TypeDefinition) -> String {
    let name = qualified(&definition.name);
    match &definition.shape {
        TypeShape::Enum { labels } => {
            let labels: Vec<String> =
                labels.iter().map(|label| postgres_protocol::escape::escape_literal(label)).collect();
            format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "))
        }
        TypeShape::Domain { declared, collation, not_null, default, checks } => {
            let mut text = format!("CREATE DOMAIN {name} AS {declared}{}", collate(collation.as_ref()));
            if let Some(default) = default {
                text = format!("{text} DEFAULT {default}");
            }
            if *not_null {
                text.push_str(" NOT NULL");
            }
            for check in checks {
                text = format!("{text} CONSTRAINT {} {}", quote_identifier(&check.name), check.definition);
            }
            text
        }
        TypeShape::Composite { attributes } => {
            let attributes: Vec<String> = attributes
                .iter()
                .map(|one| {
                    format!("{} {}{}", quote_identifier(&one.name), one.declared, collate(one.collation.as_ref()))
                })
                .collect();
            format!("CREATE TYPE {name} AS ({})", attributes.join(", "))
        }
        TypeShape::Range { subtype, collation, multirange } => {
            let mut options = vec![format!("SUBTYPE = {subtype}")];
            options.extend(collation.as_ref().map(|collation| format!("COLLATION = {}", qualified(collation))));
            options.extend(multirange.as_ref().map(|multirange| {
                let schema = quote_identifier(&definition.name.schema);
                format!("MULTIRANGE_TYPE_NAME = {schema}.{}", quote_identifier(multirange))
            }));
            format!("CREATE TYPE {name} AS RANGE ({})", options.join(", "))
        }
        TypeShape::Extension { .. } => String::new(),
    }
}

/// Whether a type of that name can take the values: an enum has the labels, a composite the attributes.
async fn fits(
    transaction: &Transaction<'_>,
    table: &TablePlan,
    definition: &TypeDefinition,
    oid: u32,
) -> Result<(), Problem> {
    const LABELS: &str = "SELECT ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = $1 \
        ORDER BY enumsortorder)";
    const ATTRIBUTES: &str = "SELECT ARRAY(SELECT a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) \
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.typrelid = a.attrelid \
        WHERE t.oid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)";
    const BASE: &str = "SELECT ARRAY(SELECT pg_catalog.format_type(typbasetype, typtypmod) FROM pg_catalog.pg_type \
        WHERE oid = $1 AND typtype = 'd')";
    let name = qualified(&definition.name);
    let (sql, expected) = match &definition.shape {
        TypeShape::Enum { labels } => (LABELS, labels.clone()),
        TypeShape::Composite { attributes } => {
            (ATTRIBUTES, attributes.iter().map(|one| format!("{} {}", one.name, one.declared)).collect())
        }
        TypeShape::Domain { declared, .. } => (BASE, vec![declared.clone()]),
        TypeShape::Range { .. } | TypeShape::Extension { .. } => return Ok(()),
    };
    let found: Vec<String> = transaction
        .query_one(sql, &[&oid])
        .await
        .map_err(|error| problem(&error, &format!("look at type {name} in the target")).table(table.name()))?
        .get(0);
    // A target's enum may know more labels, and in another order: its order is the target's own business.
    let fits = match &definition.shape {
        TypeShape::Enum { labels } => labels.iter().all(|label| found.contains(label)),
        _ => found == expected,
    };
    if fits {
        return Ok(());
    }
    let text =
        format!("Type {name} in the target has ({}) where the source has ({}).", found.join(", "), expected.join(", "));
    Err(Problem::new(Fault::Data, "type-differs", text).table(table.name()).advice("Alter the type at the target."))
}
