//! Tables with all that they have from `information_schema`, in a fixed number of queries but for `declared_actions`
//! and `exact`.

mod declared;
mod exact;
mod expression;
mod own;

use std::collections::BTreeMap;

use serde_json::json;
use wavemark_connector::source::Wanted;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Column, Problem, Table, TableName};

use crate::defaults::{self, Dialect};
use crate::error;
use crate::indexes::{self, Actions, PRIMARY, Part, Pointer};
use crate::native::{ColumnNative, TableNative, labels};
use crate::own::Own;
use crate::sql::literal;
use crate::unsaid::{Told, Unsaid};
use crate::version;
use crate::wire::{Connection, Row};

/// The system's own, and where a target of this system keeps its bookmarks.
const NOT_OURS: &str = "('information_schema', 'mysql', 'performance_schema', 'sys', 'wavemark')";

/// Every table that is wanted.
pub(crate) async fn tables(connection: &mut Connection, wanted: Wanted<'_>) -> Result<Vec<Table>, Problem> {
    let mut tables = named(connection, &format!("table_schema NOT IN {NOT_OURS}")).await?;
    tables.retain(|name, _| wanted(name));
    let schemas = schemas(&tables);
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let there = format!("table_schema IN ({schemas})");
    columns(connection, &there, &mut tables).await?;
    keys_and_indexes(connection, &there, &mut tables).await?;
    foreign_keys(connection, &schemas, &mut tables).await?;
    own::checks(connection, &format!("t.constraint_schema IN ({schemas})"), &mut tables).await?;
    Ok(tables.into_values().collect())
}

/// One table without its foreign keys, if it is there. What else its schema has is not looked at.
pub(crate) async fn table_named(connection: &mut Connection, name: &TableName) -> Result<Option<Table>, Problem> {
    let there = format!("table_schema = {} AND table_name = {}", literal(&name.schema), literal(&name.table));
    let mut tables = named(connection, &there).await?;
    // The server may take names that differ in case for one.
    tables.retain(|one, _| one == name);
    if !tables.is_empty() {
        columns(connection, &there, &mut tables).await?;
        keys_and_indexes(connection, &there, &mut tables).await?;
    }
    Ok(tables.remove(name))
}

/// What one table has that only this system has; nothing if it is not there.
pub(crate) async fn own_of(connection: &mut Connection, name: &TableName) -> Result<Vec<Own>, Problem> {
    let Some(table) = table_named(connection, name).await? else { return Ok(Vec::new()) };
    let there = format!("t.constraint_schema = {} AND t.table_name = {}", literal(&name.schema), literal(&name.table));
    let mut tables = BTreeMap::from([(name.clone(), table)]);
    own::checks(connection, &there, &mut tables).await?;
    Ok(tables.values().flat_map(|table| TableNative::of(table).own).collect())
}

/// The tables of which a condition holds, with nothing in them yet.
async fn named(connection: &mut Connection, there: &str) -> Result<BTreeMap<TableName, Table>, Problem> {
    let sql = format!(
        "SELECT table_schema, table_name, table_type, table_rows, data_length, table_comment, table_collation, engine \
         FROM information_schema.tables WHERE {there} \
         AND table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') ORDER BY table_schema, table_name"
    );
    let rows = query(connection, &sql).await?;
    let dialect = Dialect::of(&connection.version);
    Ok(rows.iter().map(|row| table(row, dialect)).map(|table| (table.name.clone(), table)).collect())
}

async fn columns(
    connection: &mut Connection,
    there: &str,
    tables: &mut BTreeMap<TableName, Table>,
) -> Result<(), Problem> {
    let dialect = Dialect::of(&connection.version);
    for row in rows_of_columns(connection, there).await? {
        if let Some(table) = tables.get_mut(&name(&row)) {
            let column = column(&row, dialect);
            own::note(table, own::of_column(dialect, &column, &row));
            table.columns.push(column);
        }
    }
    exact::defaults(connection, tables).await
}

async fn rows_of_columns(connection: &mut Connection, there: &str) -> Result<Vec<Row>, Problem> {
    let sql = format!(
        "SELECT table_schema, table_name, column_name, column_type, is_nullable, extra, data_type, \
         character_maximum_length, numeric_precision, numeric_scale, datetime_precision, character_set_name, \
         collation_name, column_default, column_comment, generation_expression FROM information_schema.columns \
         WHERE {there} ORDER BY table_schema, table_name, ordinal_position"
    );
    query(connection, &sql).await
}

