//! The SQL of single changes and of sets, per table; values are always bound or copied, names always quoted.

use super::table::{TargetColumn, TargetTable};

/// Puts off what constraints check that may be put off: the source may have, and the order within a wave is not always its
/// order.
pub(crate) const PUT_OFF: &str = "SET CONSTRAINTS ALL DEFERRED";

/// What a statement says when it touched another number of rows than one. Then no answer needs to be waited for
/// before the commit is sent.
fn guarded(table: &TargetTable, verb: &str, statement: &str) -> String {
    let what = postgres_protocol::escape::escape_literal(&format!("the {verb} of {}", table.name));
    format!(
        "WITH w AS ({statement} RETURNING 1) \
         SELECT CASE WHEN count(*) = 1 THEN 1 ELSE wavemark.mismatch({what}, count(*), 1) END FROM w"
    )
}

fn guard(on: bool, table: &TargetTable, verb: &str, statement: String) -> String {
    if on { guarded(table, verb, &statement) } else { statement }
}

/// Parameters: all columns.
pub(crate) fn insert(table: &TargetTable, guarded: bool) -> String {
    let values: Vec<String> =
        table.columns.iter().enumerate().map(|(at, column)| column.given(&format!("${}", at + 1))).collect();
    let sql = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
        table.name,
        table.column_list(),
        values.join(", ")
    );
    guard(guarded, table, "insert", sql)
}

/// Parameters: the columns of `set`, then the key. Columns that the server only makes itself must be what they are.
pub(crate) fn update(table: &TargetTable, set: &[usize], guarded: bool) -> String {
    let values: Vec<String> = (1..=set.len()).map(|n| format!("${n}")).collect();
    let assignments = assignments(table, set, &values);
    let condition = key_condition(table, |at| format!("${}", set.len() + at + 1));
    let sql = format!("UPDATE {} AS t SET {assignments} WHERE {condition}{}", table.alone(), as_made(table, set));
    guard(guarded, table, "update", sql)
}

/// Parameters: the key.
pub(crate) fn delete(table: &TargetTable, guarded: bool) -> String {
    let condition = key_condition(table, |at| format!("${}", at + 1));
    guard(guarded, table, "delete", format!("DELETE FROM {} AS t WHERE {condition}", table.alone()))
}

/// Takes the row away and puts it there again with the columns of `set` anew. Parameters: those, then the old key, or the
/// whole old row.
pub(crate) fn replace(table: &TargetTable, set: &[usize]) -> String {
    let first = set.len() + 1;
    let condition = if table.key.is_empty() {
        one_row(table, first)
    } else {
        key_condition(table, |at| format!("${}", first + at))
    };
    let value = |(at, column): (usize, &TargetColumn)| match set.iter().position(|given| *given == at) {
        Some(n) => column.typed(&format!("${}", n + 1)),
        None => format!("gone.{}", column.name),
    };
    let values: Vec<String> = table.columns.iter().enumerate().map(value).collect();
    format!(
        "WITH gone AS (DELETE FROM {0} AS t WHERE {condition} RETURNING t.*) \
         INSERT INTO {1} ({2}) OVERRIDING SYSTEM VALUE SELECT {3} FROM gone",
        table.alone(),
        table.name,
        table.column_list(),
        values.join(", ")
    )
}

/// The condition that columns that an UPDATE may not set are what they are to be.
fn as_made(table: &TargetTable, set: &[usize]) -> String {
    let made = set.iter().enumerate().map(|(n, at)| (n + 1, &table.columns[*at])).filter(|(_, column)| column.always);
    let terms = made
        .map(|(n, column)| format!(" AND t.{} IS NOT DISTINCT FROM {}", column.name, column.typed(&format!("${n}"))));
    terms.collect::<Vec<_>>().concat()
}

/// With nothing to set, a column is set to what it is, so that the statement still says whether the row is there.
fn assignments(table: &TargetTable, set: &[usize], values: &[String]) -> String {
    let pairs = set.iter().zip(values).map(|(at, value)| (&table.columns[*at], value));
    let pairs = pairs.filter(|(column, _)| !column.always);
    let pairs: Vec<String> =
        pairs.map(|(column, value)| format!("{} = {}", column.name, column.given(value))).collect();
    if pairs.is_empty() {
        let any = table.columns.iter().find(|column| !column.always).or(table.columns.first());
        return any.map_or_else(String::new, |column| format!("{0} = t.{0}", column.name));
    }
    pairs.join(", ")
}

fn key_condition(table: &TargetTable, value: impl Fn(usize) -> String) -> String {
    let terms = table.key.iter().enumerate().map(|(at, column)| {
        let column = &table.columns[*column];
        format!("t.{} {} {}", column.name, column.equals, column.typed(&value(at)))
    });
    terms.collect::<Vec<_>>().join(" AND ")
}

