//! A planned table as it is at the target: names, types and keys, ready to be put into statements.

use tokio_postgres::GenericClient;
use wavemark_connector::unfit::Fitting;
use wavemark_domain::catalog::TableName;
use wavemark_domain::{ColumnPlan, Fault, Problem, TablePlan};

use super::canonical::Canonical;
use super::fault::problem;
use super::types::{Shape, Types};
use super::unfit::{self, Altered};
use super::wider;
use crate::encoding::BINARY;
use crate::error;
use crate::wire::quote_identifier;

/// A table's name, quoted.
pub(crate) fn quote_table(name: &TableName) -> String {
    format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.table))
}

/// A table by its quoted name, as a statement has it that means the table's own rows: not those of tables that inherit from
/// it, which are tables of their own. All rows of a partitioned one are in its partitions.
pub(crate) fn alone(name: &str, partitioned: bool) -> String {
    if partitioned { name.to_owned() } else { format!("ONLY {name}") }
}

/// How many columns a table of the server can have.
const MOST_COLUMNS: usize = 1_600;

/// A target table that fits its plan.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the table")]
pub(crate) struct TargetTable {
    /// Quoted.
    pub(crate) name: String,
    /// Partitioned: a ctid alone is no row then.
    pub(crate) partitioned: bool,
    /// In the order of the plan's columns.
    pub(crate) columns: Vec<TargetColumn>,
    /// Those whose values may be altered.
    pub(crate) fitting: Fitting<Altered>,
    /// Whether it has columns that the plan doesn't give: an update must leave their values, so it can't be a delete
    /// and an insert.
    pub(crate) has_more: bool,
    /// Indexes into `columns`.
    pub(crate) key: Vec<usize>,
    /// Sets of columns (indexes into `columns`) that the target keeps unique, the key among them.
    pub(crate) uniques: Vec<Vec<usize>>,
    /// Whether foreign keys point at it (then TRUNCATE is refused by the server).
    pub(crate) referenced: bool,
    /// Whether foreign keys go from it or point at it.
    pub(crate) related: bool,
    /// Whether triggers or rules that are on in this session may leave an insert out.
    pub(crate) swallows: bool,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct TargetColumn {
    /// Quoted.
    pub(crate) name: String,
    /// Its type in SQL, no modifier.
    pub(crate) type_text: String,
    /// Whether it is `GENERATED ALWAYS AS IDENTITY`: an UPDATE may not set it (and none at the source can have).
    pub(crate) always: bool,
    /// The type in which values come, in SQL, domains taken off, no modifier: what staging columns and array parameters
    /// have.
    pub(crate) base_text: String,
    /// That type.
    pub(crate) base: u32,
    /// Whether the column's own type is wider than that, so that the server casts.
    pub(crate) casts: bool,
    /// Whether `unnest` of an array of it gives it back as one column: not so for arrays, which it takes apart whole,
    /// and for composites, whose attributes become columns.
    pub(crate) unnests: bool,
    /// What must be done to its values.
    pub(crate) rewrite: Option<Rewrite>,
    /// The operator that says whether two values are equal.
    pub(crate) equals: String,
}

/// What is done to a value before it is sent.
#[derive(Clone, Debug)]
pub(crate) enum Rewrite {
    /// Our own form, with the other database's oids.
    Oids(Shape),
    /// The form that values have between two systems.
    Canonical(Canonical),
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the column")]
struct Found {
    name: String,
    oid: u32,
    declared: String,
    generated: bool,
    not_null: bool,
    /// Whether a row that gives it no value is accepted.
    fills_itself: bool,
    always: bool,
}

/// What stands under a target table's name.
pub(crate) struct Relation {
    oid: u32,
    kind: char,
    /// Whether policies decide which rows the role may see and write.
    has_policies: bool,
    columns: Vec<Found>,
}

const DOING: &str = "look at the target table";

/// Looks up a table by its exact name.
pub(crate) async fn look(
    client: &impl GenericClient,
    name: &TableName,
) -> Result<Option<Relation>, tokio_postgres::Error> {
    const RELATION: &str = "SELECT c.oid, c.relkind::text, \
        c.relrowsecurity AND pg_catalog.row_security_active(c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    const COLUMNS: &str = "SELECT a.attname::text, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), \
        a.attgenerated::text <> '', NOT a.attnotnull OR a.atthasdef OR a.attidentity::text <> '', \
        a.attidentity = 'a', a.attnotnull \
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let Some(row) = client.query_opt(RELATION, &[&name.schema, &name.table]).await? else { return Ok(None) };
    let oid: u32 = row.get(0);
    let columns = client.query(COLUMNS, &[&oid]).await?.iter().map(found).collect();
    let kind = row.get::<_, String>(1).chars().next().unwrap_or('?');
    Ok(Some(Relation { oid, kind, has_policies: row.get(2), columns }))
}

fn found(row: &tokio_postgres::Row) -> Found {
    Found {
        name: row.get(0),
        oid: row.get(1),
        declared: row.get(2),
        generated: row.get(3),
        fills_itself: row.get(4),
        always: row.get(5),
        not_null: row.get(6),
    }
}

impl Relation {
    /// Why rows of the plan can't go into this table, if they can't.
    pub(crate) fn misfit(&self, plan: &TablePlan) -> Option<Problem> {
        let refused = |text: String| {
            let text = format!("The target table {} {text}.", plan.target);
            Some(Problem::new(Fault::Data, "table-does-not-fit", text).table(plan.name()).advice(
                "Alter the target table (types that hold each value of the source's exactly are taken), or let \
                         the task drop and create it.",
            ))
        };
        if !matches!(self.kind, 'r' | 'p') {
            return refused("is not a table".to_owned());
        }
        let misfits: Vec<String> = plan
            .columns
            .iter()
            .filter_map(|column| {
                let declared = plan.in_target().columns[column.source].declared.as_str();
                match self.columns.iter().find(|found| found.name == column.target_name) {
                    None => Some(format!("{} is missing", column.target_name)),
                    Some(found) if found.generated => Some(format!("{} is generated", column.target_name)),
                    Some(found) if wider::fit(plan, column, &found.declared).is_none() => {
                        Some(format!("{} is {} instead of {declared}", column.target_name, found.declared))
                    }
                    Some(_) => None,
                }
            })
            .chain(self.columns.iter().filter_map(|found| {
                let planned = plan.columns.iter().any(|column| column.target_name == found.name);
                (!planned && !found.fills_itself).then(|| format!("{} must not be NULL but gets no value", found.name))
            }))
            .collect();
        if misfits.is_empty() { None } else { refused(format!("does not fit: {}", misfits.join("; "))) }
    }

