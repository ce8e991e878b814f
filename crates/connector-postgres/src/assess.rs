//! What would stand in the way of loading and following tables, each with the statement that mends it.

mod large_objects;
mod left;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::{Client, Row};
use wavemark_connector::TaskContext;
use wavemark_domain::catalog::TableKind;
use wavemark_domain::check::{Finding, Weight};
use wavemark_domain::{Problem, Table, TablePlan};

use crate::error;
use crate::managed;
use crate::native::{ColumnNative, TableNative};
use crate::source::{identity, is_named, quoted};
use crate::wire::quote_identifier;

/// From how many tables on it is asked whether the server can lock them.
const MANY: usize = 500;

/// The version from which a source can be loaded from.
const LEAST_LOAD_VERSION: i32 = 130_000;

/// The version from which a source's log can be read: binary values, and transactions streamed while in progress.
pub(crate) const LEAST_SOURCE_VERSION: i32 = 140_000;

/// The version from which a standby's log can be decoded.
pub(crate) const LEAST_STANDBY_VERSION: i32 = 160_000;

const SERVER: &str = "\
    SELECT current_setting('server_version_num')::int4, current_setting('wal_level'), \
           current_setting('max_replication_slots')::int8, (SELECT count(*) FROM pg_replication_slots), \
           current_setting('max_wal_senders')::int8, (SELECT count(*) FROM pg_stat_get_wal_senders()), \
           (SELECT CASE WHEN most < 0 THEN -1 ELSE most / 1048576 END \
            FROM pg_size_bytes(current_setting('max_slot_wal_keep_size')) most), \
           r.rolsuper, r.rolreplication OR coalesce(pg_has_role(rds.oid, 'MEMBER'), false), \
           has_database_privilege(current_database(), 'CREATE'), current_user::text, current_database()::text, \
           pg_is_in_recovery(), current_setting('hot_standby_feedback')::bool, \
           (SELECT count(*) FROM pg_stat_get_wal_senders() s JOIN pg_replication_slots p ON p.active_pid = s.pid \
            WHERE p.slot_type = 'physical'), current_setting('synchronized_standby_slots', true), \
           current_setting('server_encoding'), \
           coalesce((SELECT setting::int8 FROM pg_settings WHERE name = 'idle_replication_slot_timeout'), 0)";

const SERVER_ROLES: &str = "\
    FROM pg_roles r LEFT JOIN pg_roles rds ON rds.rolname = 'rds_replication' WHERE r.rolname = current_user";

/// What a role may do with a table, and what of the table matters to a reader. By OID.
const TABLES: &str = "\
    SELECT c.oid, has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE'), \
           pg_has_role(c.relowner, 'USAGE'), c.relpersistence = 'u', \
           EXISTS (SELECT FROM pg_class l WHERE l.relrowsecurity AND row_security_active(l.oid) \
                   AND (l.oid = c.oid OR l.oid IN (SELECT t.relid FROM pg_partition_tree(c.oid) t))), \
           EXISTS (SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid \
                   WHERE c.relkind = 'p' AND t.isleaf AND l.relreplident <> 'f'), \
           EXISTS (SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid \
                   WHERE c.relkind = 'p' AND l.relkind = 'f') \
    FROM pg_class c WHERE c.oid = any($1)";

/// Transactions that keep a new slot waiting: prepared ones, and those that have been writing for long.
const OLD: &str = "\
    SELECT 'prepared', gid, extract(epoch FROM now() - prepared)::int8, 0 FROM pg_prepared_xacts \
    \
    UNION ALL \
    SELECT 'running', coalesce(usename::text, '?'), extract(epoch FROM now() - xact_start)::int8, pid \
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start < now() - interval '1 minute'";

/// Everything that was found, the worst first.
pub(crate) async fn assess(client: &Client, task: &TaskContext, plan: &[TablePlan]) -> Result<Vec<Finding>, Problem> {
    let tables: Vec<Arc<Table>> = plan.iter().map(|table| Arc::clone(&table.source)).collect();
    let failed = |error: tokio_postgres::Error| error::driver(&error, "assess the source");
    let mut findings = Vec::new();
    let row = client.query_one(&format!("{SERVER}, {} {SERVER_ROLES}", managed::IS_RDS), &[]).await.map_err(failed)?;
    let server = Server::of(&row);
    server.assess(task, &mut findings);
    for table in &tables {
        assess_shape(table, task, &mut findings);
    }
    let oids: Vec<u32> = tables.iter().map(|table| TableNative::of(table).map_or(0, |native| native.oid)).collect();
    let rows = client.query(TABLES, &[&oids]).await.map_err(failed)?;
    let rows: HashMap<u32, &Row> = rows.iter().map(|row| (row.get(0), row)).collect();
    for (table, oid) in tables.iter().zip(&oids) {
        match rows.get(oid) {
            Some(row) => server.assess_table(table, task, row, &mut findings),
            None => findings.push(finding(
                Weight::Blocker,
                "table-missing",
                format!("Table {} is not there any more.", table.name),
                None,
            )),
        }
    }
    if tables.len() >= MANY {
        findings.extend(few_locks(client, tables.len(), server.is_rds).await.map_err(failed)?);
    }
    findings.extend(large_objects::assess(client, &tables).await.map_err(failed)?);
    findings.extend(left::assess(client, &tables, &oids).await.map_err(failed)?);
    if task.kind.follows() {
        let old = client.query(OLD, &[]).await.map_err(failed)?;
        findings.extend(old.iter().map(old_transaction));
        findings.extend(rows::assess(client, plan, server.version).await?);
    }
    findings.sort_by_key(|finding| finding.weight);
    Ok(findings)
}

