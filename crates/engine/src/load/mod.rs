//! The load: what is already there, from one consistent view, in chunks that several loaders copy.
//!
//! 1. Fresh: the source fixes a position and a view of it. Resumed: the source fixes another view at a later
//!    position, and every half-loaded table is brought forward to it ([`resume`]).
//! 2. Each table is begun: made in the target together with the marks of its chunks, in one commit.
//! 3. Loaders take chunks as they get free ([`chunks`]); the last chunk of a table is followed by its keys and
//!    indexes.
//! 4. Counters, and the first bookmark: the lowest position of any table. Foreign keys are made once all tables stand
//!    at one position: here if the task ends here, else when the log has passed every table's load.
//!
//! Tables that a person asks to reload or to add later ([`asked`]) are loaded [`aside`], while the others are followed.
//!
//! Invariant: the log is not followed before the first bookmark is there.

pub(crate) mod aside;
mod chunks;
mod resume;

use std::collections::BTreeSet;
use std::sync::Arc;

use wavemark_connector::crash;
use wavemark_connector::source::{BlockFormat, KeptFor, KeySet, View};
use wavemark_connector::target::{Bookmark, ChunkMark, Kept, Loader, Session, Stage, TableMark, WaveEnd};
use wavemark_domain::progress::{Phase, Severity};
use wavemark_domain::state::TableState;
use wavemark_domain::task::DataErrorPolicy;
use wavemark_domain::{Fault, Position, Problem, TableId, TableName, TableOrder, TablePlan, TableWish, WaveNumber};

use crate::run::Run;

/// One chunk to copy; without one, a table whose rows are all there and that only needs its keys.
#[derive(Clone)]
struct Job {
    table: usize,
    chunk: Option<ChunkMark>,
    without: Option<Arc<KeySet>>,
}

/// What is left to do for a table.
fn jobs_of(table: usize, mark: &TableMark, without: Option<&Arc<KeySet>>) -> Vec<Job> {
    let job = |chunk| Job { table, chunk, without: without.cloned() };
    let open = mark.chunks.iter().filter(|chunk| chunk.done.is_none());
    let jobs: Vec<Job> = open.map(|chunk| job(Some(chunk.clone()))).collect();
    if jobs.is_empty() { vec![job(None)] } else { jobs }
}

/// The tables that a person asks to load again, or for the first time. An order that can't be done is told and done with.
pub(crate) fn asked(run: &Run, plan: &[TablePlan], kept: &Kept, orders: Vec<TableOrder>) -> BTreeSet<TableId> {
    let loads = run.task.kind.loads() && (run.task.kind.follows() || is_due(kept));
    let mut asked = BTreeSet::new();
    for order in orders {
        match plan.iter().find(|table| *table.name() == order.table) {
            Some(table) if loads => {
                asked.insert(table.id);
            }
            _ => {
                run.orders.finish(order.number);
                run.status.problem(Severity::Warning, &not_loaded(&order.table));
            }
        }
    }
    asked
}

fn not_loaded(table: &TableName) -> Problem {
    let text = format!("{table} can't be loaded: it is not among the tables that the task loads, or its load is over");
    Problem::new(Fault::Settings, "order-refused", text).table(table).advice(
        "See the task's mapping, and why the table is refused, if it is. A task that only loads is reloaded whole.",
    )
}

/// Whether the first load is still to be done, or to be gone on with.
pub(crate) fn is_due(kept: &Kept) -> bool {
    kept.bookmark.is_none()
}

