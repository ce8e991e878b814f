//! Making a table ready to be loaded. The server commits at each change of a table, so it is not one commit:
//!
//! 1. the mark is put, as one of a table that is being prepared, under the fence;
//! 2. the table is made, or emptied;
//! 3. the mark says that it may be loaded, under the fence.
//!
//! A mark of the first step is no mark for whoever opens the target next: all of it is done again. That no predecessor's
//! statement is still under way then is the fence's doing.

use uuid::Uuid;
use wavemark_connector::target::TableMark;
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::fault::problem;
use super::fence::Grant;
use super::loader::taken_back;
use super::table::{self, must_have_key};
use super::{create, marks};
use crate::sql::quoted_table;
use crate::wire::{Connection, WireError};

/// What is to be done before rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Make,
    MakeAnew,
    Empty,
    Nothing,
}

/// Makes a table ready; see the module for the steps.
pub(crate) async fn table(
    connection: &mut Connection,
    grant: &Grant,
    plan: &TablePlan,
    preparation: Preparation,
    mark: &TableMark,
) -> Result<(), Problem> {
    let begun = begin(connection, grant, plan, preparation, mark).await;
    let (step, made) = taken_back(connection, begun).await?;
    take(connection, plan, step).await?;
    let target = table::read(connection, plan).await?;
    if !made {
        must_have_key(plan, &target)?;
    }
    let ended = end(connection, grant, plan, mark).await;
    taken_back(connection, ended).await
}

async fn begin(
    connection: &mut Connection,
    grant: &Grant,
    plan: &TablePlan,
    preparation: Preparation,
    mark: &TableMark,
) -> Result<(Step, bool), Problem> {
    let doing = format!("begin table {}", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    grant.begin(connection, &doing).await?;
    let begun = marks::begun(connection, grant.task, plan).await.map_err(failed)?;
    let (is_ours, was_made) = begun.map_or((false, false), |begun| (begun.written, begun.made));
    let step = step(connection, plan, preparation, is_ours, was_made).await?;
    let made = was_made || matches!(step, Step::Make | Step::MakeAnew);
    marks::put(connection, grant.task, plan, mark, (made, false)).await.map_err(failed)?;
    connection.query("COMMIT").await.map_err(failed)?;
    Ok((step, made))
}

async fn step(
    connection: &mut Connection,
    plan: &TablePlan,
    preparation: Preparation,
    is_ours: bool,
    was_made: bool,
) -> Result<Step, Problem> {
    if table::look(connection, &plan.target).await?.is_none() {
        return Ok(Step::Make);
    }
    let fits = table::read(connection, plan).await;
    match fits {
        _ if preparation == Preparation::DropAndCreate => Ok(Step::MakeAnew),
        Err(_) if was_made => Ok(Step::MakeAnew),
        Err(misfit) => Err(misfit),
        Ok(_) if preparation == Preparation::Truncate || is_ours => Ok(Step::Empty),
        Ok(_) if is_empty(connection, plan).await? => Ok(Step::Nothing),
        Ok(_) => Err(not_empty(plan)),
    }
}

fn not_empty(plan: &TablePlan) -> Problem {
    let text = format!("The target table {} has rows already.", plan.target);
    Problem::new(Fault::Data, "table-not-empty", text)
        .table(plan.name())
        .advice("Empty it, or let the task truncate it or drop and create it.")
}

/// A load may remove the rows of one before it, and nobody else's.
pub(super) async fn must_be_empty_or_ours(
    connection: &mut Connection,
    task: Uuid,
    plan: &TablePlan,
) -> Result<(), Problem> {
    // Before the first task there are no marks.
    let begun = marks::begun(connection, task, plan).await.ok().flatten();
    let is_ours = begun.is_some_and(|begun| begun.written);
    if is_ours || is_empty(connection, plan).await? { Ok(()) } else { Err(not_empty(plan)) }
}

async fn is_empty(connection: &mut Connection, plan: &TablePlan) -> Result<bool, Problem> {
    let sql = format!("SELECT 1 FROM {} LIMIT 1", quoted_table(&plan.target));
    let rows = connection.query(&sql).await;
    let failed = |cause: WireError| problem(&cause, &format!("look into {}", plan.target)).table(plan.name());
    rows.map(|rows| rows.is_empty()).map_err(failed)
}

async fn take(connection: &mut Connection, plan: &TablePlan, step: Step) -> Result<(), Problem> {
    let name = quoted_table(&plan.target);
    let mut statements = Vec::new();
    if step == Step::MakeAnew {
        statements.push(format!("DROP TABLE IF EXISTS {name}"));
    }
    if matches!(step, Step::Make | Step::MakeAnew) {
        let server = create::Server::of(connection).await?;
        if !is_there(connection, plan).await? {
            statements.push(create::create_database(&plan.target.schema));
        }
        statements.push(create::create_table(plan, &server)?);
    }
    if step == Step::Empty {
        statements.push(format!("TRUNCATE TABLE {name}"));
    }
    for statement in statements {
        let failed =
            |cause: WireError| problem(&cause, &format!("prepare the target table {}", plan.target)).table(plan.name());
        connection.query(&statement).await.map_err(failed)?;
    }
    Ok(())
}

/// A user may have every right to a database and none to make one.
async fn is_there(connection: &mut Connection, plan: &TablePlan) -> Result<bool, Problem> {
    let sql = format!(
        "SELECT 1 FROM information_schema.schemata WHERE schema_name = {}",
        crate::sql::literal(&plan.target.schema)
    );
    let rows = connection.query(&sql).await;
    rows.map(|rows| !rows.is_empty()).map_err(|cause| problem(&cause, "look for the target's database"))
}

async fn end(connection: &mut Connection, grant: &Grant, plan: &TablePlan, mark: &TableMark) -> Result<(), Problem> {
    let doing = format!("begin table {}", plan.target);
    let failed = |cause: WireError| problem(&cause, &doing).table(plan.name());
    grant.begin(connection, &doing).await?;
    marks::make_ready(connection, grant.task, &mark.source).await.map_err(failed)?;
    connection.query("COMMIT").await.map(drop).map_err(failed)
}

/// A table that was there before the task, or that another task writes, is not dropped.
pub(crate) async fn must_be_ours(connection: &mut Connection, task: Uuid, table: &TablePlan) -> Result<(), Problem> {
    let failed = |cause: WireError| problem(&cause, "read the marks of tables").table(table.name());
    let refused = |why: &str| {
        Problem::new(Fault::Data, "table-not-dropped", format!("Table {} is not dropped: {why}.", table.target))
            .table(table.name())
            .advice("Drop it yourself, or keep it: the task no longer changes it.")
    };
    match marks::begun(connection, task, table).await.map_err(failed)? {
        Some(begun) if begun.made => {}
        Some(_) => return Err(refused("it was there before the task")),
        None => return Err(Problem::internal(format!("Table {} has ended and has no mark.", table.target))),
    }
    match marks::written_by_another(connection, task, table).await.map_err(failed)? {
        Some(other) => Err(refused(&format!("task {other} writes it, too"))),
        None => Ok(()),
    }
}
