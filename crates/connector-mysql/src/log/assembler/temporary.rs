//! Temporary tables, which hide others of their names from what their session runs.
//!
//! A session that logs statements has what it does to its temporary tables in the log, so that a copy of the server can do the same:
//! `TRUNCATE TABLE orders` is of the session's own table there, and no other's, where it has made one of that name. The header
//! of such a statement says that it matters which session ran it. That alone says little: the servers say it as well of a
//! statement about an ordinary table in a procedure that has used a temporary one before, and of every `DROP TABLE`.
//! So each session's tables are noted where the log has them come and go.

use std::collections::{HashMap, HashSet};

use wavemark_domain::TableName;

use super::Assembler;
use super::definitions::qualified;
use crate::defaults::Dialect;
use crate::log::ddl::{Alter, Named, Spec};
use crate::log::layout::changed;
use crate::log::statement::Told;

/// More are not noted.
const MOST: usize = 10_000;

/// The tables of each session, by the numbers of its server and its own.
#[derive(Default)]
pub(super) struct Temporary {
    by_session: HashMap<(u32, u32), HashSet<TableName>>,
    count: usize,
}

impl Temporary {
    /// A server was started: sessions from before are over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn has(&self, session: (u32, u32), name: &TableName) -> bool {
        self.by_session.get(&session).is_some_and(|tables| tables.contains(name))
    }

    fn come(&mut self, session: (u32, u32), name: TableName) {
        if self.count < MOST && self.by_session.entry(session).or_default().insert(name) {
            self.count += 1;
        }
    }

    fn go(&mut self, session: (u32, u32), name: &TableName) -> bool {
        let Some(tables) = self.by_session.get_mut(&session) else { return false };
        let was_there = tables.remove(name);
        self.count -= usize::from(was_there);
        if tables.is_empty() {
            self.by_session.remove(&session);
        }
        was_there
    }
}

impl Assembler {
    /// The session has a table of its own from here on.
    pub(super) fn hide(&mut self, told: &Told<'_>, table: &Named) {
        let name = self.noted(told, table);
        self.temporary.come(told.session, name);
    }

    /// It has these no longer.
    pub(super) fn show(&mut self, told: &Told<'_>, tables: &[Named]) {
        for table in tables {
            let name = self.noted(told, table);
            self.temporary.go(told.session, &name);
        }
    }

    /// Whether what a statement does to a table, it does to one of its session's own.
    ///
    /// Which it was can't be known where the session may have made such a table before the log is read: then the table of the task
    /// that has the name ends.
    pub(super) fn is_own(&mut self, told: &Told<'_>, table: &Named) -> bool {
        if !told.is_of_session {
            return false;
        }
        let name = self.noted(told, table);
        if self.temporary.has(told.session, &name) {
            return true;
        }
        if !self.rules.server.logs_rows
            && let Some(at) = self.here(&qualified(told, table))
        {
            let how = "a statement in the log may be about it, or about a temporary table of its name";
            self.end_table(at, changed(self.tables.at(at).name(), how));
        }
        false
    }

    /// A table of the session's own gets another name, as far as it is one.
    pub(super) fn alter_own(&mut self, told: &Told<'_>, alter: &Alter) -> bool {
        if !self.is_own(told, &alter.table) {
            return false;
        }
        let to = alter.specs.iter().rev().find_map(|spec| if let Spec::RenameTo(to) = spec { Some(to) } else { None });
        if let Some(to) = to {
            self.move_own(told, &alter.table, to);
        }
        true
    }

    /// Takes tables of the session's own out of those that get other names. `MariaDB` alone gives them such, and does not say
    /// in the header that it matters who ran the statement.
    pub(super) fn rename_own(&mut self, told: &Told<'_>, renames: &mut Vec<(Named, Named)>) {
        if self.rules.server.dialect == Dialect::Mariadb {
            renames.retain(|(from, to)| !self.move_own(told, from, to));
        }
    }

    fn move_own(&mut self, told: &Told<'_>, from: &Named, to: &Named) -> bool {
        let (from, to) = (self.noted(told, from), self.noted(told, to));
        let is_own = self.temporary.go(told.session, &from);
        if is_own {
            self.temporary.come(told.session, to);
        }
        is_own
    }

    /// A name as all ways to write it are noted.
    fn noted(&self, told: &Told<'_>, table: &Named) -> TableName {
        self.tables.key(&qualified(told, table))
    }
}