/// Loads what is missing and what is asked for, and returns what the target then holds: every table marked, and a
/// bookmark.
pub(crate) async fn load(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    kept: Kept,
    session: &mut dyn Session,
    loaders: Vec<Box<dyn Loader>>,
    asked: &BTreeSet<TableId>,
) -> Result<Kept, Problem> {
    run.status.phase(Phase::Loading);
    let mut marks = resume::marks_by_table(plan, kept.tables);
    // A log is begun only where nothing depends on the one before: also not what is asked to be loaded again, for the
    // order may be taken back before it is done.
    let fresh = marks.iter().all(Option::is_none);
    for table in asked {
        marks[table.index()] = None;
    }
    let start = if run.task.kind.loads() {
        let view = view_for(run, plan, fresh, &marks).await?;
        if let Some(view) = &view {
            let (jobs, loaders) = begin_tables(run, plan, view, session, loaders, &mut marks).await?;
            finish_orders(run, asked, plan);
            let (failed, _) = chunks::copy(run, plan, Arc::clone(view), loaders, jobs, chunks::Then::Complete).await?;
            park_failed(run, plan, session, &mut marks, failed).await?;
        }
        view.map(|view| view.position().clone())
    } else {
        Some(adopt_tables(run, plan, session, &mut marks).await?)
    };
    finish(run, plan, session, marks, start).await
}

/// What was asked is in the target's marks now: another worker would go on with it.
pub(crate) fn finish_orders(run: &Run, asked: &BTreeSet<TableId>, plan: &[TablePlan]) {
    for order in run.orders.wishing(TableWish::Reload) {
        if asked.iter().any(|table| *plan[table.index()].name() == order.table) {
            run.orders.finish(order.number);
        }
    }
}

/// The view to read from, or none if every table has its rows already.
async fn view_for(
    run: &Run,
    plan: &[TablePlan],
    fresh: bool,
    marks: &[Option<TableMark>],
) -> Result<Option<Arc<dyn View>>, Problem> {
    if fresh {
        let view = run.source.begin(&run.task, plan).await?;
        crash::point("source.begun");
        crate::follow::stop::refuse_passed(run, view.position(), "its load would be as of")?;
        run.status.event(
            Severity::Info,
            "load-started",
            format!("The load reads the source as of {}", run.source.describe(view.position())),
        );
        return Ok(Some(view.into()));
    }
    if marks.iter().flatten().filter(|mark| mark.stage != Stage::Loading).count() == marks.len() {
        return Ok(None);
    }
    let is_over = |mark: &Option<TableMark>| mark.as_ref().is_some_and(|mark| mark.stage != Stage::Loading);
    let tables: Vec<TablePlan> =
        plan.iter().zip(marks).filter(|(_, mark)| !is_over(mark)).map(|(table, _)| table.clone()).collect();
    let view = run.source.view_again(&run.task, &tables).await?;
    let text = format!("The load goes on and reads the source as of {}", run.source.describe(view.position()));
    run.status.event(Severity::Info, "load-resumed", text);
    Ok(Some(view.into()))
}

/// Brings half-loaded tables forward, begins the others, and lists the chunks to copy, large tables first.
async fn begin_tables(
    run: &Run,
    plan: &Arc<[TablePlan]>,
    view: &Arc<dyn View>,
    session: &mut dyn Session,
    mut loaders: Vec<Box<dyn Loader>>,
    marks: &mut [Option<TableMark>],
) -> Result<(Vec<Job>, Vec<Box<dyn Loader>>), Problem> {
    let loader = loaders.first_mut().ok_or_else(no_loader)?;
    // A table whose chunks are all done is exact as of its own position; only its keys and indexes are missing.
    let since = |mark: &TableMark| resume::has_open_chunks(mark).then(|| mark.began.clone());
    let forward = resume::bring_forward(run, plan, view.as_ref(), loader.as_mut(), marks, KeptFor::Task, since).await?;
    let mut jobs = forward.jobs;
    let mut again = forward.again;
    park_failed(run, plan, session, marks, forward.failed).await?;
    for (index, table) in plan.iter().enumerate() {
        let why = again.remove(&index);
        if marks[index].is_some() && why.is_none() {
            continue;
        }
        let begun = begin_or_park(run, table, view.as_ref(), session, why.as_deref()).await?;
        if begun.stage == Stage::Loading {
            jobs.extend(jobs_of(index, &begun, None));
        }
        marks[index] = Some(begun);
    }
    sort_by_size(plan, &mut jobs);
    Ok((jobs, loaders))
}