/// Whether the server's lock table has room for a task of so many tables: a load holds a lock on each until it is over, so
/// that none is rewritten meanwhile.
async fn few_locks(client: &Client, tables: usize, is_rds: bool) -> Result<Option<Finding>, tokio_postgres::Error> {
    let sql = "SELECT current_setting('max_locks_per_transaction')::int8, \
               current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8";
    let row = client.query_one(sql, &[]).await?;
    let (each, sessions): (i64, i64) = (row.get(0), row.get(1));
    let (needed, room) = (i64::try_from(tables).unwrap_or(i64::MAX), each.saturating_mul(sessions));
    Ok((needed.saturating_mul(2) > room).then(|| {
        let text = format!(
            "A load of {tables} tables locks all of them, and the source's lock table has room for {room} locks: it may \
             fail for want of shared memory."
        );
        let enough = (needed.saturating_mul(3) / sessions.max(1) + 64).to_string();
        finding(Weight::Warning, "few-locks", text, Some(managed::set(is_rds, "max_locks_per_transaction", &enough, true)))
    }))
}

/// A problem that would stop the task when it starts.
pub(crate) fn blocker(problem: &Problem) -> Finding {
    finding(Weight::Blocker, &problem.code, problem.text.clone(), problem.advice.clone())
}

fn finding(weight: Weight, code: &str, text: String, mend: Option<String>) -> Finding {
    Finding { weight, code: code.to_owned(), text, mend }
}

/// The server and the role as far as they matter.
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own")]
struct Server {
    version: i32,
    wal_level: String,
    slots: (i64, i64),
    senders: (i64, i64),
    keep_mib: i64,
    superuser: bool,
    replication: bool,
    may_create: bool,
    role: String,
    database: String,
    standby: bool,
    feedback: bool,
    /// Standbys that stream by a slot, and those that a task waits for (from version 17 on).
    standbys: i64,
    waits_for: Option<String>,
    encoding: String,
    /// After how many seconds a slot that nobody reads is given up; 0 for never (version 18 and newer).
    idle_limit: i64,
    is_rds: bool,
}

impl Server {
    fn of(row: &Row) -> Self {
        Self {
            version: row.get(0),
            wal_level: row.get(1),
            slots: (row.get(2), row.get(3)),
            senders: (row.get(4), row.get(5)),
            keep_mib: row.get::<_, Option<i64>>(6).unwrap_or(-1),
            superuser: row.get(7),
            replication: row.get(8),
            may_create: row.get(9),
            role: row.get(10),
            database: row.get(11),
            standby: row.get(12),
            feedback: row.get(13),
            standbys: row.get(14),
            waits_for: row.get(15),
            encoding: row.get(16),
            idle_limit: row.get(17),
            is_rds: row.get(18),
        }
    }

