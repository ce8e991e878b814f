//! What definitions in the log do to the task's tables.

use std::collections::HashMap;

use wavemark_connector::source::{TABLE_DROPPED, TABLE_SWAPPED};
use wavemark_domain::layout::RenamedTablePolicy;
use wavemark_domain::{ChangeKind, Fault, Problem, Relayout, TableName};

use super::Assembler;
use crate::log::ddl::{Alter, Definition, Named, Spec};
use crate::log::layout::{Context, changed};
use crate::log::statement::{Told, names};

/// Who has a name while a statement gives tables other ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occupant {
    Nobody,
    Followed(usize),
    Other,
}

impl Assembler {
    /// Takes a statement that is not a transaction's.
    pub(super) fn define(&mut self, told: &Told<'_>) {
        match told.definition() {
            Definition::Harmless => {}
            Definition::Hide(table) => self.hide(told, &table),
            Definition::Show(tables) => self.show(told, &tables),
            Definition::Truncate(table) if self.is_own(told, &table) => {}
            Definition::Truncate(table) => self.truncate(&qualified(told, &table)),
            Definition::Drop(tables) => tables.iter().for_each(|table| self.drop_table(&qualified(told, table))),
            Definition::DropSchema(schema) => self.drop_schema(&schema),
            Definition::Create { table, replaces } => self.create(&qualified(told, &table), replaces),
            Definition::Rename(mut renames) => {
                self.rename_own(told, &mut renames);
                let renames: Vec<_> = renames
                    .iter()
                    .map(|(from, to)| (self.kept(qualified(told, from)), self.kept(qualified(told, to))))
                    .collect();
                self.rename(&renames);
            }
            Definition::Alter(alter) if self.alter_own(told, &alter) => {}
            Definition::Alter(alter) => self.alter(told, &alter),
            Definition::Runs => self.run(told),
            Definition::Unread => self.unread(told),
        }
    }

    /// A name as the server keeps it.
    fn kept(&self, name: TableName) -> TableName {
        if self.rules.server.lowers_names {
            TableName::new(name.schema.to_lowercase(), name.table.to_lowercase())
        } else {
            name
        }
    }

    /// The place of a table that has this name here.
    pub(super) fn here(&self, name: &TableName) -> Option<usize> {
        self.tables.named(name).filter(|at| self.tables.at(*at).has(&self.place))
    }

    fn truncate(&mut self, name: &TableName) {
        if let Some(at) = self.here(name) {
            self.batch.push_change(self.tables.at(at).id, ChangeKind::Truncate, None, None);
        }
    }

    fn drop_table(&mut self, name: &TableName) {
        if let Some(at) = self.here(name) {
            self.end_dropped(at);
        }
    }

    fn end_dropped(&mut self, at: usize) {
        let text = format!("Table {} was dropped at the source.", self.tables.at(at).name());
        self.end_table(at, Problem::new(Fault::Data, TABLE_DROPPED, text));
    }

    fn drop_schema(&mut self, schema: &str) {
        for at in 0..self.tables.len() {
            let name = self.tables.at(at).name();
            let is_in = self.tables.is_one_name(name, &TableName::new(schema, name.table.clone()));
            if is_in && self.here(&name.clone()) == Some(at) {
                self.end_dropped(at);
            }
        }
    }

    fn create(&mut self, name: &TableName, replaces: bool) {
        self.tables_came = true;
        if let Some(at) = self.here(name).filter(|_| replaces) {
            self.end_table(at, changed(name, "it was dropped and made again"));
        }
    }

    /// Tables get other names, one after the other, as if at one moment.
    fn rename(&mut self, renames: &[(TableName, TableName)]) {
        let mut places: HashMap<TableName, Occupant> = HashMap::new();
        let mut touched: Vec<(usize, TableName)> = Vec::new();
        for (from, to) in renames {
            let found = places.get(from).copied();
            let moved = found.unwrap_or_else(|| self.here(from).map_or(Occupant::Other, Occupant::Followed));
            places.insert(from.clone(), Occupant::Nobody);
            places.insert(to.clone(), moved);
            if let Occupant::Followed(at) = moved {
                touched.retain(|(other, _)| *other != at);
                touched.push((at, to.clone()));
            } else {
                self.tables_came = true;
            }
        }
        for (at, to) in touched {
            let from = self.tables.at(at).name().clone();
            if self.tables.is_one_name(&from, &to) {
                continue;
            }
            // Names of the statement may be written otherwise than the table's.
            let taken = places.iter().find(|(name, _)| self.tables.is_one_name(name, &from)).map(|(_, by)| *by);
            if matches!(taken, None | Some(Occupant::Nobody)) {
                self.move_table(at, &to);
            } else {
                self.end_table(at, swapped(&from, &to, renames));
            }
        }
    }

    fn move_table(&mut self, at: usize, to: &TableName) {
        let alter = Alter { table: Named { schema: None, table: String::new() }, ignores: false, specs: Vec::new() };
        let next = self.may_move(at, to).and_then(|()| self.next(at, &alter, to, true));
        self.come_to(at, next);
    }

    /// Whether a table goes on under another name; why not, if it does not.
    fn may_move(&self, at: usize, to: &TableName) -> Result<(), Problem> {
        let from = self.tables.at(at).name();
        let now = format!("it is now named {to}");
        if self.rules.replan.is_none() || self.rules.settings.renamed_tables == RenamedTablePolicy::ParkTable {
            return Err(changed(from, &now));
        }
        if self.tables.named(to).is_some_and(|other| other != at && !self.tables.at(other).ended) {
            return Err(changed(from, &format!("{now}, which the task has as a table of its own")));
        }
        Ok(())
    }

