//! Comparisons: the list on a task's page, and the page of one.

use askama::Template;
use time::OffsetDateTime;
use wavemark_domain::TableName;
use wavemark_domain::compare::{CompareState, ComparedState, ComparedTable, Difference};
use wavemark_domain::state::TaskStatus;
use wavemark_store::compares::Compare;
use wavemark_store::tasks::Task;

use super::action::{Action, Ask};
use super::chip::{Chip, Tone};
use super::format;
use super::shell::{Notice, Shell};
use super::when::When;

/// Keys of one table that a page shows.
const KEYS_SHOWN: usize = 200;

/// One line of a task's comparisons.
#[derive(Clone, Debug)]
pub struct CompareLine {
    /// Its id.
    pub id: String,
    /// Its state.
    pub chip: Chip,
    /// Where its page is.
    pub href: String,
    /// What was compared.
    pub what: String,
    /// Where both sides stood.
    pub position: String,
    /// What was found.
    pub found: String,
    /// For how long nothing was written, and how long both sides were read.
    pub took: String,
    /// When it was asked for.
    pub at: When,
    /// Who asked.
    pub by: String,
}

/// What the tab shows.
#[must_use]
pub fn lines(found: &[Compare], now: OffsetDateTime) -> Vec<CompareLine> {
    found.iter().map(|compare| line(compare, now)).collect()
}

fn line(compare: &Compare, now: OffsetDateTime) -> CompareLine {
    let progress = &compare.progress;
    CompareLine {
        id: compare.id.to_string(),
        chip: chip(compare),
        href: format!("/compares/{}", compare.id),
        what: what(compare),
        position: progress.position.clone().unwrap_or_else(|| format::UNKNOWN.to_owned()),
        found: found_in(compare),
        took: took(compare),
        at: When::new(compare.created_at, now),
        by: compare.created_by.clone(),
    }
}

fn what(compare: &Compare) -> String {
    let tables = match &compare.tables {
        None => "All tables".to_owned(),
        Some(tables) if tables.len() == 1 => tables[0].to_string(),
        Some(tables) => format::counted(tables.len() as u64, "table", "tables"),
    };
    if compare.repairs.is_some() { format!("{tables}, repaired first") } else { tables }
}

fn differences(compare: &Compare) -> u64 {
    compare.progress.tables.iter().map(ComparedTable::differences).sum()
}

fn found_in(compare: &Compare) -> String {
    if compare.progress.tables.is_empty() {
        return format::UNKNOWN.to_owned();
    }
    let left_out = compare.progress.tables.iter().filter(|table| table.state == ComparedState::LeftOut).count() as u64;
    let differ = match differences(compare) {
        0 if compare.state == CompareState::Done => "No difference".to_owned(),
        0 => "No difference so far".to_owned(),
        rows => format!("{} differ", format::counted(rows, "row", "rows")),
    };
    if left_out == 0 {
        return differ;
    }
    format!("{differ}, {} not compared", format::counted(left_out, "table", "tables"))
}

fn took(compare: &Compare) -> String {
    let held = compare.progress.held_ms.map(|ms| format!("held {}", format::lag(ms)));
    let read = compare.progress.read_ms.map(|ms| format!("read {}", format::lag(ms)));
    let parts: Vec<String> = held.into_iter().chain(read).collect();
    if parts.is_empty() { format::UNKNOWN.to_owned() } else { parts.join(", ") }
}

fn chip(compare: &Compare) -> Chip {
    match compare.state {
        CompareState::Waiting => Chip::new(Tone::Busy, "Waiting"),
        CompareState::Running => Chip::new(Tone::Busy, "Reading"),
        CompareState::Failed => Chip::new(Tone::Bad, "Failed"),
        CompareState::Cancelled => Chip::new(Tone::Idle, "Cancelled"),
        CompareState::Done if differences(compare) > 0 => Chip::new(Tone::Bad, "Differs"),
        CompareState::Done => Chip::new(Tone::Ok, "Equal"),
    }
}

