//! Where transactions begin and end, and what of them is taken back.

use wavemark_domain::{ChangeKind, Fault, Problem};

use super::Assembler;
use super::annotated::Annotated;
use crate::binlog::Query;
use crate::log::statement::{Statement, Told};
use crate::position::Place;

/// A transaction that is being read.
pub(super) struct Open {
    /// Where it begins.
    pub(super) begin: Place,
    pub(super) committed_at: i64,
    /// Savepoints, each with the number of changes before it.
    pub(super) savepoints: Vec<(String, usize)>,
    /// Whether a part of it was given out.
    pub(super) is_given: bool,
}

impl Assembler {
    pub(super) fn begin(&mut self, begin: Place, committed_at: i64) {
        self.annotated = Annotated::default();
        self.open = Some(Open { begin, committed_at, savepoints: Vec::new(), is_given: false });
    }

    /// A file begins. A transaction that the one before it leaves without an end never was: its server died while it wrote that, and
    /// took it back when it started again. Nor was its number given; the next transaction has it.
    pub(super) fn abandon(&mut self, at: i64) {
        self.pieces = None;
        self.is_announced = false;
        self.numbers.forget();
        if self.open.is_some() {
            self.roll_back(0, at);
        }
    }

    /// Another transaction begins: what the one before it changed without an end never was.
    pub(super) fn abandon_changes(&mut self, at: i64) {
        if self.open.as_ref().is_some_and(|open| open.is_given) || self.batch.is_open() {
            self.abandon(at);
        }
    }

    pub(super) fn query(&mut self, query: &Query<'_>, begin: Place, at: i64) -> Result<(), Problem> {
        if !std::mem::take(&mut self.is_announced) {
            self.statement(query, begin, at)?;
        }
        if !self.is_open() {
            self.end(at);
        }
        Ok(())
    }

    fn statement(&mut self, query: &Query<'_>, begin: Place, at: i64) -> Result<(), Problem> {
        let told = Told::of(query);
        match Statement::of(&told.text) {
            Statement::Begin => {
                self.abandon_changes(at);
                self.begin(begin, at);
            }
            Statement::XaBegin => {
                self.abandon_changes(at);
                self.branches.begin(begin);
            }
            Statement::Commit => self.end(at),
            Statement::Rollback => self.roll_back(0, at),
            Statement::Savepoint(name) => {
                let changes = self.batch.changes().len();
                if let Some(open) = &mut self.open {
                    open.savepoints.retain(|(other, _)| other != name);
                    open.savepoints.push((name.to_owned(), changes));
                }
            }
            Statement::RollbackTo(name) => {
                let found = self.open.as_ref().and_then(|open| open.savepoints.iter().find(|(other, _)| other == name));
                match found.map(|(_, changes)| *changes) {
                    Some(changes) => self.take_back(changes),
                    None => self.end_touched("rolls back to a savepoint that is not in the log"),
                }
            }
            Statement::XaCommit(name) => self.commit_prepared(name, begin, at)?,
            Statement::XaRollback(name) => self.forget_prepared(name),
            // Without its beginning there is nothing of a prepared one.
            Statement::Release | Statement::XaEnd(_) | Statement::Xa => {}
            Statement::Defines => self.define(&told),
        }
        Ok(())
    }

    /// Ends every table that the open transaction has written so far.
    fn end_touched(&mut self, why: &str) {
        let first = self.batch.transactions().last().map_or(0, |mark| mark.changes_end);
        let mut touched: Vec<usize> = self.batch.changes()[first..].iter().map(|change| change.table.index()).collect();
        touched.sort_unstable();
        touched.dedup();
        self.take_back(0);
        for at in touched {
            let text = format!("A transaction that writes {} {why}.", self.tables.at(at).name());
            self.end_table(at, Problem::new(Fault::Data, "transaction-not-followed", text).advice("Reload the table."));
        }
    }

    /// Takes back what the open transaction did after so many changes.
    fn take_back(&mut self, changes: usize) {
        let first = self.batch.transactions().last().map_or(0, |mark| mark.changes_end);
        if self.open.as_ref().is_some_and(|open| open.is_given) {
            // What is in the target's hands already can't be taken back by itself.
            for at in 0..self.tables.len() {
                let text = format!(
                    "A large transaction that may write {} was rolled back in the log.",
                    self.tables.at(at).name()
                );
                self.end_table(
                    at,
                    Problem::new(Fault::Data, "transaction-not-followed", text).advice("Reload the table."),
                );
            }
            return;
        }
        self.batch.truncate_changes(changes.max(first));
    }

    fn roll_back(&mut self, changes: usize, at: i64) {
        self.take_back(changes);
        self.end(at);
    }

    /// The transaction is over, or there was none.
    ///
    /// Invariant: layouts and ends of tables that one statement brings share its place, and the layouts come first, for they
    /// leave the bookmark where it is.
    pub(super) fn end(&mut self, committed_at: i64) {
        self.numbers.pass();
        let was_given = self.open.take().is_some_and(|open| open.is_given);
        if !self.is_full() {
            self.close(was_given, committed_at);
        }
    }

    pub(super) fn close(&mut self, was_given: bool, committed_at: i64) {
        for (table, problem) in self.ending.drain(..) {
            self.batch.push_change(table, ChangeKind::Barrier, None, None);
            self.barriers.push((table, problem));
        }
        let has_layouts = !self.layouts.is_empty() && self.batch.transactions().is_empty();
        // One of which all was given out already has its end to give.
        if was_given || has_layouts || self.batch.is_open() {
            self.batch.end_transaction(self.place.to_position(&self.numbers.memo), committed_at);
            self.marked = Some(self.place.offset);
        }
    }
}