    fn alter(&mut self, told: &Told<'_>, alter: &Alter) {
        for spec in &alter.specs {
            if let Spec::Rows { how, with: Some(other) } = spec
                && let Some(at) = self.here(&qualified(told, other))
            {
                let problem =
                    changed(self.tables.at(at).name(), &format!("{how}, and the log does not tell which rows"));
                self.end_table(at, problem);
            }
        }
        let to = alter.specs.iter().rev().find_map(|spec| if let Spec::RenameTo(to) = spec { Some(to) } else { None });
        let Some(at) = self.here(&qualified(told, &alter.table)) else {
            // It may have come to a name that the task has.
            self.tables_came |= to.is_some();
            return;
        };
        let strict = told.modes.is_some_and(|modes| modes.strict);
        let next = self.name_behind(at, told, to).and_then(|name| self.next(at, alter, &name, strict));
        self.come_to(at, next);
    }

    /// What a table is called behind an `ALTER TABLE`.
    fn name_behind(&self, at: usize, told: &Told<'_>, to: Option<&Named>) -> Result<TableName, Problem> {
        let name = self.tables.at(at).name();
        let Some(to) = to else { return Ok(name.clone()) };
        if to.schema.is_none() && told.schema != name.schema {
            // Whether it went to the schema that the statement was run in depends on the server.
            return Err(changed(name, &format!("it is now named {}", to.table)));
        }
        let to = self.kept(qualified(told, to));
        if self.tables.is_one_name(name, &to) {
            return Ok(name.clone());
        }
        self.may_move(at, &to).map(|()| to)
    }

    fn next(&self, at: usize, alter: &Alter, name: &TableName, strict: bool) -> Result<Option<Relayout>, Problem> {
        let table = self.tables.at(at);
        Context { plan: &table.plan, alter, strict, rules: &self.rules, since: self.place.mark() }.next(name)
    }

    /// Goes on with a table's next layout, or ends the table.
    fn come_to(&mut self, at: usize, next: Result<Option<Relayout>, Problem>) {
        // What has another name and is not followed under it is a table that may be new to the task.
        self.tables_came |= next.is_err();
        match next {
            Ok(None) => {}
            // Nobody defines anything in the middle of a transaction.
            Ok(Some(relayout)) if self.open.is_some() => {
                self.end_table(at, changed(relayout.plan.name(), "it was altered within a transaction"));
            }
            Ok(Some(relayout)) => {
                self.tables.replan(at, &relayout.plan);
                // What the same number stands for is looked at anew.
                self.announced.clear();
                self.take_up(relayout);
            }
            Err(problem) => self.end_table(at, problem),
        }
    }

    /// A statement in place of rows. What triggers, views and routines did in it is nowhere else in the log, so each table may have been
    /// changed.
    fn run(&mut self, told: &Told<'_>) {
        self.tables_came = true;
        for at in 0..self.tables.len() {
            if self.tables.at(at).has(&self.place) {
                self.end_table(at, run(self.tables.at(at).name(), &first_word(told)));
            }
        }
    }

    /// A definition that is not understood, or a statement in place of rows.
    fn unread(&mut self, told: &Told<'_>) {
        self.tables_came = true;
        match told.emptied() {
            Some(Definition::Truncate(table)) => return self.truncate(&qualified(told, &table)),
            _ if !told.defines() => return self.run(told),
            _ => {}
        }
        for at in 0..self.tables.len() {
            let name = self.tables.at(at).name().clone();
            let quoted = name.table.replace('`', "``");
            let may_be = names(&told.text, &quoted) || !told.is_readable && !name.table.is_ascii();
            if may_be && self.tables.at(at).has(&self.place) {
                let word = first_word(told);
                let how = format!(
                    "a statement in the log names it ({word} …), and what that did to it can't be told exactly"
                );
                self.end_table(at, changed(&name, &how));
            }
        }
    }
}

fn first_word(told: &Told<'_>) -> String {
    told.text.split_ascii_whitespace().next().unwrap_or_default().chars().take(20).collect()
}

/// The problem of a table that a statement may have changed.
fn run(name: &TableName, word: &str) -> Problem {
    let text = format!(
        "The source's log has a statement ({word} …) in place of rows. Whether it changed {name}, by itself or by a trigger, a view or a \
         routine, can't be told."
    );
    Problem::new(Fault::Data, "statement-logged", text).table(name).advice(
        "Have every session log rows: SET GLOBAL binlog_format = ROW, and no session that sets another one. Then reload the table.",
    )
}

/// A table in the words of a statement.
pub(super) fn qualified(told: &Told<'_>, named: &Named) -> TableName {
    TableName::new(named.schema.clone().unwrap_or_else(|| told.schema.clone()), named.table.clone())
}

/// The problem of a table whose name another one took in one statement.
fn swapped(from: &TableName, to: &TableName, renames: &[(TableName, TableName)]) -> Problem {
    let other =
        renames.iter().rev().find(|(_, name)| name == from).map_or_else(String::new, |(name, _)| name.to_string());
    let text = format!(
        "Table {from} is now named {to}, and another table, {other}, has its name since: an online schema change, as gh-ost and \
         pt-online-schema-change make it. Its rows were copied there, and the log has that as changes of the other table."
    );
    Problem::new(Fault::Data, TABLE_SWAPPED, text)
        .table(from)
        .advice("Reload the table; with changed_tables set to reload-table that is done by itself.")
}
