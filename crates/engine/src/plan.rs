//! The plan of a task: which source tables travel, where to, and how the bytes of each column are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavemark_connector::source::Replan;
use wavemark_connector::{Source, Target};
use wavemark_domain::catalog::Table;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::{ColumnPlan, Encoding, Fault, Logical, Problem, RowFilter, TableId, TableName, TablePlan};

use crate::run::Run;

/// What the mappings and both systems make of the source's tables.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The tables that can travel; a table's id is its index.
    pub tables: Vec<TablePlan>,
    /// The tables that were selected and can't travel, with the reason.
    pub refused: Vec<(TableName, Problem)>,
}

/// Makes the plan. Tables are in the order of their names, so that the same catalog gives the same plan.
pub fn make(
    tables: Vec<Table>,
    mappings: &Mappings,
    source_engine: &str,
    source: &dyn Source,
    target: &dyn Target,
    follows: bool,
) -> Planned {
    let mut sorted: Vec<Arc<Table>> = tables.into_iter().map(Arc::new).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut planned = Planned::default();
    for table in sorted {
        let id = TableId(u32::try_from(planned.tables.len()).expect("far fewer than 2^32 tables"));
        match plan_table(id, &table, mappings, source_engine, source, target, follows) {
            Some(Ok(plan)) => planned.tables.push(plan),
            Some(Err(problem)) => planned.refused.push((table.name.clone(), problem)),
            None => {}
        }
    }
    refuse_collisions(&mut planned);
    planned
}

fn plan_table(
    id: TableId,
    table: &Arc<Table>,
    mappings: &Mappings,
    source_engine: &str,
    source: &dyn Source,
    target: &dyn Target,
    follows: bool,
) -> Option<Result<TablePlan, Problem>> {
    let mapped = mappings.apply(table)?;
    if let Some(problem) = source.refuses_to_follow(table).filter(|_| follows) {
        return Some(Err(problem));
    }
    let rows = match rows_of(table, mappings, source, follows) {
        Ok(rows) => rows,
        Err(problem) => return Some(Err(problem)),
    };
    let logical: Vec<Option<Logical>> = table.columns.iter().map(|column| source.logical(table, column)).collect();
    let mut columns = Vec::with_capacity(mapped.columns.len());
    for (index, target_name) in mapped.columns {
        let column = &table.columns[index];
        if column.generated {
            continue;
        }
        let Some(encoding) = agree(source_engine, table, index, logical[index].as_ref(), source, target) else {
            let why = format!("column {} has the type {}, which the target can't take", column.name, column.declared);
            return Some(Err(refusal(table, &why).advice("Leave it out with a remove-column rule.")));
        };
        columns.push(ColumnPlan { source: index, target_name, encoding });
    }
    let key = key_of(table, &columns);
    Some(key.map(|key| TablePlan {
        id,
        source: Arc::clone(table),
        declared: target.declare(source_engine, table, &logical, &source.extras(table)).map(Arc::new),
        target: mapped.target,
        columns,
        key,
        rows,
        schema_version: 1,
    }))
}

/// Which of a table's rows travel.
fn rows_of(
    table: &Table,
    mappings: &Mappings,
    source: &dyn Source,
    follows: bool,
) -> Result<Option<RowFilter>, Problem> {
    let rows = mappings.rows(&table.name).map_err(|unclear| {
        refusal(table, &unclear.to_string()).advice("Have one rule select it, or give all of them the same filters.")
    })?;
    let Some(rows) = rows else { return Ok(None) };
    if let Some(missing) = rows.columns().into_iter().find(|name| table.column(name).is_none()) {
        return Err(refusal(table, &format!("its filter names column {missing}, which it does not have"))
            .advice("Names are compared exactly; change the filter or what its rule selects."));
    }
    source.refuses_rows(table, rows, follows).map_or_else(|| Ok(Some(rows.clone())), Err)
}

/// The first encoding that the target takes and the source can give.
fn agree(
    source_engine: &str,
    table: &Table,
    index: usize,
    logical: Option<&Logical>,
    source: &dyn Source,
    target: &dyn Target,
) -> Option<Encoding> {
    let column = &table.columns[index];
    let offers = source.offers(table, column);
    target.accepts(source_engine, column, logical).into_iter().find(|encoding| offers.contains(encoding))
}

fn key_of(table: &Table, columns: &[ColumnPlan]) -> Result<Vec<usize>, Problem> {
    let place = |name: &String| {
        columns
            .iter()
            .position(|column| table.columns[column.source].name == *name)
            .ok_or_else(|| refusal(table, &format!("the mapping leaves out {name}, a column of its key")))
    };
    table.key.iter().map(place).collect()
}

/// The code of the problem of a followed table that got a name which the mapping does not choose.
pub(crate) const NOT_CHOSEN: &str = "table-not-chosen";

/// Plans a followed table anew, as its next layout in the log describes it.
pub(crate) struct Replanner(pub(crate) Run);

impl Replan for Replanner {
    fn plan(&self, id: TableId, table: &Arc<Table>) -> Result<TablePlan, Problem> {
        let Self(run) = self;
        let (source, target) = (run.source.as_ref(), run.target.as_ref());
        let follows = run.task.kind.follows();
        let planned = plan_table(id, table, &run.mappings, &run.source_engine, source, target, follows);
        planned.unwrap_or_else(|| {
            let text = format!("It is now named {}, which the mapping does not choose.", table.name);
            Err(Problem::new(Fault::Data, NOT_CHOSEN, text).table(&table.name))
        })
    }
}

/// Two source tables can't share a target table: neither travels until the mapping tells them apart.
fn refuse_collisions(planned: &mut Planned) {
    let mut targets: BTreeMap<TableName, u32> = BTreeMap::new();
    for plan in &planned.tables {
        *targets.entry(plan.target.clone()).or_default() += 1;
    }
    let (kept, collided): (Vec<_>, Vec<_>) =
        std::mem::take(&mut planned.tables).into_iter().partition(|plan| targets[&plan.target] == 1);
    planned.refused.extend(collided.into_iter().map(|plan| {
        let why = format!("another selected table also goes to {}", plan.target);
        (plan.name().clone(), refusal(&plan.source, &why).advice("Give it another name with a rename rule."))
    }));
    planned.tables = kept;
    for (index, plan) in planned.tables.iter_mut().enumerate() {
        plan.id = TableId(u32::try_from(index).expect("far fewer than 2^32 tables"));
    }
}

fn refusal(table: &Table, why: &str) -> Problem {
    Problem::new(Fault::Data, "table-refused", format!("{} can't be replicated: {why}", table.name)).table(&table.name)
}
