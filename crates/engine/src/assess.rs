//! What stands in the way of a task: asked for by a person, and told when a task starts for the first time.

use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::extras::LeftOut;
use wavemark_domain::progress::{Severity, TaskEventRecord};
use wavemark_domain::{ColumnPlan, Extras, Problem, TablePlan};

use crate::plan::{self, Planned};
use crate::run::Run;

/// What stands in the way of a task, worst first: what both systems find, and the tables that can't travel.
pub async fn assess(run: &Run) -> Result<Vec<Finding>, Problem> {
    let tables = run.source.tables(&|name| run.mappings.selects(name)).await?;
    let (source, target) = (run.source.as_ref(), run.target.as_ref());
    let planned = plan::make(tables, run.rules(), &run.source_engine, source, target);
    findings(run, &planned).await
}

async fn findings(run: &Run, planned: &Planned) -> Result<Vec<Finding>, Problem> {
    let mut findings = run.source.assess(&run.task, &planned.tables).await?;
    findings.extend(run.target.assess(&run.task, &planned.tables).await?);
    findings.extend(planned.refused.iter().map(|(_, problem)| Finding {
        weight: Weight::Warning,
        code: problem.code.clone(),
        text: problem.text.clone(),
        mend: problem.advice.clone(),
    }));
    if run.task.kind.loads() {
        findings.extend(not_carried_over(run, &planned.tables).await?);
    }
    if planned.tables.is_empty() {
        findings.push(no_tables(planned));
    }
    findings.sort_by_key(|finding| finding.weight);
    Ok(findings)
}

/// What tables have at the source and their copies will not have: what the source has no common word for, where the target is
/// another system, and what the target does not make of the rest.
async fn not_carried_over(run: &Run, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
    let made = run.target.makes(plan).await?;
    Ok(plan.iter().zip(&made).flat_map(|(table, made)| of_table(run, plan, table, made)).collect())
}

fn of_table(run: &Run, plan: &[TablePlan], table: &TablePlan, made: &Extras) -> Vec<Finding> {
    let mut extras = run.source.extras(&table.source);
    let left_out = std::mem::take(&mut extras.left_out);
    // Of a system like its own, the target knows.
    let mut left: Vec<LeftOut> = left_out.into_iter().filter(|_| table.declared.is_some()).collect();
    let name = |column: &ColumnPlan| (column.source, table.source.columns[column.source].name.as_str());
    let columns: Vec<(usize, &str)> = table.columns.iter().map(name).collect();
    let missing = extras.missing(made, &columns);
    left.extend(missing.iter().map(|one| one.left_out(run.target.statement(plan, table, one))));
    left.into_iter().map(|left| Finding::not_carried_over(table.name(), left)).collect()
}

/// Tells what was found as events. The start goes on: what truly stands in its way ends it with the same reason, or
/// parks the one table that it concerns.
pub(crate) async fn tell(run: &Run, planned: &Planned) {
    match findings(run, planned).await {
        Ok(findings) => findings.iter().for_each(|finding| run.status.found(finding)),
        Err(problem) => tracing::warn!("the task could not be assessed at its start: {problem}"),
    }
}

/// A finding as an event.
pub(crate) fn event(finding: &Finding, at: i64) -> TaskEventRecord {
    let severity = match finding.weight {
        Weight::Blocker | Weight::Warning => Severity::Warning,
        Weight::Note => Severity::Info,
    };
    let mend = finding.mend.as_ref().map(|mend| format!(" What mends it: {mend}")).unwrap_or_default();
    let text = format!("{}{mend}", finding.text);
    TaskEventRecord { at, severity, code: finding.code.clone(), text, table: None, problem: None }
}

fn no_tables(planned: &Planned) -> Finding {
    let text = if planned.refused.is_empty() {
        "No table of the source matches the selection rules; names are compared exactly, and % and _ are wildcards."
    } else {
        "None of the selected tables can be replicated; see the reasons above."
    };
    Finding { weight: Weight::Blocker, code: "no-tables".to_owned(), text: text.to_owned(), mend: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_finding_holds_the_statement_that_mends_it() {
        let finding = Finding {
            weight: Weight::Blocker,
            code: "wal-level".to_owned(),
            text: "wal_level is replica.".to_owned(),
            mend: Some("ALTER SYSTEM SET wal_level = logical;".to_owned()),
        };
        let event = event(&finding, 7);
        assert_eq!((event.severity, event.at), (Severity::Warning, 7));
        assert_eq!(event.text, "wal_level is replica. What mends it: ALTER SYSTEM SET wal_level = logical;");
    }
}
