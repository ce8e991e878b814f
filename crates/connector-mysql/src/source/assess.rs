//! What stands in the way of following the log.

use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Fault, Problem};

use super::{retention, state};
use crate::settings::Settings;
use crate::wire::Connection;
use crate::{error, log};

/// The log's settings at the server.
pub(crate) async fn log(control: &mut Connection, settings: &Settings) -> Result<Vec<Finding>, Problem> {
    let mut findings = Vec::new();
    let Some(end) = state::end(control).await? else {
        return Ok(vec![blocker(state::no_log(settings))]);
    };
    match log::try_out(settings, &end).await {
        Ok(()) => {}
        Err(problem) if problem.fault == Fault::Settings => {
            let user = &settings.user;
            findings.push(blocker(problem.advice(format!("GRANT REPLICATION SLAVE ON *.* TO `{user}`;"))));
        }
        Err(problem) => return Err(problem),
    }
    findings.extend(retention::assess(control).await?);
    let wanted = [
        ("binlog_format", "ROW", Weight::Blocker, "Changes are logged as statements, which say nothing of rows"),
        (
            "binlog_row_image",
            "FULL",
            Weight::Warning,
            "Rows are logged in part: inserts that leave out a column whose default is not known exactly end their table",
        ),
    ];
    for (name, value, weight, why) in wanted {
        let rows = control.query(&format!("SELECT @@global.{name}")).await;
        let rows = rows.map_err(|cause| error::problem(&cause, "look at the log's settings"))?;
        let found = rows.first().and_then(|row| row.text(0)).unwrap_or_default();
        if !found.eq_ignore_ascii_case(value) {
            findings.push(Finding {
                weight,
                code: name.replace('_', "-"),
                text: format!("{why} ({name} is {found})."),
                mend: Some(format!("SET GLOBAL {name} = {value}; -- for sessions that connect from then on")),
            });
        }
    }
    Ok(findings)
}

fn blocker(problem: Problem) -> Finding {
    Finding { weight: Weight::Blocker, code: problem.code, text: problem.text, mend: problem.advice }
}