/// The columns of the tables of some schemas in their order, without what has to be asked of each table.
pub(crate) async fn columns_in(
    connection: &mut Connection,
    schemas: &str,
) -> Result<BTreeMap<TableName, Vec<Column>>, Problem> {
    let dialect = Dialect::of(&connection.version);
    let mut tables: BTreeMap<TableName, Vec<Column>> = BTreeMap::new();
    for row in rows_of_columns(connection, &format!("table_schema IN ({schemas})")).await? {
        tables.entry(name(&row)).or_default().push(column(&row, dialect));
    }
    Ok(tables)
}

async fn keys_and_indexes(
    connection: &mut Connection,
    there: &str,
    tables: &mut BTreeMap<TableName, Table>,
) -> Result<(), Problem> {
    let dialect = Dialect::of(&connection.version);
    // MariaDB has no indexes over expressions, MySQL has them from 8.0.13 on; before, there is no column for them.
    let has_expressions = dialect == Dialect::Mysql && version::of(&connection.version) >= (8, 0, 13);
    let expression = if has_expressions { "expression" } else { "NULL" };
    let sql = format!(
        "SELECT table_schema, table_name, index_name, column_name, non_unique, sub_part, collation, index_type, \
         {expression} FROM information_schema.statistics WHERE {there} \
         ORDER BY table_schema, table_name, index_name, seq_in_index"
    );
    for (name, rows) in by_table(query(connection, &sql).await?) {
        let Some(table) = tables.get_mut(&name) else { continue };
        let mut parts: Vec<Part> = rows.iter().map(|row| part(dialect, row)).collect();
        if parts.iter().any(|part| part.kind == "FULLTEXT") {
            let declaration = declared::of(connection, &name).await;
            for part in &mut parts {
                part.parser = declared::parser(&declaration, &part.index);
            }
        }
        let key: Vec<&Part> = parts.iter().filter(|part| part.index == PRIMARY).collect();
        table.key = key.iter().filter_map(|part| part.column.clone()).collect();
        let is_whole = key.iter().all(|part| part.beginning.is_none());
        let key_beginnings = if is_whole { Vec::new() } else { key.iter().map(|part| part.beginning).collect() };
        let found = indexes::indexes(table, &parts);
        let hashes = if dialect == Dialect::Mariadb { indexes::hashed(&parts) } else { 0 };
        own::note(table, indexes::own(table, &parts));
        table.native = json!(TableNative { indexes: found, key_beginnings, hashes, ..TableNative::of(table) });
    }
    Ok(())
}

async fn foreign_keys(
    connection: &mut Connection,
    schemas: &str,
    tables: &mut BTreeMap<TableName, Table>,
) -> Result<(), Problem> {
    let actions = format!(
        "SELECT constraint_schema, table_name, constraint_name, update_rule, delete_rule \
         FROM information_schema.referential_constraints WHERE constraint_schema IN ({schemas})"
    );
    let logs_actions = logs_actions(connection).await;
    let rule = |row: &Row, at| indexes::action(&row.text(at).unwrap_or_default());
    let action = |row: &Row| ((name(row), row.text(2).unwrap_or_default()), (rule(row, 3), rule(row, 4)));
    let mut actions: Actions = query(connection, &actions).await?.iter().map(action).collect();
    let pointers = format!(
        "SELECT table_schema, table_name, constraint_name, column_name, referenced_table_schema, \
         referenced_table_name, referenced_column_name FROM information_schema.key_column_usage \
         WHERE table_schema IN ({schemas}) AND referenced_table_name IS NOT NULL \
         ORDER BY table_schema, table_name, constraint_name, ordinal_position"
    );
    for (name, rows) in by_table(query(connection, &pointers).await?) {
        let Some(table) = tables.get(&name) else { continue };
        let pointers: Vec<Pointer> = rows.iter().map(pointer).collect();
        let is_known = |pointer: &Pointer| actions.contains_key(&(table.name.clone(), pointer.key.clone()));
        if !pointers.iter().all(is_known) {
            actions.extend(declared_actions(connection, &table.name).await);
        }
        let found = indexes::foreign_keys(table, &pointers, &actions, tables);
        let unknown = indexes::unknown_keys(table, &pointers, &actions);
        let silent_keys = if logs_actions { Vec::new() } else { indexes::acting(table, &pointers, &actions) };
        let native = json!(TableNative { foreign_keys: found, silent_keys, ..TableNative::of(table) });
        tables.entry(name).and_modify(|table| {
            table.native = native;
            own::note(table, unknown);
        });
    }
    Ok(())
}

/// Whether what foreign keys do to rows is in the log: MySQL 9 has its storage engine leave it to the server above.
pub(crate) async fn logs_actions(connection: &mut Connection) -> bool {
    let answer = connection.query("SELECT @@innodb_native_foreign_keys").await;
    answer.is_ok_and(|rows| rows.first().and_then(|row| row.text(0)).as_deref() == Some("0"))
}

