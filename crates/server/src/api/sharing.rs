//! Two tasks into one target table: warned, and refused where the preparation drops or truncates.

use std::collections::BTreeSet;

use wavemark_domain::mapping::Mappings;
use wavemark_domain::progress::Severity;
use wavemark_domain::task::Preparation;
use wavemark_domain::{EndpointId, TableName};
use wavemark_store::events::{self, About};
use wavemark_store::tasks::{self, Locked};
use wavemark_store::{PgConnection, endpoints, task_tables};

use crate::problem::{ApiProblem, ApiResult};

/// Compares what a task writes with what others on the same target write, as far as is known from reports and
/// from the sources' last discoveries.
pub(super) async fn check(connection: &mut PgConnection, task: &Locked, prepares: bool) -> ApiResult<()> {
    let config = tasks::config(connection, task.id, task.config_version).await?;
    let config = config.ok_or_else(|| ApiProblem::not_found("configuration"))?;
    let reported = task_tables::targets(connection, task.id).await?;
    let mut ours: BTreeSet<TableName> = reported.into_iter().collect();
    ours.extend(mapped(connection, config.source, &config.mappings).await?);
    for other in tasks::neighbours(connection, task.id, config.target).await? {
        let mut theirs: BTreeSet<TableName> = other.targets.into_iter().collect();
        theirs.extend(mapped(connection, other.source, &other.mappings).await?);
        let shared: Vec<String> = ours.intersection(&theirs).map(TableName::to_string).collect();
        if shared.is_empty() {
            continue;
        }
        let text = format!(
            "The task \"{}\" and the task \"{}\" write to the same target tables: {}.",
            task.name,
            other.name,
            listed(&shared)
        );
        let destroys = prepares && config.kind.loads() && config.settings.preparation != Preparation::Nothing;
        if destroys && !config.settings.force_shared_target {
            let advice = "Its preparation would remove the other's rows. Set force_shared_target if that is wanted.";
            return Err(ApiProblem::conflict("shared-target", format!("{text} {advice}")));
        }
        let about = About { task: Some((task.id, &task.name)), config: Some(task.config_version), ..About::default() };
        events::note(connection, about, Severity::Warning, "shared-target", &text, None).await?;
    }
    Ok(())
}

fn listed(tables: &[String]) -> String {
    match tables {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

async fn mapped(
    connection: &mut PgConnection,
    source: EndpointId,
    mappings: &serde_json::Value,
) -> ApiResult<Vec<TableName>> {
    let Some((_, tables)) = endpoints::discovery(connection, source).await? else { return Ok(Vec::new()) };
    let Ok(mappings) = Mappings::parse(mappings) else { return Ok(Vec::new()) };
    let selected = tables.iter().filter(|table| mappings.selects(&table.name));
    Ok(selected.map(|table| mappings.target(&table.name)).collect())
}