    /// That rows could be hidden from the role, if they could: an update of such a row would find none.
    pub(crate) fn hides_rows(&self, plan: &TablePlan) -> Option<Problem> {
        let text = format!(
            "Row-level security of the target table {} applies to the endpoint's role: rows would be hidden from it.",
            plan.target
        );
        self.has_policies.then(|| error::rows_hidden(text).table(plan.name()))
    }

    /// Columns whose type is not the source's but holds all of its values, in words.
    pub(crate) fn wider(&self, plan: &TablePlan) -> Vec<String> {
        let differs = |column: &ColumnPlan| {
            let declared = plan.in_target().columns[column.source].declared.as_str();
            let found = self.declared(&column.target_name).filter(|found| *found != declared)?;
            Some(format!("{} is {found} instead of {declared}", column.target_name))
        };
        plan.columns.iter().filter_map(differs).collect()
    }

    /// The type of a column as the server writes it.
    pub(crate) fn declared(&self, column: &str) -> Option<&str> {
        self.columns.iter().find(|found| found.name == column).map(|found| found.declared.as_str())
    }

    /// Whether it has this column.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|found| found.name == column)
    }

    /// Whether a row must give this column a value.
    pub(crate) fn wants_value(&self, column: &str) -> bool {
        self.columns.iter().any(|found| found.name == column && !found.fills_itself)
    }

    /// Whether it is partitioned.
    pub(crate) fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }

    /// The name of the plan's table where rows are looked for, see [`alone`].
    pub(crate) fn alone(&self, plan: &TablePlan) -> String {
        alone(&quote_table(&plan.target), self.is_partitioned())
    }
}

