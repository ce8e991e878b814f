//! Tables whose rows in the target are not those of the plan: left out for a while, or mapped otherwise before.
//!
//! The bookmark goes on without what is not in the plan, so a mark that says *loaded* must not outlive that.

use std::collections::{BTreeMap, BTreeSet};

use wavemark_connector::source::{DROPPED_IN_LOAD, TABLE_SWAPPED};
use wavemark_connector::target::{Kept, Session, Stage, TableMark};
use wavemark_domain::adopt::KeptTable;
use wavemark_domain::progress::Severity;
use wavemark_domain::{Fault, Problem, Table, TableId, TableName, TablePlan, adopt};

use crate::attempt::Stop;
use crate::plan::Planned;
use crate::run::Run;

/// What becomes of a mark.
enum Fate {
    Stays,
    /// Its load begins anew.
    Goes,
    Parks(Problem),
}

/// Before anything is written: parks what is loaded and no longer fits the plan, and forgets loads under way that don't.
/// Gives the tables whose load begins anew for that. The plan is made again where a table is now to be ended.
pub(crate) async fn settle(
    run: &Run,
    all: &Planned,
    kept: &mut Kept,
    session: &mut dyn Session,
) -> Result<BTreeSet<TableId>, Stop> {
    let plan = &all.tables;
    let mut anew = BTreeSet::new();
    let mut ends = false;
    let planned: BTreeMap<&TableName, &TablePlan> = plan.iter().map(|table| (table.name(), table)).collect();
    let all_written = std::mem::take(&mut kept.written);
    let written: BTreeMap<_, _> = all_written.iter().map(|table| (&table.source, table)).collect();
    let mut marks = Vec::with_capacity(kept.tables.len());
    for mark in std::mem::take(&mut kept.tables) {
        let planned = planned.get(&mark.source).copied();
        let written = written.get(&mark.source).copied();
        let fate = match planned.is_none().then(|| now_named(run, plan, written)).flatten() {
            Some(now) => fate_of_renamed(run, now, &mark),
            None if planned.is_none() && waits_for_reload(run, &mark) && is_gone(run, all, &mark.source) => {
                Fate::Parks(gone_before_reload(&mark.source))
            }
            None => fate(run, planned, written, (kept, &mark)),
        };
        match fate {
            Fate::Stays => marks.push(mark),
            Fate::Goes => {
                anew.extend(planned.map(|table| table.id));
            }
            Fate::Parks(problem) => {
                // One that is parked already has its rows as of then.
                let is_followed = !matches!(mark.stage, Stage::Parked(_));
                let bookmark = kept.bookmark.as_ref().map(|bookmark| &bookmark.position).filter(|_| is_followed);
                let position = bookmark.max(Some(&mark.position)).unwrap_or(&mark.position).clone();
                session.leave_behind(&mark.source, &position, &problem).await?;
                ends |= run.ends_for(&problem);
                run.status.problem(Severity::Warning, &problem);
                marks.push(TableMark { position, stage: Stage::Parked(Box::new(problem)), ..mark });
            }
        }
    }
    kept.tables = marks;
    kept.written = all_written;
    if ends { Err(Stop::Again) } else { Ok(anew) }
}

/// Whether a table that the target holds is planned although the source has none of its name.
pub(crate) fn plans_held(run: &Run) -> bool {
    run.parts_with_dropped() || run.follows_names()
}

/// Gives tables that have another name by now the one under which the target holds them: the log tells where they got the
/// other.
pub(crate) fn take_renamed(run: &Run, tables: &mut Vec<Table>, kept: &Kept, is_wished: impl Fn(&Table) -> bool) {
    if !run.follows_names() {
        return;
    }
    let marks = kept.marks();
    let is_loaded = |held: &&KeptTable| marks.get(&held.source).is_some_and(|mark| mark.stage == Stage::Loaded);
    let by_name: BTreeMap<&TableName, &Table> = tables.iter().map(|table| (&table.name, table)).collect();
    let is_there = |held: &KeptTable, layout: &Table| {
        by_name.get(&held.source).is_some_and(|table| run.source.is_same(layout, table))
    };
    let held = kept.written.iter().filter(is_loaded).filter_map(|held| Some((held, held.layout.as_ref()?)));
    let strays: Vec<(&KeptTable, &Table)> = held.filter(|(held, layout)| !is_there(held, layout)).collect();
    for (held, layout) in strays {
        let is_it = |table: &Table| table.name != held.source && run.source.is_same(layout, table) && !is_wished(table);
        let Some(at) = tables.iter().position(is_it) else { continue };
        let now = tables.remove(at);
        if !tables.iter().any(|table| table.name == held.source) {
            tables.push(Table { name: held.source.clone(), ..now });
        }
    }
}

