//! What would stand in the way of writing a task's tables.

use std::collections::HashMap;

use wavemark_connector::TaskContext;
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Problem, TableName, TablePlan};

use super::fault::problem;
use super::table::{self, must_have_key};
use super::{create, own, prepare};
use crate::wire::{Connection, WireError};

/// The most characters that a name has.
const LONGEST_NAME: usize = 64;

/// See [`wavemark_connector::target::Target::assess`].
pub(crate) async fn assess(
    connection: &mut Connection,
    task: &TaskContext,
    plan: &[TablePlan],
) -> Result<Vec<Finding>, Problem> {
    let mut findings = server(connection).await?;
    findings.extend(names(plan));
    let makes = create::Server::of(connection).await?;
    for one in plan {
        let keeps = keeps(connection, task, one).await?;
        if keeps {
            findings.extend(existing(connection, task, one).await);
        }
        if task.kind.loads() {
            findings.extend(own::not_carried_over(connection, one, keeps).await?);
            let seen = create::seen(one, &makes).into_iter();
            findings.extend(seen.map(|left| Finding::not_carried_over(one.name(), left)));
        }
    }
    Ok(findings)
}

fn finding(weight: Weight, code: &str, text: String, mend: Option<&str>) -> Finding {
    Finding { weight, code: code.to_owned(), text, mend: mend.map(str::to_owned) }
}

async fn server(connection: &mut Connection) -> Result<Vec<Finding>, Problem> {
    const SQL: &str = "SELECT @@global.read_only, @@local_infile, @@global.log_bin, @@session.binlog_format, \
        @@global.innodb_flush_log_at_trx_commit, @@global.sync_binlog";
    let failed = |cause: WireError| problem(&cause, "look at the target server");
    let rows = connection.query(SQL).await.map_err(failed)?;
    let is_on =
        |at| rows.first().and_then(|row| row.text(at)).is_some_and(|value| matches!(value.as_str(), "1" | "ON"));
    let mut findings = Vec::new();
    if is_on(0) {
        let text = "The target server is read-only (read_only): it is a replica, or was set so.".to_owned();
        findings.push(finding(Weight::Blocker, "target-read-only", text, None));
    }
    if !is_on(1) {
        let text =
            "The target server takes no LOAD DATA from its clients (local_infile is OFF): rows are loaded by inserts \
                    of many rows, which is slower."
                .to_owned();
        findings.push(finding(Weight::Warning, "local-infile", text, Some("SET GLOBAL local_infile = ON")));
    }
    let format = rows.first().and_then(|row| row.text(3)).unwrap_or_default();
    if is_on(2) && format.eq_ignore_ascii_case("STATEMENT") {
        let text =
            "The target server logs statements (binlog_format is STATEMENT), which it refuses for what is written \
                    here."
                .to_owned();
        findings.push(finding(Weight::Blocker, "target-binlog-format", text, Some("SET GLOBAL binlog_format = ROW")));
    }
    let flushes = rows.first().and_then(|row| row.text(4)).unwrap_or_default();
    let syncs = rows.first().and_then(|row| row.text(5)).unwrap_or_default();
    if flushes != "1" || (is_on(2) && syncs != "1") {
        let text = format!(
            "The target server does not write every commit to its disk (innodb_flush_log_at_trx_commit is {flushes}, \
             sync_binlog {syncs}): if its machine dies it may lose waves that the source was told to forget."
        );
        let mend = "SET GLOBAL innodb_flush_log_at_trx_commit = 1; SET GLOBAL sync_binlog = 1";
        findings.push(finding(Weight::Warning, "target-not-durable", text, Some(mend)));
    }
    Ok(findings)
}

/// The server does not tell column names apart by case.
fn names(plan: &[TablePlan]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: HashMap<&TableName, &TablePlan> = HashMap::new();
    let mut found = |code: &str, text: String| findings.push(finding(Weight::Blocker, code, text, None));
    for one in plan {
        let other = *first.entry(&one.target).or_insert(one);
        if !std::ptr::eq(other, one) {
            found("target-collision", format!("{} and {} both go to {}.", other.name(), one.name(), one.target));
        }
        let columns = || one.columns.iter().map(|column| &column.target_name);
        let is_long = |name: &&String| name.chars().count() > LONGEST_NAME;
        if let Some(name) = columns().chain([&one.target.schema, &one.target.table]).find(is_long) {
            let text = format!("The name {name} of {} is longer than {LONGEST_NAME} characters.", one.target);
            found("target-name-too-long", text);
        }
        for (at, column) in columns().enumerate() {
            if columns().take(at).any(|other| other.to_lowercase() == column.to_lowercase()) {
                found("target-collision", format!("Two columns of {} go to {column}.", one.name()));
            }
        }
    }
    findings
}

/// Whether the table is there, and the task keeps it.
async fn keeps(connection: &mut Connection, task: &TaskContext, plan: &TablePlan) -> Result<bool, Problem> {
    let keeps = !task.kind.loads() || task.settings.preparation != Preparation::DropAndCreate;
    Ok(keeps && table::look(connection, &plan.target).await?.is_some())
}

/// What is wrong with a table that is kept.
async fn existing(connection: &mut Connection, task: &TaskContext, plan: &TablePlan) -> Vec<Finding> {
    let fits = table::read(connection, plan).await.and_then(|target| must_have_key(plan, &target));
    let takes_rows = if task.kind.loads() && task.settings.preparation == Preparation::Nothing {
        prepare::must_be_empty_or_ours(connection, task.task.0, plan).await
    } else {
        Ok(())
    };
    let blocker = |problem: Problem| Finding {
        weight: Weight::Blocker,
        code: problem.code,
        text: problem.text,
        mend: problem.advice,
    };
    [fits, takes_rows].into_iter().filter_map(Result::err).map(blocker).collect()
}
