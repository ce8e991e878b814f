//! What belongs to the chosen tables, or stands beside them, and does not travel with them.

use std::sync::Arc;

use tokio_postgres::{Client, Error, Row};
use wavemark_domain::Table;
use wavemark_domain::check::{Finding, Weight};

use super::finding;
use crate::source::quoted;

/// So many tables are named.
const NAMED: i64 = 10;

/// Tables that inherit from a chosen one without being chosen, by the number of that: some of their names, and how many.
/// Partitions are no such tables.
const CHILDREN: &str = "\
    SELECT parent, array_agg(child ORDER BY nth) FILTER (WHERE nth <= $2), count(*) FROM ( \
      SELECT i.inhparent AS parent, n.nspname::text || '.' || c.relname::text AS child, \
             row_number() OVER (PARTITION BY i.inhparent ORDER BY n.nspname, c.relname) AS nth \
      FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid \
      JOIN pg_namespace n ON n.oid = c.relnamespace \
      WHERE p.relkind = 'r' AND i.inhparent = any($1) AND NOT i.inhrelid = any($1)) AS children GROUP BY parent";

/// Triggers, rules and policies of the tables; sequences that no column uses and functions in their schemas.
const BESIDE: &str = "\
    WITH schemas AS (SELECT DISTINCT relnamespace AS oid FROM pg_class WHERE oid = any($1)) \
    SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = any($1) AND NOT tgisinternal), \
           (SELECT count(*) FROM pg_rewrite WHERE ev_class = any($1) AND rulename <> '_RETURN'), \
           (SELECT count(*) FROM pg_policy WHERE polrelid = any($1)), \
           (SELECT count(*) FROM pg_class s WHERE s.relkind = 'S' AND s.relnamespace IN (SELECT oid FROM schemas) \
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = s.oid AND d.classid = 'pg_class'::regclass \
                              AND d.refobjsubid > 0) \
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refobjid = s.oid AND d.refclassid = 'pg_class'::regclass \
                              AND d.classid = 'pg_attrdef'::regclass)), \
           (SELECT count(*) FROM pg_proc f WHERE f.pronamespace IN (SELECT oid FROM schemas) \
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = f.oid AND d.classid = 'pg_proc'::regclass \
                              AND d.deptype = 'e'))";

/// What is left behind, as far as there is any.
pub(super) async fn assess(client: &Client, tables: &[Arc<Table>], oids: &[u32]) -> Result<Vec<Finding>, Error> {
    let children = client.query(CHILDREN, &[&oids, &NAMED]).await?;
    let of = |oid: u32| tables.iter().zip(oids).find(|(_, number)| **number == oid).map(|(table, _)| table);
    let mut findings: Vec<Finding> =
        children.iter().filter_map(|row| of(row.get(0)).map(|parent| not_chosen(parent, row))).collect();
    findings.extend(beside(&client.query_one(BESIDE, &[&oids]).await?));
    Ok(findings)
}

fn not_chosen(parent: &Table, row: &Row) -> Finding {
    let (named, all): (Vec<String>, i64) = (row.get(1), row.get(2));
    let more = if all > NAMED { format!(" and {} more", all - NAMED) } else { String::new() };
    let text = format!(
        "A task copies a table's own rows. Those of tables that inherit from {} are shown with it at the source, and are not \
         chosen: {}{more}.",
        parent.name,
        named.join(", ")
    );
    let mend = format!("-- choose them, too; what is in the table itself: SELECT FROM ONLY {}", quoted(&parent.name));
    finding(Weight::Warning, "inherited-rows", text, Some(mend))
}

fn beside(row: &Row) -> Option<Finding> {
    let kinds = ["trigger", "rule", "policy", "sequence that no column uses", "function"];
    let many = ["triggers", "rules", "policies", "sequences that no column uses", "functions"];
    let counted = |(at, (one, many)): (usize, (&str, &str))| match row.get::<_, i64>(at) {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let found: Vec<String> = kinds.into_iter().zip(many).enumerate().filter_map(counted).collect();
    (!found.is_empty()).then(|| {
        let text = format!("Of the chosen tables and their schemas this is not carried over: {}.", found.join(", "));
        let mend = "-- pg_dump --schema-only has them: restore there what is wanted".to_owned();
        finding(Weight::Note, "not-carried", text, Some(mend))
    })
}
