//! Transactions that are prepared (XA). Their changes stand in the log where they were prepared, and count where they are
//! committed, which may be much later or never: so they are kept until then, small ones as they came, large ones as the place at
//! which they can be read again. What was prepared before the log was opened is looked for in it.

use std::collections::HashMap;

use bytes::Bytes;
use wavemark_domain::{Fault, Problem};

use super::Assembler;
use crate::binlog::{Checksum, Event, Query};
use crate::log::malformed;
use crate::log::statement::{Statement, Told};
use crate::position::Place;

/// Bytes of one transaction's events that are kept, and of all of them.
const MOST: usize = 1 << 20;
const MOST_OF_ALL: usize = 16 << 20;

/// An event with how it is checked.
pub(crate) type Kept = (Bytes, Checksum);

/// One that is prepared, or about to be.
struct Branch {
    /// Where it begins.
    begin: Place,
    /// None if they are too many.
    events: Option<Vec<Kept>>,
    bytes: usize,
}

/// All of them.
#[derive(Default)]
pub(super) struct Branches {
    /// By their names, as statements have them.
    prepared: HashMap<String, Branch>,
    bytes: usize,
    /// The one that is being read, and its name once that was told.
    open: Option<(Branch, Option<String>)>,
    wanted: Option<Wanted>,
}

/// One that is committed and has to be read again.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Where it begins; not known if it was prepared before the log was opened.
    pub(crate) begin: Option<Place>,
    /// Where it is committed.
    pub(crate) commit: Place,
    at: i64,
}

impl Branches {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Begins to read one.
    pub(super) fn begin(&mut self, begin: Place) {
        self.open = Some((Branch { begin, events: Some(Vec::new()), bytes: 0 }, None));
    }

    fn keep(&mut self, event: &[u8], checksum: Checksum) {
        let Some((branch, _)) = &mut self.open else { return };
        branch.bytes += event.len();
        if branch.bytes > MOST || self.bytes + branch.bytes > MOST_OF_ALL {
            branch.events = None;
        } else if let Some(events) = &mut branch.events {
            events.push((Bytes::copy_from_slice(event), checksum));
        }
    }

    fn take(&mut self, name: &str) -> Option<Branch> {
        let branch = self.prepared.remove(name)?;
        self.bytes -= branch.events.as_ref().map_or(0, |_| branch.bytes);
        Some(branch)
    }

    fn put(&mut self, name: String, branch: Branch) {
        self.take(&name);
        self.bytes += branch.events.as_ref().map_or(0, |_| branch.bytes);
        self.prepared.insert(name, branch);
    }
}

impl Assembler {
    /// Takes an event of a transaction that is about to be prepared; false if it is none, so that the transaction is not whole:
    /// a server that died has left it so, and no one can commit it.
    pub(super) fn branch_event(
        &mut self,
        event: &Event<'_>,
        raw: (&[u8], Checksum),
        begin: &Place,
        at: i64,
    ) -> Result<bool, Problem> {
        match event {
            Event::Query(query) => self.branch_statement(query, raw),
            Event::Annotated(_) | Event::TableMap(_) | Event::Rows(_) | Event::Piece(_) | Event::Compressed(_) => {
                self.branches.keep(raw.0, raw.1);
            }
            Event::Prepared { is_committed } => return self.prepared(*is_committed, begin, at).map(|()| true),
            Event::Other => {}
            _ => {
                self.branches.open = None;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn branch_statement(&mut self, query: &Query<'_>, (raw, checksum): (&[u8], Checksum)) {
        match Statement::of(&Told::of(query).text) {
            Statement::XaEnd(name) => {
                if let Some((_, told)) = &mut self.branches.open {
                    *told = Some(name.to_owned());
                }
            }
            // What defines nothing stands in place of rows.
            Statement::Savepoint(_) | Statement::RollbackTo(_) | Statement::Release | Statement::Defines => {
                self.branches.keep(raw, checksum);
            }
            _ => {}
        }
    }

    /// It is prepared, or committed at once.
    fn prepared(&mut self, is_committed: bool, begin: &Place, at: i64) -> Result<(), Problem> {
        let Some((branch, name)) = self.branches.open.take() else { return Ok(()) };
        if is_committed {
            return self.decide(branch.begin.clone(), (name.unwrap_or_default(), Some(branch)), at);
        }
        let name =
            name.ok_or_else(|| malformed(crate::fields::Malformed("a prepared transaction has no name"), begin))?;
        self.branches.put(name, branch);
        self.end(at);
        Ok(())
    }

    /// One that is prepared is committed here.
    pub(super) fn commit_prepared(&mut self, name: &str, begin: Place, at: i64) -> Result<(), Problem> {
        let branch = self.branches.take(name);
        self.decide(begin, (name.to_owned(), branch), at)
    }

    /// One that is prepared never was.
    pub(super) fn forget_prepared(&mut self, name: &str) {
        self.branches.take(name);
    }

    fn decide(&mut self, begin: Place, (name, branch): (String, Option<Branch>), at: i64) -> Result<(), Problem> {
        self.begin(begin, at);
        let (from, events) = branch.map_or((None, None), |branch| (Some(branch.begin), branch.events));
        let Some(events) = events else {
            self.branches.wanted = Some(Wanted { name, begin: from, commit: self.place.clone(), at });
            return Ok(());
        };
        for event in &events {
            self.read_again(event)?;
        }
        self.end(at);
        Ok(())
    }

    /// What has to be read again before anything else is taken.
    pub(crate) fn wanted(&self) -> Option<&Wanted> {
        self.branches.wanted.as_ref()
    }

    /// Takes an event that was read again.
    pub(crate) fn read_again(&mut self, (bytes, checksum): &Kept) -> Result<(), Problem> {
        let (header, event) = Event::read(bytes, *checksum).map_err(|cause| malformed(cause, &self.place))?;
        let place = self.place.clone();
        self.take_event(event, (bytes, *checksum), header.timestamp, place)
    }

    /// All of it was read again, or nothing of it is in the log any more.
    pub(crate) fn has_read_again(&mut self, is_there: bool) {
        let Some(wanted) = self.branches.wanted.take() else { return };
        if !is_there {
            for at in 0..self.tables.len() {
                let text = format!(
                    "A transaction that may have written {} was prepared (XA) before the log that is there begins, and is \
                     committed now.",
                    self.tables.at(at).name()
                );
                let problem = Problem::new(Fault::Data, "transaction-not-followed", text).advice("Reload the table.");
                self.end_table(at, problem);
            }
        }
        self.end(wanted.at);
    }
}
