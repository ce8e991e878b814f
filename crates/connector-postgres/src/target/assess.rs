//! What would stand in the way of writing a task's tables.

use std::collections::HashMap;

use wavemark_connector::TaskContext;
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Problem, TableName, TablePlan};

use super::create::keeps_names;
use super::fault::problem;
use super::session::must_have_key;
use super::table::{self, Relation, quote_table};
use crate::client::Connected;
use crate::wire::quote_identifier;

const OLDEST: i32 = 130_000;

/// See [`wavemark_connector::target::Target::assess`].
pub(crate) async fn assess(
    connected: &Connected,
    task: &TaskContext,
    plan: &[TablePlan],
) -> Result<Vec<Finding>, Problem> {
    let mut findings = server(connected).await?;
    findings.extend(collisions(plan));
    for one in plan {
        findings.extend(table(connected, task, one).await?);
    }
    Ok(findings)
}

fn finding(weight: Weight, code: &str, text: String, mend: Option<String>) -> Finding {
    Finding { weight, code: code.to_owned(), text, mend }
}

async fn server(connected: &Connected) -> Result<Vec<Finding>, Problem> {
    const SQL: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
        pg_catalog.current_setting('transaction_read_only') = 'on', \
        pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
        EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'wavemark'), \
        pg_catalog.current_database()::text, current_user::text, \
        pg_catalog.current_setting('server_encoding')";
    let row =
        connected.client.query_one(SQL, &[]).await.map_err(|error| problem(&error, "look at the target server"))?;
    let (standby, read_only, may_create, there): (bool, bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let (database, role, encoding): (String, String, String) = (row.get(4), row.get(5), row.get(6));
    let mut findings = Vec::new();
    if connected.version < OLDEST {
        let text = format!("The target server has version {}; 13 is the oldest.", connected.version / 10_000);
        findings.push(finding(Weight::Blocker, "target-too-old", text, None));
    }
    if standby || read_only {
        let text = "The target server is read-only: it is a standby, or its default is read-only.".to_owned();
        findings.push(finding(Weight::Blocker, "target-read-only", text, None));
    }
    let grant = format!("GRANT CREATE ON DATABASE {} TO {}", quote_identifier(&database), quote_identifier(&role));
    if !may_create && !there {
        let text = format!("Role {role} may not make schema wavemark in database {database}.");
        findings.push(finding(Weight::Blocker, "target-no-create", text, Some(grant)));
    }
    if !connected.replica {
        let text = format!(
            "Role {role} may not set session_replication_role: triggers on target tables fire, foreign keys are \
             made without actions and DEFERRABLE, and tables that have some are applied change by change, which is slower."
        );
        let mend = (connected.version >= 150_000)
            .then(|| format!("GRANT SET ON PARAMETER session_replication_role TO {}", quote_identifier(&role)));
        findings.push(finding(Weight::Warning, "target-triggers-fire", text, mend));
    }
    if encoding != "UTF8" {
        let text = format!("The target database has encoding {encoding}; texts that it can't hold are refused.");
        findings.push(finding(Weight::Warning, "target-encoding", text, None));
    }
    Ok(findings)
}

fn collisions(plan: &[TablePlan]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first: HashMap<&TableName, &TablePlan> = HashMap::new();
    for one in plan {
        let other = *first.entry(&one.target).or_insert(one);
        if !std::ptr::eq(other, one) {
            let text = format!("{} and {} both go to {}.", other.name(), one.name(), one.target);
            findings.push(finding(Weight::Blocker, "target-collision", text, None));
        }
        let too_long = one
            .columns
            .iter()
            .map(|column| &column.target_name)
            .chain([&one.target.schema, &one.target.table])
            .find(|name| name.len() > 63);
        if let Some(name) = too_long {
            let text = format!("The name {name} of {} is longer than 63 bytes.", one.target);
            findings.push(finding(Weight::Blocker, "target-name-too-long", text, None));
        }
        for (at, column) in one.columns.iter().enumerate() {
            if one.columns[..at].iter().any(|other| other.target_name == column.target_name) {
                let text = format!("Two columns of {} go to {}.", one.name(), column.target_name);
                findings.push(finding(Weight::Blocker, "target-collision", text, None));
            }
        }
        let generated = one.in_target().columns.iter().any(|column| column.generated);
        if generated && !keeps_names(one) {
            let text = format!(
                "{} has a generated column, which is not made in {} because columns are renamed.",
                one.name(),
                one.target
            );
            findings.push(finding(Weight::Warning, "generated-left-out", text, None));
        }
    }
    findings
}

const RIGHTS: &str = "SELECT pg_catalog.has_table_privilege($1, 'SELECT') \
    AND pg_catalog.has_table_privilege($1, 'INSERT') AND pg_catalog.has_table_privilege($1, 'UPDATE') \
    AND pg_catalog.has_table_privilege($1, 'DELETE') AND pg_catalog.has_table_privilege($1, 'TRUNCATE')";