/// Whether a task's tables can be compared now.
#[must_use]
pub fn is_possible(task: &Task) -> bool {
    let runs = matches!(task.status, TaskStatus::Starting | TaskStatus::Running | TaskStatus::Degraded);
    runs && task.kind.follows()
}

/// Asks before one table is compared.
#[must_use]
pub fn ask(task: &Task, table: &TableName) -> Ask {
    Ask {
        id: "ask-compare",
        title: format!("Compare {table}?"),
        text: format!("Both sides are read as of one position, while {} goes on.", task.name),
        consequences: vec![
            "For a moment nothing is written to the target; if that takes longer than ten seconds it is tried again \
             later."
                .to_owned(),
            "All of its rows are read once on both sides, without locks that keep anyone from writing.".to_owned(),
        ],
        action: super::table_wish::compare_href(task, table),
        button: "Compare table",
        back: format!("/tasks/{}?tab=tables", task.id),
        ..Ask::default()
    }
}

/// The page of one comparison.
#[derive(Clone, Debug, Template)]
#[template(path = "pages/tasks/compare.html", blocks = ["live"])]
pub struct ComparePage {
    /// What is around it.
    pub shell: Shell,
    /// What was compared.
    pub title: String,
    /// Its state.
    pub chip: Chip,
    /// Position, times, who.
    pub facts: Vec<String>,
    /// When it was asked for.
    pub at: When,
    /// Why it waits or failed.
    pub notice: Option<Notice>,
    /// What can be done.
    pub actions: Vec<Action>,
    /// The tables.
    pub tables: Vec<ComparedLine>,
    /// The differing rows.
    pub lists: Vec<KeyList>,
    /// Whether there are differing rows that are not shown to this reader.
    pub hidden: bool,
}

/// One table.
#[derive(Clone, Debug)]
pub struct ComparedLine {
    /// Its place in the list.
    pub at: usize,
    /// Its state.
    pub chip: Chip,
    /// Its name.
    pub name: String,
    /// Why it was not compared.
    pub reason: String,
    /// Its rows at the source.
    pub source_rows: String,
    /// Its rows at the target.
    pub target_rows: String,
    /// Rows that are missing.
    pub missing: String,
    /// Rows too many.
    pub extra: String,
    /// Rows with other values.
    pub different: String,
    /// Rows that were repaired before.
    pub repaired: String,
    /// Its repair alone.
    pub repair: Option<Action>,
}

/// The differing rows of one table.
#[derive(Clone, Debug)]
pub struct KeyList {
    /// The table.
    pub name: String,
    /// The names of the key's columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<KeyLine>,
    /// How many more there are.
    pub more: Option<String>,
}

/// One differing row.
#[derive(Clone, Debug)]
pub struct KeyLine {
    /// How it differs.
    pub chip: Chip,
    /// Its key.
    pub key: Vec<String>,
}

/// Makes the page.
#[must_use]
pub fn page(shell: Shell, compare: &Compare, task: &Task, may_edit: bool, now: OffsetDateTime) -> ComparePage {
    let differs: Vec<&ComparedTable> = compare.progress.tables.iter().filter(|one| one.differences() > 0).collect();
    let can_repair = may_edit && compare.state == CompareState::Done && is_possible(task);
    let mut tables: Vec<_> = compare.progress.tables.iter().enumerate().collect();
    tables.sort_by_key(|(_, table)| rank(table));
    ComparePage {
        shell,
        title: what(compare),
        chip: chip(compare),
        facts: facts(compare),
        at: When::new(compare.created_at, now),
        notice: compare.progress.problem.as_ref().filter(|_| compare.state != CompareState::Done).map(|problem| {
            let tone = if compare.state == CompareState::Failed { Tone::Bad } else { Tone::Warn };
            let advice = problem.advice.as_ref().map_or_else(String::new, |advice| format!(" {advice}"));
            Notice { tone, text: format!("{problem}{advice}") }
        }),
        actions: if may_edit { actions(compare, &differs, can_repair) } else { Vec::new() },
        tables: tables.into_iter().map(|(at, table)| compared(compare, at, table, can_repair)).collect(),
        lists: if may_edit { differs.iter().filter_map(|table| key_list(table)).collect() } else { Vec::new() },
        hidden: !may_edit && !differs.is_empty(),
    }
}

