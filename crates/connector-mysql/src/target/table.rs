//! A planned table as it is at the target: names, types and keys, ready to be put into statements.

use wavemark_connector::unfit::Fitting;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::{Batch, Cell, Fault, Problem, Table, TableName, TablePlan};

use super::create::collations;
use super::fault::problem;
use super::unfit::{self, Altered};
use super::values::{Kind, TargetColumn, Unfit};
use crate::defaults::Dialect;
use crate::discover;
use crate::native::TableNative;
use crate::sql::{literal, quoted, quoted_table};
use crate::wire::{Connection, WireError};

/// A target table that fits its plan.
#[derive(Clone, Debug)]
pub(crate) struct TargetTable {
    /// Quoted.
    pub(crate) name: String,
    /// In the order of the plan's columns.
    pub(crate) columns: Vec<TargetColumn>,
    /// Indexes into `columns`.
    pub(crate) key: Vec<usize>,
    /// Those whose values may be altered.
    pub(crate) fitting: Fitting<Altered>,
    /// Whether the target keeps rows apart by the plan's key.
    pub(crate) has_unique_key: bool,
    /// The first of the key's columns that takes texts for the same which the source tells apart.
    pub(crate) lax_key: Option<usize>,
    /// The columns that the server sets at an update that does not.
    pub(crate) set_themselves: Vec<usize>,
    /// Which of the two systems the server is.
    pub(crate) dialect: Dialect,
}

impl TargetTable {
    /// The columns, quoted.
    pub(crate) fn column_list(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Writes a cell as a literal.
    pub(crate) fn literal(&self, batch: &Batch, cell: Cell, at: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
        self.columns[at].write_literal(batch.value(cell), out).map_err(|unfit| self.unfit(at, unfit))
    }

    /// Writes a cell as a field of LOAD DATA.
    pub(crate) fn field(&self, batch: &Batch, cell: Cell, at: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
        self.columns[at].write_field(batch.value(cell), out).map_err(|unfit| self.unfit(at, unfit))
    }

    /// Writes the condition that a column has this very value: equality of texts is too lax for that.
    pub(crate) fn same(&self, batch: &Batch, cell: Cell, at: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
        let column = &self.columns[at];
        let name = quoted(&column.name);
        if batch.value(cell).is_none() {
            out.extend_from_slice(format!("{name} IS NULL").as_bytes());
            return Ok(());
        }
        let (before, between, after) = match column.kind() {
            Kind::Text => (
                format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)"),
                "CAST(CONVERT(",
                " USING utf8mb4) AS BINARY)",
            ),
            // A text there, whose form is kept; MySQL keeps the values alone, and writes them in one form.
            Kind::Json if self.dialect == Dialect::Mysql => {
                (format!("CAST(CAST({name} AS CHAR) AS BINARY)"), "CAST(CAST(CAST(", " AS JSON) AS CHAR) AS BINARY)")
            }
            Kind::Json => (format!("CAST({name} AS BINARY)"), "CAST(", " AS BINARY)"),
            Kind::Other => (name, "", ""),
        };
        out.extend_from_slice(format!("{before} = {between}").as_bytes());
        self.literal(batch, cell, at, out)?;
        out.extend_from_slice(after.as_bytes());
        Ok(())
    }

    fn unfit(&self, at: usize, unfit: Unfit) -> Problem {
        let column = &self.columns[at];
        let text =
            format!("A value of column {} of {} has no place in {}: {unfit}.", column.name, self.name, column.declared);
        Problem::new(Fault::Data, "value-does-not-fit", text)
            .advice("Change the value at the source, or leave the column out with a remove-column rule.")
    }
}

/// What is under a table's name at the target; `None` if nothing is.
pub(crate) async fn look(connection: &mut Connection, name: &TableName) -> Result<Option<Table>, Problem> {
    discover::table_named(connection, name).await
}

/// Reads a table that must be there and fit the plan.
pub(crate) async fn read(connection: &mut Connection, plan: &TablePlan) -> Result<TargetTable, Problem> {
    let there = look(connection, &plan.target).await?.ok_or_else(|| missing(plan))?;
    refuse(connection, plan, &there).await?;
    fitted(connection, plan, &there)
}

fn missing(plan: &TablePlan) -> Problem {
    let text = format!("The target table {} is not there.", plan.target);
    Problem::new(Fault::Data, "table-missing", text).table(plan.name()).advice("Reload the table.")
}

/// Why a table can't be written exactly, whatever its columns are.
async fn refuse(connection: &mut Connection, plan: &TablePlan, there: &Table) -> Result<(), Problem> {
    let refused = |code: &str, text: String, advice: String| {
        Err(Problem::new(Fault::Data, code, text).table(plan.name()).advice(advice))
    };
    if there.kind != TableKind::Table {
        let text = format!("{} at the target is no table.", plan.target);
        return refused("not-a-table", text, "Map the source's table to another name.".to_owned());
    }
    let failed = |cause: WireError| problem(&cause, &format!("look at {}", plan.target)).table(plan.name());
    let (schema, name) = (literal(&plan.target.schema), literal(&plan.target.table));
    let engine =
        format!("SELECT engine FROM information_schema.tables WHERE table_schema = {schema} AND table_name = {name}");
    let rows = connection.query(&engine).await.map_err(failed)?;
    let engine = rows.first().and_then(|row| row.text(0)).unwrap_or_default();
    if !engine.eq_ignore_ascii_case("innodb") {
        let text = format!("The target table {} is kept by {engine}, which has no transactions.", plan.target);
        return refused("no-transactions", text, format!("ALTER TABLE {} ENGINE = InnoDB", quoted_table(&plan.target)));
    }
    let triggers = format!(
        "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = {schema} \
         AND event_object_table = {name} LIMIT 1"
    );
    let rows = connection.query(&triggers).await.map_err(failed)?;
    if let Some(trigger) = rows.first().and_then(|row| row.text(0)) {
        let text = format!(
            "The target table {} has a trigger, {trigger}, that would act on every row that is copied; the server can't \
             switch it off for one session.",
            plan.target
        );
        return refused(
            "target-trigger",
            text,
            format!("DROP TRIGGER {}.{}", quoted(&plan.target.schema), quoted(&trigger)),
        );
    }
    Ok(())
}