    fn assess(&self, task: &TaskContext, findings: &mut Vec<Finding>) {
        let mut add = |weight, code, text, mend: Option<&str>| {
            findings.push(finding(weight, code, text, mend.map(str::to_owned)));
        };
        if self.version < LEAST_LOAD_VERSION || (task.kind.follows() && self.version < LEAST_SOURCE_VERSION) {
            let text = format!(
                "The source has version {}: it can be loaded from 13 on, and its log be followed from 14 on.",
                self.version / 10_000
            );
            add(Weight::Blocker, "version", text, None);
        }
        if self.encoding == "SQL_ASCII" {
            let text = "The source's encoding is SQL_ASCII: the server doesn't know what its text is. It is copied byte by \
                        byte; a target of another encoding refuses text that isn't UTF-8, row by row.";
            add(Weight::Warning, "encoding-unknown", text.to_owned(), Some("-- use a target of encoding SQL_ASCII"));
        }
        if !task.kind.follows() {
            return;
        }
        if self.wal_level != "logical" {
            let text = format!("wal_level is {}: the source's log doesn't hold what following needs.", self.wal_level);
            add(Weight::Blocker, "wal-level", text, Some(&managed::set_logical(self.is_rds)));
        }
        if self.standby && self.version < LEAST_STANDBY_VERSION {
            let text = format!(
                "The source is a standby of version {}: its log can be followed from version 16 on.",
                self.version / 10_000
            );
            add(Weight::Blocker, "standby", text, Some("-- use its primary as the source"));
        } else if self.standby {
            let text = "The source is a standby: its publication must be made at its primary; the task's first start \
                        tells the statement, and so does each reload of the task.";
            add(Weight::Note, "standby", text.to_owned(), None);
        }
        if self.standby && !self.feedback {
            let text =
                "hot_standby_feedback is off: the primary removes what the slot needs, and the position is lost.";
            let mend = "ALTER SYSTEM SET hot_standby_feedback = on; SELECT pg_reload_conf(); -- at the standby";
            add(Weight::Blocker, "no-standby-feedback", text.to_owned(), Some(mend));
        }
        if !self.superuser && !self.replication {
            let text = format!("Role {} may not replicate.", self.role);
            let mend = managed::grant_replication(self.is_rds, &self.role);
            add(Weight::Blocker, "no-replication-right", text, Some(&mend));
        }
        if !self.standby && !self.superuser && !self.may_create {
            let text = format!("Role {} may not make a publication in database {}.", self.role, self.database);
            let mend = format!(
                "GRANT CREATE ON DATABASE {} TO {};",
                quote_identifier(&self.database),
                quote_identifier(&self.role)
            );
            add(Weight::Blocker, "no-create-right", text, Some(&mend));
        }
        // One for the task, and one for a moment when an interrupted load goes on.
        let left = |(most, used): (i64, i64)| most - used;
        if left(self.slots) < 1 {
            let text = format!("All {} replication slots are in use.", self.slots.0);
            let mend = managed::set(self.is_rds, "max_replication_slots", "20", true);
            add(Weight::Blocker, "no-slots-left", text, Some(&mend));
        } else if left(self.slots) < 2 {
            let text =
                "One replication slot is left; a load that is interrupted needs a second one to go on.".to_owned();
            let mend = managed::set(self.is_rds, "max_replication_slots", "20", true);
            add(Weight::Warning, "few-slots-left", text, Some(&mend));
        }
        if left(self.senders) < 2 {
            let text = format!("{} of {} WAL senders are in use; two are needed.", self.senders.1, self.senders.0);
            let mend = managed::set(self.is_rds, "max_wal_senders", "20", true);
            add(Weight::Blocker, "no-senders-left", text, Some(&mend));
        }
        if self.standbys > 0 && self.waits_for.as_deref() == Some("") {
            let text = "A standby streams from the source, and synchronized_standby_slots is empty: a task may be ahead of \
                        the standby that takes over one day, and must be reloaded then.";
            let mend = "ALTER SYSTEM SET synchronized_standby_slots = '…'; -- the slots of the standbys; see \
                        sync_replication_slots there";
            add(Weight::Note, "failover-behind", text.to_owned(), Some(mend));
        }
        self.assess_limit(findings);
    }

    fn assess_limit(&self, findings: &mut Vec<Finding>) {
        if self.idle_limit > 0 {
            let text = format!(
                "idle_replication_slot_timeout is {} s: a task that is stopped for longer, or whose load takes longer, has \
                 lost its position.",
                self.idle_limit
            );
            let mend = managed::set(self.is_rds, "idle_replication_slot_timeout", "0", false);
            findings.push(finding(Weight::Warning, "idle-slots-dropped", text, Some(mend)));
        }
        let mend = |mib: &str| Some(managed::set(self.is_rds, "max_slot_wal_keep_size", mib, false));
        if self.keep_mib < 0 {
            let text =
                "max_slot_wal_keep_size has no limit: while the task stands still the source keeps its log until \
                        the disk is full."
                    .to_owned();
            findings.push(finding(Weight::Note, "log-unlimited", text, mend("102400")));
        } else if self.keep_mib < 1024 {
            let text = format!(
                "max_slot_wal_keep_size is {} MiB: if the task falls further behind than that it must be reloaded.",
                self.keep_mib
            );
            findings.push(finding(Weight::Warning, "log-limit-small", text, mend("10240")));
        }
    }

