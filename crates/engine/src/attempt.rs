//! One attempt of a run: from opening the target to the first error or the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use wavemark_connector::target::{Checks, Kept, OpenError, Stage};
use wavemark_domain::ids::Generation;
use wavemark_domain::progress::{Phase, Severity, TableProgress};
use wavemark_domain::state::TableState;
use wavemark_domain::{Epoch, Fault, Position, Problem, Table, TableId, TableName, TablePlan, TableWish};

use crate::connections::{Base, Room, Taken};
use crate::hand_over::{self, Moment};
use crate::plan::{self, Planned};
use crate::run::{Ended, Run};
use crate::{assess, follow, left_behind, load, newcomers};

/// What an attempt leaves to the next one of the same run, because the target does not hold it yet.
#[derive(Debug, Default)]
pub struct Carried {
    /// Tables to park with the next commit, at the bookmark of that moment.
    pub(crate) parks: BTreeMap<TableName, Problem>,
    /// Whether this run has told what an assessment found.
    pub(crate) assessed: bool,
    /// The transaction after this bookmark failed while it was streamed: apply it row by row, with these checks.
    pub(crate) careful_after: Option<(Position, Checks)>,
    /// The table that the attempt before failed on, while nothing was committed since.
    pub(crate) held_up_by: Option<TableName>,
    /// From when on the source's catalog is looked at again because a row fails.
    pub(crate) look_again_at: Option<Instant>,
}

/// Why an attempt ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Start again at once from the bookmark, with what was carried.
    Again,
    /// It was asked to, between two waves.
    Asked,
    /// What comes next lies beyond where the task ends by itself.
    Over,
    /// Another worker has the task.
    Fenced {
        /// The epoch found in the target, if it is known.
        held: Option<Epoch>,
        /// The generation found there, if it is known.
        generation: Option<Generation>,
    },
    /// A problem; its fault says what is done about it.
    Problem(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Fenced { held, generation } => Self::Fenced { held: Some(held), generation },
            OpenError::Problem(problem) => Self::Problem(problem),
        }
    }
}

/// One attempt, with the connections of its run and those that its load may have beside them.
pub(crate) async fn attempt(run: &Run, carried: &mut Carried, base: &mut Base, more: Taken) -> Result<Ended, Stop> {
    let work = async {
        run.status.phase(Phase::Preparing);
        let tables = {
            let _turn = run.connections.turn().await;
            run.source.tables(&|name| run.mappings.selects(name)).await?
        };
        let planned = make_plan(run, tables.clone());
        // Without a table at the source the target may still hold one that is to be ended.
        if planned.is_err() && !left_behind::plans_held(run) {
            planned.as_ref().map_err(Clone::clone)?;
        }
        let mut opened = run.target.open(&run.task).await?;
        run.status.counts_unfit(opened.unfit.clone());
        run.source.continue_behind(opened.kept.furthest());
        // What is loaded again is loaded as the source describes it now.
        let wished = run.orders.take(TableWish::Reload);
        let is_wished = |table: &Table| wished.iter().any(|order| order.table == table.name);
        let planned = if opened.kept.is_empty() {
            planned?
        } else {
            let mut tables = newcomers::without_ignored(run, tables, &opened.kept, is_wished);
            left_behind::take_renamed(run, &mut tables, &opened.kept, is_wished);
            left_behind::add_gone(run, &mut tables, &opened.kept, is_wished);
            let (again, others) = tables.into_iter().partition(is_wished);
            make_plan(run, [as_kept(run, others, &opened.kept), again].concat())?
        };
        let plan: Arc<[TablePlan]> = planned.tables.clone().into();
        let anew = left_behind::settle(run, &planned, &mut opened.kept, opened.session.as_mut()).await?;
        show_tables(run, &planned, &opened.kept);
        opened.session.attach(&plan).await?;
        let is_new = opened.kept.is_empty();
        if is_new && !std::mem::replace(&mut carried.assessed, true) {
            assess::tell(run, &planned).await;
        }
        let mut asked = load::asked(run, &plan, &opened.kept, wished);
        asked.extend(changed(run, &plan, &opened.kept));
        asked.extend(newcomers::to_load(run, &plan, &opened.kept));
        asked.extend(anew);
        let loaders = std::mem::take(&mut opened.loaders);
        let mut aside = (follow::Loading::default(), Vec::new(), Room::default());
        if load::is_due(&opened.kept) {
            // Why a table was to be parked is over once it is loaded again.
            let half = opened.kept.tables.iter().filter(|mark| mark.stage == Stage::Loading);
            let half: Vec<TableName> = half.map(|mark| mark.source.clone()).collect();
            opened.kept = load::load(run, &plan, opened.kept, opened.session.as_mut(), loaders, &asked).await?;
            drop(more);
            for name in asked.iter().map(|table| plan[table.index()].name()).chain(&half) {
                carried.parks.remove(name);
            }
        } else {
            aside.0 = load::aside::tables(&plan, &opened.kept, &asked);
            if !aside.0.is_empty() {
                aside.1 = loaders;
                aside.2 = base.room(run, &mut aside.1, more);
            } else if run.task.kind.follows() {
                drop((loaders, more));
                // What a load left there that was over when its worker died.
                run.source.end_aside(&run.task).await?;
            }
        }
        if aside.0.is_empty() {
            base.has_loaded();
        }
        run.status.update(|progress| progress.waiting_for = None);
        Ok::<_, Stop>((plan, opened, aside))
    };
    let (plan, mut opened, aside) = tokio::select! {
        biased;
        () = run.stop.cancelled() => return Ok(Ended::Stopped),
        prepared = work => prepared?,
    };
    if !run.task.kind.follows() {
        let session = opened.session.as_mut();
        let refreshed = hand_over::refresh(run, &plan, session, Moment::Loaded).await;
        return Ok(if refreshed.is_break() { Ended::Stopped } else { Ended::Finished });
    }
    follow::follow(run, &plan, &opened.kept, opened.session.as_mut(), carried, aside).await
}