fn fitted(connection: &Connection, plan: &TablePlan, there: &Table) -> Result<TargetTable, Problem> {
    let dialect = Dialect::of(&connection.version);
    let mut columns = Vec::with_capacity(plan.columns.len());
    for (at, planned) in plan.columns.iter().enumerate() {
        let found = there.columns.iter().find(|column| column.name.eq_ignore_ascii_case(&planned.target_name));
        let column = found.and_then(|found| TargetColumn::fitting(plan, at, found, dialect));
        columns.push(column.ok_or_else(|| misfit(plan, &planned.target_name, found.map(|one| one.declared.as_str())))?);
    }
    if let Some(more) = there.columns.iter().find(|column| wants_value(plan, column)) {
        let text = format!(
            "The target table {} has a column that the source does not have and that needs a value: {}.",
            plan.target, more.name
        );
        return Err(Problem::new(Fault::Data, "column-without-value", text)
            .table(plan.name())
            .advice("Let it be NULL, or give it a default."));
    }
    let key: Vec<&str> = plan.key.iter().map(|at| plan.columns[*at].target_name.as_str()).collect();
    let native = TableNative::of(there);
    let is_lax = |at: &usize| !columns[*at].tells_apart(&plan.in_target().columns[plan.columns[*at].source]);
    Ok(TargetTable {
        name: quoted_table(&plan.target),
        fitting: unfit::fitting(plan, there, &columns),
        lax_key: plan.key.iter().copied().find(is_lax),
        set_themselves: (0..columns.len()).filter(|at| columns[*at].sets_itself(&native)).collect(),
        columns,
        key: plan.key.clone(),
        has_unique_key: is_unique(there, &key),
        dialect,
    })
}

fn misfit(plan: &TablePlan, column: &str, found: Option<&str>) -> Problem {
    let text = match found {
        None => format!("The target table {} has no column {column}.", plan.target),
        Some(declared) => {
            format!(
                "Column {column} of the target table {} is {declared}, which does not hold its values.",
                plan.target
            )
        }
    };
    Problem::new(Fault::Data, "table-differs", text)
        .table(plan.name())
        .advice("Alter the target's table, or let the task drop and create it.")
}

fn wants_value(plan: &TablePlan, column: &wavemark_domain::Column) -> bool {
    let native = crate::native::ColumnNative::of(column).unwrap_or_default();
    column.not_null
        && !column.generated
        && native.default.is_none()
        && !native.auto_increment
        && !plan.columns.iter().any(|planned| planned.target_name.eq_ignore_ascii_case(&column.name))
}

/// Whether no two rows can have the same values in these columns.
fn is_unique(there: &Table, key: &[&str]) -> bool {
    let same = |columns: &[&str]| {
        columns.len() == key.len()
            && key.iter().all(|one| columns.iter().any(|column| column.eq_ignore_ascii_case(one)))
    };
    let primary: Vec<&str> = there.key.iter().map(String::as_str).collect();
    same(&primary)
        || TableNative::of(there)
            .indexes
            .iter()
            .filter(|index| index.unique)
            .any(|index| same(&index.parts.iter().map(|part| part.column.as_str()).collect::<Vec<_>>()))
}

/// A table that is there already must refuse a second row with the same key, or copies would pass unseen; and no other row.
pub(crate) fn must_have_key(plan: &TablePlan, target: &TargetTable) -> Result<(), Problem> {
    if let Some(lax) = target.lax_key {
        return Err(takes_others_for_it(plan, target, lax));
    }
    if plan.is_keyless() || target.has_unique_key {
        return Ok(());
    }
    let columns: Vec<String> = plan.key.iter().map(|at| quoted(&target.columns[*at].name)).collect();
    let columns = columns.join(", ");
    let text = format!("The target table {} has no unique index on ({columns}).", plan.target);
    Err(Problem::new(Fault::Data, "table-without-key", text)
        .table(plan.name())
        .advice(format!("ALTER TABLE {} ADD PRIMARY KEY ({columns})", target.name)))
}

fn takes_others_for_it(plan: &TablePlan, target: &TargetTable, lax: usize) -> Problem {
    let column = &target.columns[lax];
    let (name, collation) = (&column.name, column.collation().unwrap_or_default());
    let text = format!(
        "Column {name} of the target table {} compares texts by {collation}: it takes keys for the same that the source \
         tells apart.",
        plan.target
    );
    Problem::new(Fault::Data, "key-collation", text).table(plan.name()).advice(format!(
        "Give the column the collation that it has at the source, or one that compares byte by byte and without blanks \
         filled up ({}); or let the task drop and create the table.",
        collations::bytes_of(target.dialect)
    ))
}
