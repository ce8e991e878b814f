//! What the server keeps about tables, and makes of them, brought up to date for whoever takes the target over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_postgres::Client;
use wavemark_connector::target::Refresh;
use wavemark_domain::{Fault, Problem, TablePlan};

use super::fault::problem;
use super::table::quote_table;

/// The tables, and what their rows are in or come through: partitions and what they are partitions of.
const TABLES: &str = "\
    SELECT c.oid FROM pg_class c WHERE c.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) name) \
    UNION SELECT t.relid::oid FROM unnest($1::text[]) name, pg_partition_tree(to_regclass(name)) t \
    UNION SELECT a.relid::oid FROM unnest($1::text[]) name, pg_partition_ancestors(to_regclass(name)) a";

/// Which views read which of the tables, directly or through other views.
const READERS: &str = "\
    WITH RECURSIVE edges AS ( \
        SELECT DISTINCT r.ev_class AS view, d.refobjid AS reads FROM pg_rewrite r \
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class), \
    touched(oid) AS ( \
        SELECT unnest($1::oid[]) UNION SELECT e.view FROM touched t JOIN edges e ON e.reads = t.oid) \
    SELECT e.view, e.reads, c.relkind = 'm', format('%I.%I', n.nspname, c.relname) \
    FROM edges e JOIN touched t ON t.oid = e.reads JOIN pg_class c ON c.oid = e.view \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') ORDER BY 4";

/// Has the server end what goes on for a worker that is gone.
const GONE: &str = "SET client_connection_check_interval = '1s'";

/// See [`wavemark_connector::target::Session::refresh`].
pub(super) async fn refresh(
    client: &Client,
    version: i32,
    plan: &[TablePlan],
    what: Refresh,
    told: &(dyn Fn(String) + Sync),
) -> Vec<Problem> {
    let mut left = Vec::new();
    if version >= 140_000
        && let Err(error) = client.batch_execute(GONE).await
    {
        left.push(problem(&error, "set up a session"));
        return left;
    }
    if what.statistics {
        left.extend(analyze(client, version, plan, told).await);
    }
    if what.materialized_views {
        left.extend(views(client, plan, told).await);
    }
    left
}

async fn analyze(client: &Client, version: i32, plan: &[TablePlan], told: &(dyn Fn(String) + Sync)) -> Vec<Problem> {
    let mut left = Vec::new();
    let mut count = 0;
    for table in plan {
        match analyze_one(client, version, table).await {
            Ok(()) => count += 1,
            Err(problem) => left.push(problem.table(table.name())),
        }
    }
    told(format!("The statistics of {count} tables are made anew"));
    left
}

/// To whom a table isn't, the server only gives a warning.
async fn analyze_one(client: &Client, version: i32, table: &TablePlan) -> Result<(), Problem> {
    let failed = |error: tokio_postgres::Error| problem(&error, &format!("make the statistics of {}", table.target));
    let granted = if version >= 170_000 { " OR has_table_privilege(c.oid, 'MAINTAIN')" } else { "" };
    let sql = format!(
        "SELECT pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE'){granted} \
         FROM pg_class c, pg_database d WHERE c.oid = to_regclass($1) AND d.datname = current_database()"
    );
    let name = quote_table(&table.target);
    let may = client.query_opt(&sql, &[&name]).await.map_err(failed)?.is_none_or(|row| row.get(0));
    if !may {
        let text =
            format!("The endpoint's role may not make the statistics of {}, for it does not own it.", table.target);
        return Err(Problem::new(Fault::Settings, "missing-privilege", text).advice(format!("ANALYZE {name};")));
    }
    client.batch_execute(&format!("ANALYZE {name}")).await.map_err(failed)
}

async fn views(client: &Client, plan: &[TablePlan], told: &(dyn Fn(String) + Sync)) -> Vec<Problem> {
    let names = match readers(client, plan).await {
        Ok(names) => names,
        Err(error) => return vec![problem(&error, "look for the target's materialized views")],
    };
    let mut left = Vec::new();
    for name in names {
        let began = Instant::now();
        match client.batch_execute(&format!("REFRESH MATERIALIZED VIEW {name}")).await {
            Ok(()) => told(format!(
                "Materialized view {name} is refreshed, which took {:.1} s",
                began.elapsed().as_secs_f64()
            )),
            Err(error) => {
                let problem = problem(&error, &format!("refresh materialized view {name}"));
                let advice = problem.advice.clone();
                let own = || format!("REFRESH MATERIALIZED VIEW {name}; -- as its owner, once its reason is mended");
                left.push(problem.advice(advice.unwrap_or_else(own)));
            }
        }
    }
    left
}

/// The materialized views that read the tables, each after those that it reads.
async fn readers(client: &Client, plan: &[TablePlan]) -> Result<Vec<String>, tokio_postgres::Error> {
    let names: Vec<String> = plan.iter().map(|table| quote_table(&table.target)).collect();
    let tables: Vec<u32> = client.query(TABLES, &[&names]).await?.iter().map(|row| row.get(0)).collect();
    let mut reads: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut materialized: BTreeMap<u32, String> = BTreeMap::new();
    for row in client.query(READERS, &[&tables]).await? {
        let view: u32 = row.get(0);
        reads.entry(view).or_default().insert(row.get(1));
        if row.get(2) {
            materialized.insert(view, row.get(3));
        }
    }
    Ok(in_order(&reads).iter().filter_map(|view| materialized.get(view).cloned()).collect())
}

/// Views, each after those that it reads. Views that read each other in a circle come last, as they are.
fn in_order(reads: &BTreeMap<u32, BTreeSet<u32>>) -> Vec<u32> {
    let mut ordered = Vec::with_capacity(reads.len());
    let mut left: BTreeSet<u32> = reads.keys().copied().collect();
    while !left.is_empty() {
        let next: Vec<u32> =
            left.iter().copied().filter(|view| reads[view].iter().all(|read| !left.contains(read))).collect();
        if next.is_empty() {
            ordered.extend(&left);
            break;
        }
        left.retain(|view| !next.contains(view));
        ordered.extend(next);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_after_those_that_it_reads_and_a_circle_ends() {
        let reads = |pairs: &[(u32, &[u32])]| -> BTreeMap<u32, BTreeSet<u32>> {
            pairs.iter().map(|(view, reads)| (*view, reads.iter().copied().collect())).collect()
        };
        assert_eq!(in_order(&reads(&[(1, &[3, 100]), (2, &[1]), (3, &[4]), (4, &[100])])), [4, 3, 1, 2]);
        assert_eq!(in_order(&reads(&[(5, &[100]), (6, &[7, 5]), (7, &[6])])), [5, 6, 7]);
    }
}