/// The condition that finds one row by all its old cells, byte for byte: equality of types is too lax for that
/// (1.0 = 1.00) or missing (json). Of rows that are the same it is any one.
fn one_row(table: &TargetTable, first: usize) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("x.{}", column.name)).collect();
    let values: Vec<String> =
        table.columns.iter().enumerate().map(|(at, column)| column.exactly(&format!("${}", first + at))).collect();
    let same =
        format!("ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record", columns.join(", "), values.join(", "));
    if table.partitioned {
        return format!(
            "(t.tableoid, t.ctid) IN (SELECT x.tableoid, x.ctid FROM {} AS x WHERE {same} LIMIT 1)",
            table.name
        );
    }
    format!("t.ctid = ANY (ARRAY(SELECT x.ctid FROM {} AS x WHERE {same} LIMIT 1))", table.alone())
}

/// Gives a row for each that has the key, or that is the same where the table has none. Parameters: the key or the row.
pub(crate) fn find(table: &TargetTable) -> String {
    let condition =
        if table.key.is_empty() { one_row(table, 1) } else { key_condition(table, |at| format!("${}", at + 1)) };
    format!("SELECT 1 FROM {} AS t WHERE {condition}", table.alone())
}

/// Parameters: the columns of `set`, then the whole old row.
pub(crate) fn update_keyless(table: &TargetTable, set: &[usize], guarded: bool) -> String {
    let values: Vec<String> = (1..=set.len()).map(|n| format!("${n}")).collect();
    let assignments = assignments(table, set, &values);
    let found = one_row(table, set.len() + 1);
    let sql = format!("UPDATE {} AS t SET {assignments} WHERE {found}{}", table.alone(), as_made(table, set));
    guard(guarded, table, "update", sql)
}

/// Parameters: the whole old row.
pub(crate) fn delete_keyless(table: &TargetTable, guarded: bool) -> String {
    guard(guarded, table, "delete", format!("DELETE FROM {} AS t WHERE {}", table.alone(), one_row(table, 1)))
}

/// Empties tables. One that foreign keys point at can't be truncated without what points at it.
pub(crate) fn truncate(tables: &[&TargetTable]) -> Vec<String> {
    let names = |referenced: bool| tables.iter().filter(move |table| table.referenced == referenced);
    let mut statements: Vec<String> = names(true).map(|table| format!("DELETE FROM {}", table.alone())).collect();
    let plain: Vec<String> = names(false).map(|table| table.alone()).collect();
    if !plain.is_empty() {
        statements.push(format!("TRUNCATE {}", plain.join(", ")));
    }
    statements
}

/// Where the rows of a set come from.
pub(crate) enum Rows<'a> {
    /// Array parameters: the key's columns if the set has keys, then the set's columns.
    Arrays,
    /// The staging table's rows of one group.
    Staged(&'a str, i16),
}

/// `s` with columns `k0 …` for the key and `c<column> …`.
fn source(table: &TargetTable, rows: &Rows<'_>, key: bool, columns: &[usize]) -> String {
    match rows {
        Rows::Staged(staging, _) => format!("{staging} AS s"),
        Rows::Arrays => {
            let keys = table.key.iter().enumerate().filter(|_| key).map(|(at, column)| (format!("k{at}"), *column));
            let all: Vec<(String, usize)> = keys.chain(columns.iter().map(|at| (format!("c{at}"), *at))).collect();
            let arrays: Vec<String> = all
                .iter()
                .enumerate()
                .map(|(n, (_, column))| format!("${}::{}[]", n + 1, table.columns[*column].base_text))
                .collect();
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            format!("unnest({}) AS s ({})", arrays.join(", "), names.join(", "))
        }
    }
}

fn group(rows: &Rows<'_>) -> String {
    match rows {
        Rows::Arrays => String::new(),
        Rows::Staged(_, group) => format!("s.g = {group} AND "),
    }
}

/// Deletes a set of keys.
pub(crate) fn delete_set(table: &TargetTable, rows: &Rows<'_>) -> String {
    let condition = key_condition(table, |at| format!("s.k{at}"));
    format!(
        "DELETE FROM {} AS t USING {} WHERE {}{condition}",
        table.alone(),
        source(table, rows, true, &[]),
        group(rows)
    )
}

/// How sets are to be planned. The planner knows nothing of their size.
#[derive(Clone, Copy)]
pub(crate) enum Plans {
    /// Joined to the target by its key's index, row by row; by itself the planner would, above some thousands of
    /// rows, read the whole table instead.
    ByIndex,
    /// [`delete_counted`] has no index to go by and must hash.
    OneScan,
}

/// Switches the planner; `scope` is `SESSION`, or `LOCAL` for the rest of a transaction.
pub(crate) fn plans(scope: &str, plans: Plans) -> String {
    let (scans, loops) = match plans {
        Plans::ByIndex => ("off", "on"),
        Plans::OneScan => ("on", "off"),
    };
    format!(
        "SET {scope} enable_mergejoin = off; SET {scope} enable_hashjoin = {scans}; \
         SET {scope} enable_seqscan = {scans}; SET {scope} enable_nestloop = {loops}"
    )
}