/// The source's tables, those that the target holds as their rows there have them: the log goes on from that, and says
/// itself what changed since.
pub(crate) fn as_kept(run: &Run, tables: Vec<Table>, kept: &Kept) -> Vec<Table> {
    let marks = kept.marks();
    let written: BTreeMap<_, _> = kept.written.iter().map(|written| (&written.source, written)).collect();
    let held = |table: Table| {
        let mark = marks.get(&table.name).filter(|mark| mark.stage == Stage::Loaded);
        let layout = written.get(&table.name)?.layout.as_ref();
        mark.zip(layout).map(|(mark, layout)| run.source.as_kept(layout, &mark.storage, &table))
    };
    tables.into_iter().map(|table| held(table.clone()).unwrap_or(table)).collect()
}

/// Tables that are to be loaded again because they were changed at the source.
pub(crate) fn changed<'a>(
    run: &'a Run,
    plan: &'a [TablePlan],
    kept: &'a Kept,
) -> impl Iterator<Item = TableId> + use<'a> {
    let is_due = |why: &Problem| run.reloads(why) && !run.ends_for(why);
    let marks = kept.tables.iter().filter(move |mark| matches!(&mark.stage, Stage::Parked(why) if is_due(why)));
    marks.filter_map(|mark| plan.iter().find(|table| *table.name() == mark.source).map(|table| table.id))
}

fn make_plan(run: &Run, tables: Vec<Table>) -> Result<Planned, Problem> {
    let planned = plan::make(tables, run.rules(), &run.source_engine, run.source.as_ref(), run.target.as_ref());
    if planned.tables.is_empty() {
        if let Some((_, problem)) = planned.refused.first() {
            return Err(Problem { fault: Fault::Settings, ..problem.clone() });
        }
        let text = "No table of the source that can be replicated matches the selection rules.";
        return Err(Problem::new(Fault::Settings, "no-tables", text)
            .advice("Check the schema and table names in the mapping; they are compared exactly."));
    }
    Ok(planned)
}

/// Puts every table of the plan into the progress, with what the target says of it and the counters of earlier
/// attempts of this run; refused tables come last, parked.
fn show_tables(run: &Run, planned: &Planned, kept: &Kept) {
    let mut before: BTreeMap<TableName, TableProgress> =
        run.status.progress().tables.into_iter().map(|table| (table.table.clone(), table)).collect();
    let mut tables: Vec<TableProgress> = Vec::with_capacity(planned.tables.len() + planned.refused.len());
    let marks = kept.marks();
    for plan in &planned.tables {
        let mut table = before.remove(plan.name()).unwrap_or_else(|| fresh(plan.name(), &plan.target));
        let mark = marks.get(plan.name()).copied();
        let done = mark.into_iter().flat_map(|mark| &mark.chunks).filter_map(|chunk| chunk.done);
        table.rows_loaded = done.clone().map(|loaded| loaded.rows).sum();
        table.bytes_loaded = done.clone().map(|loaded| loaded.bytes).sum();
        table.chunks_done = u32::try_from(done.count()).unwrap_or(u32::MAX);
        table.chunks = mark.map_or(0, |mark| u32::try_from(mark.chunks.len()).unwrap_or(u32::MAX));
        table.rows_estimated = table.rows_estimated.or(plan.source.rows_estimated);
        table.problem = None;
        table.state = match mark.map(|mark| &mark.stage) {
            None => TableState::Waiting,
            Some(Stage::Loading) => TableState::Loading,
            Some(Stage::Loaded) if run.task.kind.follows() => TableState::CatchingUp,
            Some(Stage::Loaded) => TableState::Done,
            Some(Stage::Parked(problem)) => {
                table.problem = Some((**problem).clone());
                TableState::Parked
            }
        };
        tables.push(table);
    }
    for (name, problem) in &planned.refused {
        let known = before.remove(name).is_some();
        let table = TableProgress { state: TableState::Parked, problem: Some(problem.clone()), ..fresh(name, name) };
        if !known {
            run.status.problem(Severity::Error, problem);
        }
        tables.push(table);
    }
    run.status.update(|progress| progress.tables = tables);
}

fn fresh(table: &TableName, target: &TableName) -> TableProgress {
    TableProgress {
        table: table.clone(),
        target: target.clone(),
        state: TableState::Waiting,
        rows_estimated: None,
        rows_loaded: 0,
        bytes_loaded: 0,
        chunks: 0,
        chunks_done: 0,
        chunks_read: 0,
        rows_refetched: 0,
        inserts: 0,
        updates: 0,
        deletes: 0,
        truncates: 0,
        exceptions: 0,
        conflicts: 0,
        unfit: Vec::new(),
        applied_commit_at: None,
        problem: None,
    }
}