fn no_loader() -> Problem {
    Problem::internal("the target gave no loader for a task that loads")
}

fn sort_by_size(plan: &[TablePlan], jobs: &mut [Job]) {
    jobs.sort_by_key(|job| std::cmp::Reverse(plan[job.table].source.bytes_estimated));
}

/// Begins a table from nothing; with `why` it was begun before and its rows go. Its mark says whether it is loading or
/// had to be parked.
pub(crate) async fn begin_or_park(
    run: &Run,
    table: &TablePlan,
    view: &dyn View,
    session: &mut dyn Session,
    why: Option<&str>,
) -> Result<TableMark, Problem> {
    if let Some(why) = why {
        let text = format!("The load of {} starts over: {why}", table.name());
        run.status.table_event(Severity::Warning, "load-restarted", table, text);
    }
    match begin_table(run, table, view, session).await {
        Ok(mark) => Ok(mark),
        Err(problem) => park(run, table, session, view.position(), problem).await,
    }
}

async fn begin_table(
    run: &Run,
    table: &TablePlan,
    view: &dyn View,
    session: &mut dyn Session,
) -> Result<TableMark, Problem> {
    let entered = view.enter(table).await?;
    if !entered.readable {
        return Err(rewritten(table));
    }
    let chunk_bytes = u64::from(run.task.settings.chunk_mib) << 20;
    let ranges = view.chunks(table, chunk_bytes).await?;
    let mark = TableMark {
        source: table.name().clone(),
        began: view.position().clone(),
        position: view.position().clone(),
        storage: entered.storage,
        stage: Stage::Loading,
        chunks: (0..).zip(ranges).map(|(number, range)| ChunkMark { number, range, done: None }).collect(),
    };
    session.begin_table(table, run.task.settings.preparation, &mark).await?;
    crash::point("table.begun");
    run.status.update_table(table.id, |progress| {
        progress.chunks = u32::try_from(mark.chunks.len()).unwrap_or(u32::MAX);
        progress.chunks_done = 0;
        progress.rows_loaded = 0;
        progress.bytes_loaded = 0;
        progress.problem = None;
        progress.rows_estimated = entered.rows_estimated.or(progress.rows_estimated);
    });
    run.status.table_state(table, TableState::Loading);
    Ok(mark)
}

fn rewritten(table: &TablePlan) -> Problem {
    let text = format!("{} was rewritten or truncated after the load's view was fixed", table.name());
    Problem::transient("table-rewritten", text).table(table.name())
}

/// For a task that only follows: the tables are there already; the log is followed from now on, or from where the
/// settings say that the tables stand.
async fn adopt_tables(
    run: &Run,
    plan: &[TablePlan],
    session: &mut dyn Session,
    marks: &mut [Option<TableMark>],
) -> Result<Position, Problem> {
    let start = run.source.begin_following(&run.task, plan).await?;
    crash::point("source.begun");
    if run.task.settings.names_start() {
        let text = format!("The task follows the source from {} on, as its settings say", run.source.describe(&start));
        run.status.event(Severity::Info, "start-named", text);
    }
    for (index, table) in plan.iter().enumerate() {
        let mark = TableMark {
            source: table.name().clone(),
            began: start.clone(),
            position: start.clone(),
            storage: String::new(),
            stage: Stage::Loaded,
            chunks: Vec::new(),
        };
        marks[index] = Some(match session.adopt_table(table, &mark).await {
            Ok(()) => mark,
            Err(problem) => park(run, table, session, &start, problem).await?,
        });
    }
    Ok(start)
}

async fn park_failed(
    run: &Run,
    plan: &[TablePlan],
    session: &mut dyn Session,
    marks: &mut [Option<TableMark>],
    failed: Vec<(usize, Problem)>,
) -> Result<(), Problem> {
    for (index, problem) in failed {
        let at = marks[index].as_ref().map(|mark| mark.position.clone()).expect("a table with chunks has its mark");
        marks[index] = Some(park(run, &plan[index], session, &at, problem).await?);
    }
    Ok(())
}