/// Deletes staged rows of a table without a key, each as often as its `n` says, by one scan of the table. Rows are the
/// same as in [`one_row`]; equal rows have equal text too, which unlike the comparison byte for byte can be hashed.
pub(crate) fn delete_counted(table: &TargetTable, staging: &str) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("x.{}", column.name)).collect();
    let values: Vec<String> =
        table.columns.iter().enumerate().map(|(at, column)| column.exactly(&format!("s.c{at}"))).collect();
    let (there, gone) = (format!("ROW({})::record", columns.join(", ")), format!("ROW({})::record", values.join(", ")));
    let (place, wanted, found) = if table.partitioned {
        ("x.tableoid AS part, x.ctid AS place", "m.part, m.place", "(t.tableoid, t.ctid) IN (")
    } else {
        ("x.ctid AS place", "m.place", "t.ctid = ANY (ARRAY(")
    };
    let end = if table.partitioned { ")" } else { "))" };
    format!(
        "DELETE FROM {0} AS t WHERE {found}SELECT {wanted} FROM ( \
         SELECT {place}, s.n, pg_catalog.row_number() OVER (PARTITION BY s.ctid) AS nth \
         FROM {staging} AS s JOIN {0} AS x \
         ON pg_catalog.hashtext({there}::pg_catalog.text) = pg_catalog.hashtext({gone}::pg_catalog.text) \
         AND {there} OPERATOR(pg_catalog.*=) {gone}) AS m WHERE m.nth <= m.n{end}",
        table.alone()
    )
}

/// Updates a set of rows that set the same columns.
pub(crate) fn update_set(table: &TargetTable, set: &[usize], rows: &Rows<'_>) -> String {
    let values: Vec<String> = set.iter().map(|at| format!("s.c{at}")).collect();
    format!(
        "UPDATE {} AS t SET {} FROM {} WHERE {}{}",
        table.alone(),
        assignments(table, set, &values),
        source(table, rows, true, set),
        group(rows),
        key_condition(table, |at| format!("s.k{at}"))
    )
}

/// Inserts a set of rows from arrays.
pub(crate) fn insert_set(table: &TargetTable) -> String {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    insert_from(table, &source(table, &Rows::Arrays, false, &all))
}

/// Inserts all rows of a staging table.
pub(crate) fn insert_staged(table: &TargetTable, staging: &str) -> String {
    insert_from(table, &format!("{staging} AS s"))
}

fn insert_from(table: &TargetTable, source: &str) -> String {
    let columns: Vec<String> =
        table.columns.iter().enumerate().map(|(at, column)| column.given(&format!("s.c{at}"))).collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {source}",
        table.name,
        table.column_list(),
        columns.join(", "),
    )
}

/// A staging table for rows alone, gone with the transaction.
pub(crate) fn create_incoming(table: &TargetTable) -> String {
    let cells: Vec<String> =
        table.columns.iter().enumerate().map(|(at, column)| format!("c{at} {}", column.base_text)).collect();
    format!("CREATE TEMPORARY TABLE {INCOMING} ({}) ON COMMIT DROP", cells.join(", "))
}

/// Its name.
pub(crate) const INCOMING: &str = "pg_temp.wavemark_incoming";

/// A COPY straight into the table.
pub(crate) fn copy(table: &TargetTable) -> String {
    format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.name, table.column_list())
}

/// The staging table of a table: the group, the key to find a row by, the new cells. Without a key: how many rows go,
/// and their cells.
pub(crate) fn create_staging(table: &TargetTable, staging: &str) -> String {
    let first = if table.key.is_empty() { "n int8" } else { "g int2" };
    let keys = table.key.iter().enumerate().map(|(at, column)| format!("k{at} {}", table.columns[*column].base_text));
    let cells = table.columns.iter().enumerate().map(|(at, column)| format!("c{at} {}", column.base_text));
    let columns: Vec<String> = [first.to_owned()].into_iter().chain(keys).chain(cells).collect();
    format!("CREATE TEMPORARY TABLE {staging} ({}) ON COMMIT DELETE ROWS", columns.join(", "))
}

/// The name of a session's staging table, qualified.
pub(crate) fn staging_name(number: u32) -> String {
    format!("pg_temp.wavemark_staging_{number}")
}

/// Removes staging tables.
pub(crate) fn drop_staging(staging: &[String]) -> String {
    format!("DROP TABLE {}", staging.join(", "))
}

/// A COPY into the staging table.
pub(crate) fn copy_staging(staging: &str) -> String {
    format!("COPY {staging} FROM STDIN (FORMAT binary)")
}