/// The worst first.
fn rank(table: &ComparedTable) -> u8 {
    match table.state {
        _ if table.differences() > 0 => 0,
        ComparedState::LeftOut => 1,
        _ => 2,
    }
}

fn facts(compare: &Compare) -> Vec<String> {
    let position = compare.progress.position.as_ref().map(|position| format!("as of {position}"));
    let took = compare.progress.held_ms.map(|_| took(compare));
    let tries = (compare.progress.tries > 1).then(|| format!("begun {} times", compare.progress.tries));
    [Some(found_in(compare)), position, took, tries, Some(format!("by {}", compare.created_by))]
        .into_iter()
        .flatten()
        .collect()
}

fn actions(compare: &Compare, differs: &[&ComparedTable], can_repair: bool) -> Vec<Action> {
    let at = |what: &str| format!("/compares/{}/{what}", compare.id);
    if !compare.state.is_over() {
        return vec![Action::post("Cancel", at("cancel")).risk()];
    }
    let repairable = can_repair && !differs.is_empty() && differs.iter().all(|table| is_repairable(table));
    repairable.then(|| Action::post("Repair all", at("repair")).main()).into_iter().collect()
}

/// Whether each differing row is known by key.
fn is_repairable(table: &ComparedTable) -> bool {
    !table.key.is_empty() && table.differences() > 0 && table.keys.len() as u64 == table.differences()
}

fn compared(compare: &Compare, at: usize, table: &ComparedTable, can_repair: bool) -> ComparedLine {
    let chip = match table.state {
        ComparedState::Waiting => Chip::new(Tone::Idle, "Waiting"),
        ComparedState::Running => Chip::new(Tone::Busy, "Reading"),
        ComparedState::LeftOut => Chip::new(Tone::Warn, "Not compared"),
        ComparedState::Done if table.differences() > 0 => Chip::new(Tone::Bad, "Differs"),
        ComparedState::Done => Chip::new(Tone::Ok, "Equal"),
    };
    let rows = |side: usize| match table.rows {
        Some(rows) => format::count(rows[side]),
        None if table.read[side] > 0 => format!("{} read", format::count(table.read[side])),
        None => format::UNKNOWN.to_owned(),
    };
    let counted = |number: u64| if table.rows.is_some() { format::count(number) } else { format::UNKNOWN.to_owned() };
    let href = format!("/compares/{}/repair?table={at}", compare.id);
    ComparedLine {
        at,
        chip,
        name: table.table.to_string(),
        reason: table.reason.clone().unwrap_or_default(),
        source_rows: rows(0),
        target_rows: rows(1),
        missing: counted(table.missing),
        extra: counted(table.extra),
        different: counted(table.different),
        repaired: if table.repaired > 0 {
            format!("{} repaired", format::count(table.repaired))
        } else {
            String::new()
        },
        repair: (can_repair && is_repairable(table)).then(|| Action::post("Repair", href)),
    }
}

fn key_list(table: &ComparedTable) -> Option<KeyList> {
    if table.keys.is_empty() {
        return None;
    }
    let chip = |difference| match difference {
        Difference::Missing => Chip::new(Tone::Bad, "Missing"),
        Difference::Extra => Chip::new(Tone::Warn, "Extra"),
        Difference::Different => Chip::new(Tone::Bad, "Different"),
    };
    let rows: Vec<KeyLine> = table
        .keys
        .iter()
        .take(KEYS_SHOWN)
        .map(|row| KeyLine { chip: chip(row.difference), key: row.key.text.clone() })
        .collect();
    let left = table.differences() - rows.len() as u64;
    Some(KeyList {
        name: table.table.to_string(),
        columns: table.key.clone(),
        rows,
        more: (left > 0).then(|| {
            let more = format::counted(left, "more row differs", "more rows differ");
            format!("{more}; the API shows the first 1,000 keys of a table.")
        }),
    })
}

