//! The tables of a task, worst first.

use time::OffsetDateTime;
use wavemark_domain::progress::TableProgress;
use wavemark_domain::state::TableState;
use wavemark_domain::{TableWish, UnfitCount, UnfitPolicy};
use wavemark_store::task_tables::TaskTable;
use wavemark_store::tasks::Task;

use super::action::Action;
use super::chip::Chip;
use super::format::{self, UNKNOWN};
use super::table_wish;
use super::when::{self, When};

/// One row.
#[derive(Clone, Debug)]
pub struct TableRow {
    /// Stable while the table is in the task.
    pub id: String,
    /// Its state.
    pub chip: Chip,
    /// Its place among all.
    pub rank: u8,
    /// The source's name.
    pub name: String,
    /// The target's, where it is another.
    pub target: Option<String>,
    /// Rows copied.
    pub rows: String,
    /// For sorting.
    pub rows_sort: u64,
    /// How many there are to copy.
    pub rows_note: String,
    /// How much of the load is done.
    pub percent: Option<u8>,
    /// For sorting.
    pub percent_sort: String,
    /// Whether all of it is.
    pub loaded: bool,
    /// Chunks done, rows fetched again.
    pub load_note: String,
    /// Inserts applied.
    pub inserts: String,
    /// For sorting.
    pub inserts_sort: u64,
    /// Updates applied.
    pub updates: String,
    /// For sorting.
    pub updates_sort: u64,
    /// Deletes applied, with truncates.
    pub deletes: String,
    /// For sorting.
    pub deletes_sort: u64,
    /// When the source committed its newest applied change.
    pub newest: Option<When>,
    /// For sorting.
    pub newest_sort: String,
    /// What was asked of it and is not done yet.
    pub asked: &'static str,
    /// Why it is parked, or how many rows were left out.
    pub error: String,
    /// What can be asked of it.
    pub actions: Vec<Action>,
}

/// Values of a column that had no place in the target.
#[derive(Clone, Debug)]
pub struct Unfit {
    /// The source's table.
    pub table: String,
    /// Its column.
    pub column: String,
    /// What was written in their place.
    pub written: &'static str,
    /// How many.
    pub values: String,
    /// For sorting.
    pub values_sort: u64,
    /// Since when.
    pub since: Option<When>,
    /// For sorting.
    pub since_sort: i64,
}

/// Values that were written otherwise than they are at the source, by table and column.
#[must_use]
pub fn unfit(tables: &[TaskTable], now: OffsetDateTime) -> Vec<Unfit> {
    let of = |table: &TaskTable| {
        let name = table.progress.table.to_string();
        let counts = table.progress.unfit.clone();
        counts.into_iter().map(move |count| Unfit::new(name.clone(), count, now))
    };
    tables.iter().flat_map(of).collect()
}

fn rank(state: TableState) -> u8 {
    match state {
        TableState::Parked => 0,
        TableState::CatchingUp => 1,
        TableState::Loading => 2,
        TableState::Waiting => 3,
        TableState::Live => 4,
        TableState::Done => 5,
    }
}

/// Rows of tables, worst first; within a state those with errors first, then the largest.
#[must_use]
pub fn rows(task: &Task, tables: &[TaskTable], may_edit: bool, now: OffsetDateTime) -> Vec<TableRow> {
    let mut order: Vec<_> = tables.iter().collect();
    order.sort_by(|a, b| {
        let (a, b) = (&a.progress, &b.progress);
        let by_size = b.rows_loaded.max(b.inserts).cmp(&a.rows_loaded.max(a.inserts));
        (rank(a.state).cmp(&rank(b.state)))
            .then(b.exceptions.cmp(&a.exceptions))
            .then(by_size)
            .then_with(|| a.table.cmp(&b.table))
    });
    let actions = |table: &_| if may_edit { table_wish::actions(task, table) } else { Vec::new() };
    let row = |table: &TaskTable| TableRow {
        actions: actions(&table.progress),
        asked: table.asked.map_or("", asked),
        ..TableRow::new(&table.progress, task.kind.follows(), now)
    };
    order.into_iter().map(row).collect()
}