/// Reads a table that must be there and fit.
pub(crate) async fn read(client: &impl GenericClient, version: i32, plan: &TablePlan) -> Result<TargetTable, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, &format!("{DOING} {}", plan.target)).table(plan.name());
    let relation = look(client, &plan.target).await.map_err(failed)?.ok_or_else(|| {
        let text = format!("The target table {} is not there.", plan.target);
        Problem::new(Fault::Data, "table-missing", text).table(plan.name())
    })?;
    if let Some(problem) = relation.misfit(plan).or_else(|| relation.hides_rows(plan)) {
        return Err(problem);
    }
    let oids: Vec<u32> = relation.columns.iter().map(|column| column.oid).collect();
    let types = Types::read(client, version, oids.into_iter().chain(wider::oids())).await.map_err(failed)?;
    let (referenced, related) = foreign_keys(client, relation.oid).await.map_err(failed)?;
    let columns: Vec<TargetColumn> =
        plan.columns.iter().filter_map(|column| self::column(&relation, &types, plan, column)).collect();
    Ok(TargetTable {
        fitting: fitting(client, &relation, plan, &columns).await.map_err(failed)?,
        name: quote_table(&plan.target),
        partitioned: relation.is_partitioned(),
        columns,
        has_more: relation
            .columns
            .iter()
            .any(|found| !found.generated && !plan.columns.iter().any(|column| column.target_name == found.name)),
        key: plan.key.clone(),
        uniques: uniques(client, relation.oid, plan).await.map_err(failed)?,
        referenced,
        related,
        swallows: swallows(client, relation.oid).await.map_err(failed)?,
    })
}

fn column(relation: &Relation, types: &Types, plan: &TablePlan, planned: &ColumnPlan) -> Option<TargetColumn> {
    let name = &planned.target_name;
    let found = relation.columns.iter().find(|found| found.name == *name)?;
    let own = types.base(found.oid);
    let cast = wider::fit(plan, planned, &found.declared)?.cast;
    let base = cast.unwrap_or(own);
    let info = types.get(own)?;
    let equals = match &info.equals_schema {
        Some(schema) => format!("OPERATOR({}.=)", quote_identifier(schema)),
        None => "OPERATOR(pg_catalog.=)".to_owned(),
    };
    Some(TargetColumn {
        name: quote_identifier(name),
        type_text: types.get(found.oid)?.text.clone(),
        always: found.always,
        base_text: types.get(base)?.text.clone(),
        base,
        casts: cast.is_some(),
        unnests: info.array != 0 && info.element == 0 && info.kind != 'c',
        rewrite: if planned.encoding == BINARY {
            types.rewrite(found.oid).map(Rewrite::Oids)
        } else {
            Canonical::of(planned, &found.declared).map(Rewrite::Canonical)
        },
        equals,
    })
}

async fn fitting(
    client: &impl GenericClient,
    relation: &Relation,
    plan: &TablePlan,
    columns: &[TargetColumn],
) -> Result<Fitting<Altered>, tokio_postgres::Error> {
    let alters = plan.columns.iter().any(|column| column.unfit.alters());
    let kept_apart = if alters { unfit::kept_apart(client, relation.oid).await? } else { Vec::new() };
    let found = plan.columns.iter().zip(columns).enumerate().map(|(at, (planned, column))| {
        let found = relation.columns.iter().find(|found| found.name == planned.target_name);
        unfit::Found { at, planned, column, not_null: found.is_some_and(|found| found.not_null) }
    });
    Ok(unfit::fitting(plan, &kept_apart, found))
}

async fn foreign_keys(client: &impl GenericClient, oid: u32) -> Result<(bool, bool), tokio_postgres::Error> {
    const SQL: &str = "SELECT coalesce(bool_or(confrelid = $1), false), count(*) > 0 \
        FROM pg_catalog.pg_constraint WHERE contype = 'f' AND (conrelid = $1 OR confrelid = $1)";
    client.query_one(SQL, &[&oid]).await.map(|row| (row.get(0), row.get(1)))
}

