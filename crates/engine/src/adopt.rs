//! Which of the tasks that a target knows another task could go on as.

use wavemark_connector::TaskContext;
use wavemark_connector::target::Kept;
use wavemark_domain::adopt::{self, Adoptable, KeptTask};
use wavemark_domain::{Position, Problem, TablePlan};

use crate::attempt::as_kept;
use crate::plan;
use crate::run::Run;

/// Looks at everything that the run's target holds. Nothing is changed, at the target or at the source.
pub async fn adoptable(run: &Run) -> Result<Vec<Adoptable>, Problem> {
    let tables = run.source.tables(&|name| run.mappings.selects(name)).await?;
    let (source, target) = (run.source.as_ref(), run.target.as_ref());
    let mut found = Vec::new();
    for (task, kept) in run.target.kept_tasks().await? {
        let tables = as_kept(run, tables.clone(), &kept);
        let planned = plan::make(tables, run.rules(), &run.source_engine, source, target);
        found.push(judge(run, &planned.tables, &task, &kept).await);
    }
    Ok(found)
}

async fn judge(run: &Run, plan: &[TablePlan], task: &KeptTask, kept: &Kept) -> Adoptable {
    let (mut refused, mut notes) = adopt::judge(task, run.task.kind, plan);
    // Whether the source still has the log is only worth asking if all else fits.
    if refused.is_empty() {
        match lost(run, task, kept).await {
            // Whoever moves the bookmark has the log: what was read of the two was not of one moment.
            Some(_) if moves(run, task, kept).await => notes.push(ALIVE.to_owned()),
            lost => refused.extend(lost),
        }
    }
    let bookmark = kept.bookmark.as_ref().map(|bookmark| run.source.describe(&bookmark.position));
    Adoptable {
        task: task.task,
        name: task.name.clone(),
        generation: task.generation,
        epoch: task.epoch,
        bookmark,
        tables: task.tables.iter().map(|table| table.source.clone()).collect(),
        refused,
        notes,
    }
}

const ALIVE: &str = "A worker still runs it: it is fenced as soon as the task goes on here.";

/// Whether the bookmark is another by now.
async fn moves(run: &Run, task: &KeptTask, before: &Kept) -> bool {
    let again = run.target.kept_tasks().await.unwrap_or_default();
    let now = again.into_iter().find(|(other, _)| other.task == task.task);
    now.is_some_and(|(_, now)| now.bookmark != before.bookmark)
}

async fn lost(run: &Run, task: &KeptTask, kept: &Kept) -> Option<String> {
    let began = || kept.tables.iter().map(|mark| &mark.began).min();
    let from: &Position = kept.bookmark.as_ref().map(|bookmark| &bookmark.position).or_else(began)?;
    let context = TaskContext { task: task.task, generation: task.generation, epoch: task.epoch, ..run.task.clone() };
    run.source.still_has(&context, from).await.err().map(|problem| problem.text)
}
