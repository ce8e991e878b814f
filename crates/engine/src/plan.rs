//! The plan of a task: which source tables travel, where to, and how the bytes of each column are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavemark_connector::source::Replan;
use wavemark_connector::{Source, Target};
use wavemark_domain::catalog::Table;
use wavemark_domain::mapping::Mappings;
use wavemark_domain::{
    ColumnPlan, Encoding, Extras, Fault, Logical, Problem, RowFilter, TableId, TableName, TablePlan, UnfitPolicy,
};

use crate::run::Run;

/// What the mappings and both systems make of the source's tables.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The tables that can travel; a table's id is its index.
    pub tables: Vec<TablePlan>,
    /// The tables that were selected and can't travel, with the reason.
    pub refused: Vec<(TableName, Problem)>,
}

/// What the task's people ask of its tables.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Which tables and columns travel, and under which names.
    pub mappings: &'a Mappings,
    /// Whether the log is followed.
    pub follows: bool,
    /// What is done about values that have no place, where the mappings say nothing of the column.
    pub unfit: UnfitPolicy,
}

/// Makes the plan. Tables are in the order of their names, so that the same catalog gives the same plan.
pub fn make(
    tables: Vec<Table>,
    rules: Rules<'_>,
    source_engine: &str,
    source: &dyn Source,
    target: &dyn Target,
) -> Planned {
    let mut sorted: Vec<Arc<Table>> = tables.into_iter().map(Arc::new).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut planned = Planned::default();
    for table in sorted {
        let id = TableId(u32::try_from(planned.tables.len()).expect("far fewer than 2^32 tables"));
        match plan_table(id, &table, rules, source_engine, source, target) {
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
    rules: Rules<'_>,
    source_engine: &str,
    source: &dyn Source,
    target: &dyn Target,
) -> Option<Result<TablePlan, Problem>> {
    let Rules { mappings, follows, .. } = rules;
    let mapped = mappings.apply(table)?;
    if let Some(problem) = source.refuses_to_follow(table).filter(|_| follows) {
        return Some(Err(problem));
    }
    let rows = match rows_of(table, mappings, source, follows) {
        Ok(rows) => rows,
        Err(problem) => return Some(Err(problem)),
    };
    let logical: Vec<Option<Logical>> = table.columns.iter().map(|column| source.logical(table, column)).collect();
    let mut extras = source.extras(table);
    let mut declared = logical.clone();
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
        let unfit = rules.unfit(table, &column.name, &extras);
        let spelled = logical[index]
            .clone()
            .filter(|logical| unfit == UnfitPolicy::Text && target.spells(source_engine, logical));
        if spelled.is_some() {
            declared[index] = Some(Logical::Text { length: None });
            // What a default is as a text nobody has told.
            if let Some(column) = extras.columns.get_mut(index) {
                column.default = None;
            }
        }
        columns.push(ColumnPlan { source: index, target_name, encoding, unfit, as_text: spelled });
    }
    let key = key_of(table, &columns);
    Some(key.map(|key| TablePlan {
        id,
        source: Arc::clone(table),
        declared: target.declare(source_engine, table, &declared, &extras).map(Arc::new),
        target: mapped.target,
        columns,
        key,
        rows,
        schema_version: 1,
    }))
}

impl Rules<'_> {
    /// What is done about values of a column that have no place. Of columns that tell rows apart, or say which belong
    /// together, none is altered: several would become one.
    fn unfit(&self, table: &Table, column: &str, extras: &Extras) -> UnfitPolicy {
        let unique = || extras.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.parts);
        let pointing = || extras.foreign_keys.iter().flat_map(|key| &key.columns);
        let is_kept = table.key.iter().any(|name| name == column)
            || unique().any(|part| part.column == column)
            || pointing().any(|name| name == column);
        let asked = if is_kept { None } else { Some(self.mappings.unfit(&table.name, column).unwrap_or(self.unfit)) };
        asked.unwrap_or_default()
    }
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
        let planned = plan_table(id, table, run.rules(), &run.source_engine, source, target);
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