    fn assess_table(&self, table: &Table, task: &TaskContext, row: &Row, findings: &mut Vec<Finding>) {
        let name = quoted(&table.name);
        let role = quote_identifier(&self.role);
        let mut add = |weight, code, text, mend| findings.push(finding(weight, code, text, mend));
        if !row.get::<_, bool>(1) {
            let text = format!("Role {} may not read table {}.", self.role, table.name);
            let schema = quote_identifier(&table.name.schema);
            let mend = format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON {name} TO {role};");
            add(Weight::Blocker, "no-select-right", text, Some(mend));
        }
        if row.get::<_, bool>(4) {
            let text = format!(
                "Row-level security of table {} or of a partition of it applies to role {}: rows would be missing.",
                table.name, self.role
            );
            add(Weight::Blocker, "row-security", text, Some(format!("ALTER ROLE {role} BYPASSRLS;")));
        }
        if row.get::<_, bool>(6) {
            let text = format!("Table {} has a partition that is a foreign table.", table.name);
            add(Weight::Blocker, "foreign-partition", text, None);
        }
        if !task.kind.follows() || table.kind == TableKind::View {
            return;
        }
        if !self.standby && !self.superuser && !row.get::<_, bool>(2) && !is_named(task) {
            let text = format!("Only the owner of table {} may publish it, and role {} isn't.", table.name, self.role);
            add(Weight::Blocker, "not-owner", text, Some(format!("ALTER TABLE {name} OWNER TO {role};")));
        }
        if row.get::<_, bool>(3) {
            let text = format!("Table {} is unlogged: its changes are not in the log.", table.name);
            add(Weight::Blocker, "unlogged", text, Some(format!("ALTER TABLE {name} SET LOGGED;")));
        }
        if table.kind == TableKind::Partitioned {
            self.assess_partitions(table, row, findings);
        }
    }

    #[expect(clippy::unused_self, reason = "one of a family")]
    fn assess_partitions(&self, table: &Table, row: &Row, findings: &mut Vec<Finding>) {
        if table.key.is_empty() && row.get::<_, bool>(5) {
            let text = format!(
                "Table {} has no key, and not each of its partitions has replica identity full: their updates would fail.",
                table.name
            );
            let mend = format!(
                "SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL;', relid) FROM pg_partition_tree({}) \\gexec",
                format_args!("'{}'", quoted(&table.name).replace('\'', "''"))
            );
            findings.push(finding(Weight::Blocker, "no-replica-identity", text, Some(mend)));
        }
        let text = format!(
            "Partitions of {} that are attached, detached, dropped or truncated by themselves leave no trace in the log: \
             reload the table after that.",
            table.name
        );
        findings.push(finding(Weight::Note, "partitions", text, None));
    }
}

/// What the table's own description says.
fn assess_shape(table: &Table, task: &TaskContext, findings: &mut Vec<Finding>) {
    let native = TableNative::of(table).unwrap_or_default();
    if task.kind.follows() && table.kind == TableKind::View {
        let what = match native.relkind.as_str() {
            "m" => "a materialized view",
            "f" => "a foreign table",
            _ => "a view",
        };
        let text = format!("{} is {what}: it can be loaded but its changes are not in the log.", table.name);
        findings.push(finding(Weight::Blocker, "not-followable", text, None));
    } else if task.kind.follows() && !identity(table) {
        let text = format!(
            "Table {} has neither a primary key (a deferrable one is none here) nor a replica identity: published, its updates and deletes would fail.",
            table.name
        );
        let mend = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", quoted(&table.name));
        findings.push(finding(Weight::Blocker, "no-replica-identity", text, Some(mend)));
    } else if table.key.is_empty() && table.kind != TableKind::View {
        let text = format!(
            "Table {} has no key: its changes are applied row by row, and an interrupted load begins again.",
            table.name
        );
        findings.push(finding(Weight::Note, "no-key", text, None));
    }
    for column in table.columns.iter().filter(|column| !column.generated) {
        if !ColumnNative::of(column).is_ok_and(|native| native.r#type.has_binary) {
            let text = format!(
                "Column {}.{} has type {}, which has no binary form and can't travel: remove the column from the task \
                 (rule action remove-column).",
                table.name, column.name, column.declared
            );
            findings.push(finding(Weight::Blocker, "type-without-binary-form", text, None));
        }
    }
}

fn old_transaction(row: &Row) -> Finding {
    let (kind, name, seconds): (&str, &str, i64) = (row.get(0), row.get(1), row.get(2));
    let age = format!("{} min", seconds / 60);
    if kind == "prepared" {
        let text = format!("The prepared transaction {name} is {age} old; a new slot waits until it ends.");
        let mend = format!("ROLLBACK PREPARED '{}'; -- or COMMIT PREPARED", name.replace('\'', "''"));
        return finding(Weight::Warning, "prepared-transaction", text, Some(mend));
    }
    let pid: i32 = row.get(3);
    let text =
        format!("Server process {pid} (role {name}) has a transaction that is {age} old; a new slot waits for it.");
    finding(Weight::Warning, "long-transaction", text, Some(format!("SELECT pg_terminate_backend({pid});")))
}