/// Whether another task writes into the table, whether it fits, whether it has rows, whether it may be written.
async fn table(connected: &Connected, task: &TaskContext, plan: &TablePlan) -> Result<Vec<Finding>, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "look at the target's tables").table(plan.name());
    let client = &connected.client;
    let mut findings = Vec::new();
    if let Some(other) = other_task(connected, task, plan).await.map_err(failed)? {
        let destroys = task.settings.preparation != Preparation::Nothing && !task.settings.force_shared_target;
        let weight = if destroys { Weight::Blocker } else { Weight::Warning };
        let text = format!("Task {other} writes into {} too.", plan.target);
        findings.push(finding(weight, "target-shared", text, None));
    }
    let Some(relation) = table::look(client, &plan.target).await.map_err(failed)? else { return Ok(findings) };
    let dropped = task.kind.loads() && task.settings.preparation == Preparation::DropAndCreate;
    if !dropped && let Some(misfit) = relation.misfit(plan) {
        findings.push(finding(Weight::Blocker, &misfit.code, misfit.text, misfit.advice));
        return Ok(findings);
    }
    if !dropped && let Some(hidden) = relation.hides_rows(plan) {
        findings.push(finding(Weight::Blocker, &hidden.code, hidden.text, hidden.advice));
        return Ok(findings);
    }
    if !dropped {
        findings.extend(shape(connected, task, plan, &relation).await?);
    }
    let name = quote_table(&plan.target);
    let may: bool = client.query_one(RIGHTS, &[&name]).await.map_err(failed)?.get(0);
    if !may {
        let text = format!("The endpoint's role may not read and write {}.", plan.target);
        let mend = format!("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {name} TO CURRENT_USER");
        findings.push(finding(Weight::Blocker, "target-no-right", text, Some(mend)));
    } else if task.kind.loads()
        && task.settings.preparation == Preparation::Nothing
        && !is_written(connected, task, plan).await.map_err(failed)?
    {
        let sql = format!("SELECT EXISTS (SELECT FROM {})", relation.alone(plan));
        if client.query_one(&sql, &[]).await.map_err(failed)?.get(0) {
            let text = format!("{} has rows already, and the task's preparation is to do nothing.", plan.target);
            findings.push(finding(
                Weight::Blocker,
                "table-not-empty",
                text,
                Some(format!("TRUNCATE {}", relation.alone(plan))),
            ));
        }
    }
    Ok(findings)
}

/// What is to be known of a table that is there and fits.
async fn shape(
    connected: &Connected,
    task: &TaskContext,
    plan: &TablePlan,
    relation: &Relation,
) -> Result<Vec<Finding>, Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, "read the marks of tables").table(plan.name());
    let mut findings = Vec::new();
    let wider = relation.wider(plan);
    if !wider.is_empty() {
        let text = format!("The target table {} is wider than {}: {}.", plan.target, plan.name(), wider.join("; "));
        findings.push(finding(Weight::Note, "target-wider", text, None));
    }
    let mark = if schema_is_there(connected).await.map_err(failed)? {
        super::marks::begun(&connected.client, task.task.0, plan).await.map_err(failed)?
    } else {
        None
    };
    // One that we made has its key from the end of its load on.
    if mark.is_none_or(|mark| !mark.made) {
        let target = table::read(&connected.client, connected.version, plan).await?;
        if let Err(problem) = must_have_key(plan, &target) {
            findings.push(finding(Weight::Blocker, &problem.code, problem.text, problem.advice));
        }
    }
    Ok(findings)
}

/// Whether rows that are there are the task's own.
async fn is_written(
    connected: &Connected,
    task: &TaskContext,
    plan: &TablePlan,
) -> Result<bool, tokio_postgres::Error> {
    if !schema_is_there(connected).await? {
        return Ok(false);
    }
    Ok(super::marks::begun(&connected.client, task.task.0, plan).await?.is_some_and(|begun| begun.written))
}

async fn schema_is_there(connected: &Connected) -> Result<bool, tokio_postgres::Error> {
    let row = connected.client.query_one("SELECT pg_catalog.to_regclass('wavemark.tables') IS NOT NULL", &[]).await?;
    Ok(row.get(0))
}

async fn other_task(
    connected: &Connected,
    task: &TaskContext,
    plan: &TablePlan,
) -> Result<Option<String>, tokio_postgres::Error> {
    const SQL: &str = "SELECT f.name FROM wavemark.tables t JOIN wavemark.fence f USING (task) \
        WHERE t.task <> $1 AND t.target_schema = $2 AND t.target_table = $3 AND NOT f.tombstone LIMIT 1";
    if !schema_is_there(connected).await? {
        return Ok(None);
    }
    let row = connected.client.query_opt(SQL, &[&task.task.0, &plan.target.schema, &plan.target.table]).await?;
    Ok(row.map(|row| row.get(0)))
}