impl TableRow {
    fn new(table: &TableProgress, follows: bool, now: OffsetDateTime) -> Self {
        let percent = format::percent(u64::from(table.chunks_done), u64::from(table.chunks));
        let newest = table.applied_commit_at.and_then(when::from_micros);
        // Before it follows there is nothing to count: unknown, not none.
        let counts = follows && !matches!(table.state, TableState::Waiting | TableState::Loading);
        let changes = |number: u64| if counts { format::count(number) } else { UNKNOWN.to_owned() };
        let truncates = match table.truncates {
            0 => String::new(),
            number => format!(" + {}", format::counted(number, "truncate", "truncates")),
        };
        Self {
            id: table.table.to_string(),
            chip: Chip::table(table.state),
            rank: rank(table.state),
            name: table.table.to_string(),
            target: (table.target != table.table).then(|| table.target.to_string()),
            rows: if table.chunks == 0 && table.rows_loaded == 0 {
                UNKNOWN.to_owned()
            } else {
                format::count(table.rows_loaded)
            },
            rows_sort: table.rows_loaded,
            rows_note: rows_note(table),
            percent,
            percent_sort: percent.map_or_else(String::new, |percent| percent.to_string()),
            loaded: percent == Some(100),
            load_note: load_note(table),
            inserts: changes(table.inserts),
            inserts_sort: table.inserts,
            updates: changes(table.updates),
            updates_sort: table.updates,
            deletes: format!("{}{truncates}", changes(table.deletes)),
            deletes_sort: table.deletes,
            newest: newest.map(|at| When::new(at, now)),
            newest_sort: newest.map_or_else(String::new, |at| at.unix_timestamp().to_string()),
            asked: "",
            error: error(table),
            actions: Vec::new(),
        }
    }
}

impl Unfit {
    fn new(table: String, UnfitCount { column, way, values, since }: UnfitCount, now: OffsetDateTime) -> Self {
        let written = match way {
            UnfitPolicy::Null => "NULL",
            UnfitPolicy::Clamp => "the nearest value that fits",
            UnfitPolicy::Text | UnfitPolicy::AsDataError => UNKNOWN,
        };
        Self {
            table,
            column,
            written,
            values: format::count(values),
            values_sort: values,
            since: when::from_micros(since).map(|at| When::new(at, now)),
            since_sort: since,
        }
    }
}

fn rows_note(table: &TableProgress) -> String {
    match table.rows_estimated {
        Some(rows) if table.chunks_done < table.chunks && rows > table.rows_loaded => {
            format!("of about {}", format::count(rows))
        }
        // Where no row was copied there still was a header.
        _ if table.rows_loaded > 0 => format::bytes(table.bytes_loaded),
        _ => String::new(),
    }
}

fn load_note(table: &TableProgress) -> String {
    let again = match table.rows_refetched {
        0 => String::new(),
        rows => format!(", {} fetched again", format::counted(rows, "row", "rows")),
    };
    format!(
        "{} of {}{again}",
        format::count(u64::from(table.chunks_done)),
        format::counted(u64::from(table.chunks), "chunk", "chunks")
    )
}

fn asked(wish: TableWish) -> &'static str {
    match wish {
        TableWish::Reload => "A reload is asked for",
        TableWish::Park => "It is to be parked",
    }
}

fn error(table: &TableProgress) -> String {
    let left_out = (table.exceptions > 0).then(|| {
        format!(
            "{} in wavemark.exceptions",
            format::counted(table.exceptions, "row left out, it is", "rows left out, they are")
        )
    });
    let conflicts = (table.conflicts > 0).then(|| {
        let rows = format::counted(table.conflicts, "row was", "rows were");
        format!("{rows} not as expected in the target")
    });
    let why = table.problem.as_ref().map(|problem| problem.text.clone());
    why.into_iter().chain(conflicts).chain(left_out).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_parked_table_comes_first_and_says_why() {
        let rows = rows(&samples::shop(), &samples::tables(), true, samples::NOW);
        assert_eq!(rows[0].name, "public.audit_log");
        assert_eq!(rows[0].error, "a row to insert is already in the target");
        assert_eq!(rows.last().unwrap().chip, Chip::table(TableState::Live));
    }

    #[test]
    fn values_that_did_not_fit_stand_by_table_and_column() {
        let unfit = unfit(&samples::tables(), samples::NOW);
        let told: Vec<_> = (unfit.iter())
            .map(|one| (one.table.as_str(), one.column.as_str(), one.written, one.values.as_str()))
            .collect();
        let expected = [
            ("public.addresses", "moved_in", "NULL", "1\u{202f}204"),
            ("public.addresses", "street", "the nearest value that fits", "1"),
        ];
        assert_eq!(told, expected);
        assert_eq!(unfit[0].since.as_ref().unwrap().relative, "6\u{202f}min ago");
    }

    #[test]
    fn a_table_that_waits_has_no_figures() {
        let rows = rows(&samples::shop(), &samples::tables(), true, samples::NOW);
        let waiting = rows.iter().find(|row| row.name == "public.sessions").unwrap();
        assert_eq!((waiting.rows.as_str(), waiting.inserts.as_str(), waiting.percent), ("–", "–", None));
        assert!(waiting.newest.is_none());
    }
}