/// From the table's declaration: MariaDB has nothing in `referential_constraints` for who may do no more than read.
async fn declared_actions(connection: &mut Connection, table: &TableName) -> Actions {
    let declaration = declared::of(connection, table).await;
    indexes::declared(&declaration).map(|(key, actions)| ((table.clone(), key), actions)).collect()
}

async fn query(connection: &mut Connection, sql: &str) -> Result<Vec<Row>, Problem> {
    connection.query(sql).await.map_err(|cause| error::problem(&cause, "read the catalog"))
}

/// The rows of each table in their order. The server may sort names that differ in case alone as if they were one.
fn by_table(rows: Vec<Row>) -> BTreeMap<TableName, Vec<Row>> {
    let mut tables: BTreeMap<TableName, Vec<Row>> = BTreeMap::new();
    for row in rows {
        tables.entry(name(&row)).or_default().push(row);
    }
    tables
}

/// The schemas of these tables as literals.
fn schemas(tables: &BTreeMap<TableName, Table>) -> String {
    let mut names: Vec<String> = tables.keys().map(|name| literal(&name.schema)).collect();
    names.dedup();
    names.join(", ")
}

fn name(row: &Row) -> TableName {
    TableName::new(row.text(0).unwrap_or_default(), row.text(1).unwrap_or_default())
}

fn table(row: &Row, dialect: Dialect) -> Table {
    let kind = if row.text(2).as_deref() == Some("VIEW") { TableKind::View } else { TableKind::Table };
    // Of a view it says that it is one.
    let comment = row.text(5).filter(|text| !text.is_empty() && kind != TableKind::View);
    Table {
        name: name(row),
        kind,
        columns: Vec::new(),
        key: Vec::new(),
        rows_estimated: row.number(3),
        bytes_estimated: row.number(4),
        native: json!(TableNative {
            comment,
            collation: row.text(6),
            engine: row.text(7),
            dialect: Some(dialect),
            ..TableNative::default()
        }),
    }
}

fn part(dialect: Dialect, row: &Row) -> Part {
    Part {
        index: row.text(2).unwrap_or_default(),
        column: row.text(3),
        unique: row.text(4).as_deref() == Some("0"),
        beginning: row.number(5),
        descending: row.text(6).as_deref() == Some("D"),
        kind: row.text(7).unwrap_or_default(),
        expression: row.text(8).and_then(|text| expression::of(dialect, &text)),
        parser: None,
    }
}

fn pointer(row: &Row) -> Pointer {
    Pointer {
        key: row.text(2).unwrap_or_default(),
        column: row.text(3).unwrap_or_default(),
        target: TableName::new(row.text(4).unwrap_or_default(), row.text(5).unwrap_or_default()),
        target_column: row.text(6).unwrap_or_default(),
    }
}

fn column(row: &Row, dialect: Dialect) -> Column {
    let declared = row.text(3).unwrap_or_default();
    let extra = row.text(5).unwrap_or_default().to_uppercase();
    let data_type = row.text(6).unwrap_or_default().to_lowercase();
    let not_null = row.text(4).as_deref() == Some("NO");
    // DEFAULT_GENERATED is a default that is an expression.
    let generated = ["VIRTUAL GENERATED", "STORED GENERATED", "PERSISTENT"].iter().any(|word| extra.contains(word));
    let mut native = ColumnNative {
        data_type: data_type.clone(),
        unsigned: declared.contains(" unsigned") || declared.contains(" zerofill"),
        length: row.number(7),
        precision: row.number(8),
        scale: row.number(9),
        digits: row.number(10).unwrap_or_default(),
        labels: if declared.starts_with("enum(") || declared.starts_with("set(") {
            labels(&declared)
        } else {
            Vec::new()
        },
        charset: row.text(11),
        collation: row.text(12),
        auto_increment: extra.contains("AUTO_INCREMENT"),
        comment: row.text(14).filter(|text| !text.is_empty()),
        invisible: extra.split(' ').any(|word| word == "INVISIBLE"),
        default: defaults::of(dialect, row.text(13).as_deref(), &data_type, &extra),
        ..ColumnNative::default()
    };
    // MariaDB says NULL in so many letters.
    let is_null = row.text(13).is_none_or(|text| dialect == Dialect::Mariadb && text.eq_ignore_ascii_case("NULL"))
        && !extra.contains("DEFAULT_GENERATED");
    native.unsaid = if generated { None } else { Unsaid::told(&native, Told { is_null, not_null }) };
    Column { name: row.text(2).unwrap_or_default(), declared, not_null, generated, native: json!(native) }
}