/// Adds tables that the target holds and the source no longer has, where they are to be followed to their end: the log may
/// still have changes of them.
pub(crate) fn add_gone(run: &Run, tables: &mut Vec<Table>, kept: &Kept, is_wished: impl Fn(&Table) -> bool) {
    if !plans_held(run) {
        return;
    }
    let marks = kept.marks();
    let there: BTreeSet<TableName> = tables.iter().map(|table| table.name.clone()).collect();
    let is_to_end = |name| {
        marks.get(name).is_some_and(|mark| match &mark.stage {
            Stage::Loaded | Stage::Loading => true,
            Stage::Parked(problem) => run.ends_for(problem),
        })
    };
    let held = kept.written.iter().filter(|written| {
        is_to_end(&written.source) && !there.contains(&written.source) && run.mappings.selects(&written.source)
    });
    // What is there under another name is not gone. Planned twice, its changes would be taken for one of the two.
    let is_renamed = |layout: &Table| tables.iter().any(|table| run.source.is_same(layout, table));
    let layouts = held.filter_map(|written| written.layout.clone());
    let gone: Vec<Table> = layouts.filter(|table| !is_wished(table) && !is_renamed(table)).collect();
    tables.extend(gone);
}

/// The table of the plan that the target holds, under whatever name.
fn now_named<'p>(run: &Run, plan: &'p [TablePlan], written: Option<&KeptTable>) -> Option<&'p TablePlan> {
    let layout = written?.layout.as_ref()?;
    plan.iter().find(|table| run.source.is_same(layout, &table.source))
}

/// Whether the source has nothing of the name of a table that is not planned, though the mapping would have it.
fn is_gone(run: &Run, all: &Planned, name: &TableName) -> bool {
    run.mappings.selects(name) && !all.refused.iter().any(|(refused, _)| refused == name)
}

fn waits_for_reload(run: &Run, mark: &TableMark) -> bool {
    matches!(&mark.stage, Stage::Parked(why)
        if ["table-changed", TABLE_SWAPPED].contains(&&*why.code) && run.reloads(why))
}

/// A table that was to be loaded again by itself is as one that is gone in the middle of that.
fn gone_before_reload(name: &TableName) -> Problem {
    let text = format!("Table {name} was changed at the source, and dropped before it was loaded again.");
    Problem::new(Fault::Data, DROPPED_IN_LOAD, text)
        .advice("The target has its rows of before the change. It is loaded again if it comes again.")
        .table(name)
}

fn fate(
    run: &Run,
    planned: Option<&TablePlan>,
    written: Option<&KeptTable>,
    (kept, mark): (&Kept, &TableMark),
) -> Fate {
    let is_planned = planned.is_some();
    let why = match written.and_then(|table| adopt::differs(table, planned.map_or(&[], std::slice::from_ref))) {
        _ if !is_planned => format!("{} was not among the task's tables for a while", mark.source),
        Some(difference) => difference,
        None => return Fate::Stays,
    };
    match (&mark.stage, &kept.bookmark) {
        (Stage::Loading, _) | (Stage::Loaded, None) if is_planned => Fate::Goes,
        (Stage::Loaded, _) if run.task.kind.follows() => Fate::Parks(
            Problem::new(Fault::Data, "table-left-out", why)
                .advice("Reload the table, if the task is to have it as its mapping says now.")
                .table(&mark.source),
        ),
        // Parked already, or nothing that is followed.
        _ => Fate::Stays,
    }
}

/// What the target has under a name that the table no longer has.
fn fate_of_renamed(run: &Run, now: &TablePlan, mark: &TableMark) -> Fate {
    if !run.task.kind.follows() || matches!(mark.stage, Stage::Parked(_)) {
        return Fate::Stays;
    }
    let text = format!("{} is now named {}, and comes as a new table under that name", mark.source, now.name());
    Fate::Parks(
        Problem::new(Fault::Data, "table-changed", text)
            .advice("Nothing is written to its table in the target under the former name any more.")
            .table(&mark.source),
    )
}