/// Invented comparisons.
#[cfg(test)]
pub(super) mod invented {
    use uuid::Uuid;
    use wavemark_domain::TaskId;
    use wavemark_domain::compare::{CompareProgress, DifferingRow, RowKey};

    use super::super::samples::NOW;
    use super::*;

    fn table(name: &str, rows: [u64; 2]) -> ComparedTable {
        let table = ComparedTable::new(TableName::new("shop", name), vec!["id".to_owned()]);
        ComparedTable { state: ComparedState::Done, read: rows, rows: Some(rows), ..table }
    }

    fn row(difference: Difference, key: &str) -> DifferingRow {
        DifferingRow { difference, key: RowKey { text: vec![key.to_owned()], cells: Vec::new() } }
    }

    /// One that found differences, and one that found none.
    pub(in super::super) fn compares() -> Vec<Compare> {
        let differs = ComparedTable {
            missing: 2,
            extra: 1,
            keys: vec![
                row(Difference::Missing, "7"),
                row(Difference::Missing, "8"),
                row(Difference::Extra, "<b>never there</b>"),
            ],
            ..table("orders", [1_204_551, 1_204_550])
        };
        let parked = ComparedTable::left_out(TableName::new("shop", "carts"), "It is parked.".to_owned());
        let progress = CompareProgress {
            state: CompareState::Done,
            position: Some("2A/7F0091C8".to_owned()),
            held_ms: Some(84),
            read_ms: Some(6_210),
            tries: 1,
            tables: vec![differs, table("customers", [48_211, 48_211]), parked],
            ..CompareProgress::default()
        };
        let one = Compare {
            id: Uuid::from_u128(900),
            task: TaskId(Uuid::from_u128(2)),
            tables: None,
            repairs: None,
            state: CompareState::Done,
            progress: progress.clone(),
            created_by: "ann".to_owned(),
            created_at: NOW,
            started_at: Some(NOW),
            finished_at: Some(NOW),
        };
        let equal = CompareProgress { tables: vec![progress.tables[1].clone()], ..progress };
        let tables = Some(vec![TableName::new("shop", "customers")]);
        vec![one.clone(), Compare { id: Uuid::from_u128(899), progress: equal, tables, ..one }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn shown(may_edit: bool) -> ComparePage {
        page(Shell::default(), &invented::compares()[0], &samples::shop(), may_edit, samples::NOW)
    }

    #[test]
    fn keys_and_buttons_are_for_operators() {
        let page = shown(true);
        assert_eq!(page.lists[0].rows.len(), 3);
        assert_eq!(page.actions.iter().map(|action| action.label.as_str()).collect::<Vec<_>>(), ["Repair all"]);
        assert!(page.tables[0].repair.is_some() && page.tables[1].repair.is_none());
        let page = shown(false);
        assert!(page.lists.is_empty() && page.hidden && page.actions.is_empty() && page.tables[0].repair.is_none());
    }

    #[test]
    fn the_worst_tables_come_first() {
        let names: Vec<String> = shown(true).tables.into_iter().map(|table| table.name).collect();
        assert_eq!(names, ["shop.orders", "shop.carts", "shop.customers"]);
    }

    #[test]
    fn a_line_says_what_was_found() {
        let found: Vec<String> =
            lines(&invented::compares(), samples::NOW).into_iter().map(|line| line.found).collect();
        assert_eq!(found, ["3 rows differ, 1 table not compared", "No difference"]);
    }
}
