//! What can be asked of one table of a task, and the questions before it.

use std::fmt::Write as _;

use wavemark_domain::state::{TableState, TaskStatus};
use wavemark_domain::{TableName, TableWish, progress::TableProgress};
use wavemark_store::tasks::Task;

use super::action::{Action, Ask};

/// The page that asks, and where its answer goes.
#[must_use]
pub fn href(task: &Task, table: &TableName, wish: TableWish) -> String {
    let (schema, name) = (encoded(&table.schema), encoded(&table.table));
    format!("/tasks/{}/tables/{}?schema={schema}&table={name}", task.id, wish.word())
}

/// The page that asks before a table is compared, and where its answer goes.
#[must_use]
pub fn compare_href(task: &Task, table: &TableName) -> String {
    let (schema, name) = (encoded(&table.schema), encoded(&table.table));
    format!("/tasks/{}/tables/compare?schema={schema}&table={name}", task.id)
}

/// The links of a table, as far as its task can do something now.
#[must_use]
pub fn actions(task: &Task, table: &TableProgress) -> Vec<Action> {
    if matches!(task.status, TaskStatus::Ready | TaskStatus::Deleting | TaskStatus::CleanUpPending) {
        return Vec::new();
    }
    let reload = Action::link("Reload…", href(task, &table.table, TableWish::Reload));
    let park = Action::link("Park…", href(task, &table.table, TableWish::Park));
    let may_park = task.kind.follows() && table.state != TableState::Parked;
    let reload = task.kind.loads().then_some(reload);
    let compares = super::compare::is_possible(task) && table.state == TableState::Live;
    let compare = compares.then(|| Action::link("Compare…", compare_href(task, &table.table)));
    compare.into_iter().chain(reload).chain(may_park.then_some(park)).collect()
}

/// Asks before a table is loaded again or left behind.
#[must_use]
pub fn ask(task: &Task, table: &TableName, wish: TableWish) -> Ask {
    let (title, text, consequences, button) = match wish {
        TableWish::Reload => (
            format!("Load {table} again?"),
            format!("It is read as the source is now, then followed again. {} goes on from its bookmark.", task.name),
            vec![
                format!(
                    "Its rows in {} are replaced as the task's preparation says: readers see missing rows until the load \
                     is done.",
                    task.target_name
                ),
                "The other tables are followed meanwhile; the source keeps the log of the whole load.".to_owned(),
                "Foreign keys that point at it are taken off, and made and checked again after the load.".to_owned(),
            ],
            "Reload table",
        ),
        TableWish::Park => (
            format!("Park {table}?"),
            "It stays in the target as it is at the next wave; the other tables go on.".to_owned(),
            vec!["Its later changes are not kept: the way back is to reload it.".to_owned()],
            "Park table",
        ),
    };
    Ask {
        id: "ask-table",
        title,
        text,
        consequences,
        action: href(task, table, wish),
        button,
        back: format!("/tasks/{}?tab=tables", task.id),
        ..Ask::default()
    }
}

/// A value of a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_of_all_kinds_survive_a_query() {
        assert_eq!(encoded("a.\"b&c=é"), "a%2E%22b%26c%3D%C3%A9");
    }
}