/// Parks a table whose load failed on data, unless the policy or the kind of problem stops the task.
pub(crate) async fn park(
    run: &Run,
    table: &TablePlan,
    session: &mut dyn Session,
    at: &Position,
    problem: Problem,
) -> Result<TableMark, Problem> {
    if problem.fault != Fault::Data || run.task.settings.data_errors == DataErrorPolicy::StopTask {
        return Err(problem);
    }
    session.park_table(table, at, &problem).await?;
    if !run.ends_for(&problem) {
        run.status.parked(table, &problem);
    }
    Ok(TableMark {
        source: table.name().clone(),
        began: at.clone(),
        position: at.clone(),
        storage: String::new(),
        stage: Stage::Parked(Box::new(problem)),
        chunks: Vec::new(),
    })
}

/// Foreign keys, counters, the first bookmark.
async fn finish(
    run: &Run,
    plan: &[TablePlan],
    session: &mut dyn Session,
    marks: Vec<Option<TableMark>>,
    start: Option<Position>,
) -> Result<Kept, Problem> {
    run.status.phase(Phase::Finishing);
    let mut tables: Vec<TableMark> = marks.into_iter().flatten().collect();
    for mark in &mut tables {
        if mark.stage == Stage::Loading {
            mark.stage = Stage::Loaded;
        }
    }
    if run.task.kind.loads() {
        // While following, tables may stand at different positions until the log has passed them all: then the
        // keys between them are made there.
        if !run.task.kind.follows() {
            let loaded = loaded(&tables);
            make_foreign_keys(run, plan, session, |table| loaded.contains(table.name())).await?;
        }
        let counters = run.source.counters(plan).await?;
        session.raise_counters(plan, &counters).await?;
    }
    let lowest = tables.iter().filter(|mark| mark.stage == Stage::Loaded).map(|mark| mark.position.clone()).min();
    let position = lowest.or(start).or_else(|| tables.iter().map(|mark| mark.position.clone()).min());
    let position = position.ok_or_else(|| Problem::internal("a load without tables"))?;
    let bookmark = Bookmark { wave: WaveNumber(1), position };
    let position_text = run.source.describe(&bookmark.position);
    let end = WaveEnd {
        wave: bookmark.wave,
        position: &bookmark.position,
        position_text: &position_text,
        committed_at: None,
        parked: &[],
    };
    session.commit(&end).await?;
    crash::point("load.finished");
    run.status.event(Severity::Info, "load-finished", format!("The load is complete as of {position_text}"));
    show_loaded(run, plan, &tables);
    Ok(Kept { bookmark: Some(bookmark), tables, written: Vec::new() })
}

fn loaded(tables: &[TableMark]) -> BTreeSet<&TableName> {
    tables.iter().filter(|mark| mark.stage == Stage::Loaded).map(|mark| &mark.source).collect()
}

/// Makes the foreign keys between the chosen tables, which stand at one position; what can't be made is told.
pub(crate) async fn make_foreign_keys(
    run: &Run,
    plan: &[TablePlan],
    session: &mut dyn Session,
    chosen: impl Fn(&TablePlan) -> bool,
) -> Result<(), Problem> {
    let tables: Vec<TablePlan> = plan.iter().filter(|table| chosen(table)).cloned().collect();
    for problem in session.finish_load(&tables).await? {
        run.status.problem(Severity::Warning, &problem);
    }
    Ok(())
}

fn show_loaded(run: &Run, plan: &[TablePlan], tables: &[TableMark]) {
    let state = if run.task.kind.follows() { TableState::CatchingUp } else { TableState::Done };
    let loaded = loaded(tables);
    for table in plan {
        if loaded.contains(table.name()) {
            run.status.table_state(table, state);
        }
    }
}

/// The first form that both sides have for a table's rows.
pub(crate) fn format_for(run: &Run, table: &TablePlan) -> BlockFormat {
    let takes = run.target.block_formats(table);
    run.source.block_formats(table).into_iter().find(|format| takes.contains(format)).unwrap_or(BlockFormat::Rows)
}