/// Of a partitioned table those of its partitions count, too.
async fn swallows(client: &impl GenericClient, oid: u32) -> Result<bool, tokio_postgres::Error> {
    const SQL: &str = "WITH t AS (SELECT $1::oid AS oid UNION SELECT relid FROM pg_catalog.pg_partition_tree($1::oid)), \
        on_as AS (SELECT CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END AS it) \
        SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN t ON t.oid = g.tgrelid, on_as \
                       WHERE g.tgenabled::text IN ('A', on_as.it) AND g.tgtype & 7 = 7 AND NOT g.tgisinternal) \
            OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN t ON t.oid = r.ev_class, on_as \
                       WHERE r.ev_enabled::text IN ('A', on_as.it) AND r.ev_type::text = '3')";
    client.query_one(SQL, &[&oid]).await.map(|row| row.get(0))
}

/// Sets of plain columns under a unique index that the plan writes. One over an expression is not among them; a
/// collision on it makes the wave fall back to the source's order. Nor is a deferrable one: what checks it at the end of
/// a statement or transaction is a trigger, and those are off where the role may switch them off.
async fn uniques(
    client: &impl GenericClient,
    oid: u32,
    plan: &TablePlan,
) -> Result<Vec<Vec<usize>>, tokio_postgres::Error> {
    const SQL: &str = "SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) k \
          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] ORDER BY k) \
        FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indexprs IS NULL \
        AND i.indpred IS NULL ORDER BY i.indisprimary DESC, i.indexrelid";
    let place = |name: &String| plan.columns.iter().position(|column| column.target_name == *name);
    let rows = client.query(SQL, &[&oid]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| row.get::<_, Vec<String>>(0).iter().map(place).collect::<Option<Vec<_>>>())
        .collect())
}

impl TargetColumn {
    /// A value that comes, as one of the column's own type.
    pub(crate) fn typed(&self, value: &str) -> String {
        if self.casts {
            return format!("{value}::{}::{}", self.base_text, self.type_text);
        }
        format!("{value}::{}", self.base_text)
    }

    /// A value that comes, where the server makes it one of the column's type by itself unless that is wider.
    pub(crate) fn given(&self, value: &str) -> String {
        if self.casts { self.typed(value) } else { value.to_owned() }
    }

    /// A value that comes, as one of the column's own type and of its domain.
    pub(crate) fn exactly(&self, value: &str) -> String {
        if self.casts { self.typed(value) } else { format!("{value}::{}", self.type_text) }
    }

    /// What its values are made of, if they hold oids that are to be overwritten.
    pub(crate) fn rewrites_oids(&self) -> Option<&Shape> {
        match &self.rewrite {
            Some(Rewrite::Oids(shape)) => Some(shape),
            _ => None,
        }
    }

    /// The name without quotes.
    pub(crate) fn plain_name(&self) -> String {
        let inner = self.name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        inner.map_or_else(|| self.name.clone(), |inner| inner.replace("\"\"", "\""))
    }
}

impl TargetTable {
    /// Its name where rows are looked for, see [`alone`].
    pub(crate) fn alone(&self) -> String {
        alone(&self.name, self.partitioned)
    }

    /// The columns' names, for an INSERT or a COPY.
    pub(crate) fn column_list(&self) -> String {
        self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether the target keeps the key unique, so that a second row with it is refused.
    pub(crate) fn has_unique_key(&self) -> bool {
        let mut key = self.key.clone();
        key.sort_unstable();
        self.uniques.iter().any(|unique| {
            let mut unique = unique.clone();
            unique.sort_unstable();
            unique == key
        })
    }

    /// Whether the server must cast values on their way: a COPY can't.
    pub(crate) fn casts(&self) -> bool {
        self.columns.iter().any(|column| column.casts)
    }

    /// Whether a staging table can have its key and its columns, beside the number of a set.
    pub(crate) fn can_be_staged(&self) -> bool {
        1 + self.key.len() + self.columns.len() <= MOST_COLUMNS
    }

    /// Whether values must be overwritten on their way.
    pub(crate) fn rewrites(&self) -> bool {
        self.columns.iter().any(|column| column.rewrites_oids().is_some())
    }
}
