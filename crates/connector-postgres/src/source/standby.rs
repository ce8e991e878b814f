//! A standby as source. Its log can be decoded from version 16 on, and a slot there is its own; but nothing can be
//! written to it, so the publication is made at its primary, by a person, and comes to it with the log.
//!
//! Such a publication has the name of the task's generation and epoch 0, which no worker is ever granted: slots still
//! carry the epoch that made them. It has to be there before the slot, as any; and it stays in use when the standby is
//! promoted. A reload, which is a new generation, asks for a new one.

use tokio_postgres::Client;
use wavemark_connector::TaskContext;
use wavemark_domain::{Fault, Problem, TableName, TablePlan};

use super::names::by_hand;
use super::slot;
use crate::assess::LEAST_STANDBY_VERSION;
use crate::error;

/// What a slot at a standby waits for.
pub(super) const NEEDS_RECORD: &str = "At a standby it also waits for a record that its primary writes now and then, \
    not while it is idle: SELECT pg_log_standby_snapshot(); at the primary.";

/// Whether the server is a standby now. One whose log can't be decoded is refused.
pub(super) async fn is_one(control: &Client) -> Result<bool, Problem> {
    let row = control
        .query_one("SELECT pg_is_in_recovery(), current_setting('server_version_num')::int4", &[])
        .await
        .map_err(|error| error::driver(&error, "ask whether the source is a standby"))?;
    let version: i32 = row.get(1);
    if row.get(0) && version < LEAST_STANDBY_VERSION {
        let text = format!(
            "The source is a standby of version {}: the log of a standby can be followed from version 16 on.",
            version / 10_000
        );
        return Err(Problem::new(Fault::Settings, "standby", text).advice("Use its primary as the source."));
    }
    Ok(row.get(0))
}

/// Proves that the primary has published the plan under the name for this generation; else says how it must.
pub(super) async fn is_published(control: &Client, task: &TaskContext, plan: &[TablePlan]) -> Result<(), Problem> {
    let name = by_hand(task);
    let create = slot::statement(task, &name, plan)?;
    let Some(published) = slot::Published::read(control, &name).await? else {
        return Err(needed(
            format!("The source is a standby, and its primary has no publication {name} yet."),
            &create,
        ));
    };
    if !published.is_as_made() {
        let text = format!("The publication {name} is not as it has to be.");
        return Err(needed(text, &format!("DROP PUBLICATION {name}; {create}")));
    }
    slot::publish_more_at_primary(control, task, &name, plan).await
}

/// The problem that only somebody at the primary can solve.
pub(super) fn needed(text: String, statement: &str) -> Problem {
    Problem::new(Fault::Settings, "publication-needed", text)
        .advice(format!("Run at the primary of the source, then resume the task: {statement}"))
}

/// The same for tables that are not in the publication.
pub(super) fn lacks(name: &str, tables: &[&TableName], statement: &str) -> Problem {
    let list: Vec<String> = tables.iter().take(5).map(ToString::to_string).collect();
    let more = if tables.len() > list.len() { " and others" } else { "" };
    let text = format!(
        "The publication {name} lacks {}{more}, or has other rows of it, and the source is a standby.",
        list.join(", ")
    );
    needed(text, statement)
}

/// A problem of a load beside tables that are followed, which only a person can solve: the load waits, and is tried again
/// by itself.
pub(super) fn waited_for(problem: Problem) -> Problem {
    let advice = problem.advice.map(|advice| advice.replacen("then resume the task", "then it goes on by itself", 1));
    Problem { fault: Fault::Transient, advice, ..problem }
}
