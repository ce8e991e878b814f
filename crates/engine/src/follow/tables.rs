//! Which changes of which tables a wave leaves out.

use wavemark_connector::source::Read;
use wavemark_connector::target::{Stage, TableMark};
use wavemark_domain::{ChangeKind, Position, TableId, TablePlan};

/// What following needs to know about each table.
pub(super) struct Tables {
    followed: Vec<Followed>,
    /// The highest position that any table has from its load: beyond it only parked tables are left out.
    loaded_up_to: Option<Position>,
    any_left_out: bool,
}

struct Followed {
    /// What the load gave: transactions that ended up to here are in the table already.
    from: Option<Position>,
    parked: bool,
    /// It is loaded aside: all of it is left out until the log is opened anew.
    aside: bool,
    live: bool,
    /// The reader ended the table before `from`, where the log still has an older layout: it is read again from there.
    rejoins: bool,
}

impl Tables {
    pub(super) fn new(plan: &[TablePlan], marks: &[TableMark]) -> Self {
        let followed: Vec<Followed> = plan
            .iter()
            .map(|table| {
                let mark = marks.iter().find(|mark| mark.source == *table.name());
                Followed {
                    from: mark.map(|mark| mark.position.clone()),
                    parked: mark.is_some_and(|mark| matches!(mark.stage, Stage::Parked(_))),
                    aside: mark.is_some_and(|mark| mark.stage == Stage::Loading),
                    live: false,
                    rejoins: false,
                }
            })
            .collect();
        Self {
            loaded_up_to: followed.iter().filter_map(|table| table.from.clone()).max(),
            any_left_out: followed.iter().any(|table| table.parked || table.aside),
            followed,
        }
    }

    /// Leaves the table out from now on; false if it was left out already.
    pub(super) fn park(&mut self, table: TableId) -> bool {
        self.any_left_out = true;
        let table = &mut self.followed[table.index()];
        table.aside = false;
        !std::mem::replace(&mut table.parked, true)
    }

    /// Leaves the table out from now on, because it is loaded aside.
    pub(super) fn take_aside(&mut self, table: TableId) {
        self.any_left_out = true;
        let table = &mut self.followed[table.index()];
        *table = Followed { from: None, parked: false, aside: true, live: false, rejoins: false };
    }

    pub(super) fn is_aside(&self, table: TableId) -> bool {
        self.followed[table.index()].aside
    }

    /// The layout of the table changes in a transaction with this end. If the table has that from its load, it is left
    /// out up to its own position, where the log must be read anew; false if the change is news to it.
    pub(super) fn rejoin_after(&mut self, table: TableId, end: &Position) -> bool {
        let table = &mut self.followed[table.index()];
        table.rejoins = table.from.as_ref().is_some_and(|from| end <= from);
        table.rejoins
    }

    /// Where the log must be read anew, if it must: the lowest position of any table that rejoins.
    pub(super) fn rejoin_at(&self) -> Option<&Position> {
        self.followed
            .iter()
            .filter(|table| table.rejoins && !table.parked)
            .filter_map(|table| table.from.as_ref())
            .min()
    }

    /// Whether barriers of the table are known already.
    pub(super) fn is_left_out(&self, table: TableId) -> bool {
        let table = &self.followed[table.index()];
        table.parked || table.aside || table.rejoins
    }

    pub(super) fn is_parked(&self, table: TableId) -> bool {
        self.followed[table.index()].parked
    }

    /// The tables that become live with a bookmark at `position`, given that nothing more is at hand.
    pub(super) fn become_live(&mut self, position: &Position) -> Vec<TableId> {
        let mut news = Vec::new();
        for (index, table) in (0..).zip(&mut self.followed) {
            let has_its_load = table.from.as_ref().is_some_and(|from| from <= position);
            if !table.parked && !table.aside && !table.rejoins && !table.live && has_its_load {
                table.live = true;
                news.push(TableId(index));
            }
        }
        news
    }

    /// Whether every table that isn't parked is live, so that they all stand at the bookmark.
    pub(super) fn all_live(&self) -> bool {
        self.followed.iter().all(|table| table.live || table.parked)
    }

    /// Whether the table is live.
    pub(super) fn is_live(&self, table: TableId) -> bool {
        let table = &self.followed[table.index()];
        table.live && !table.parked
    }

    /// For each change of the batch whether it is left out; `None` if none is. All ends are > `after`.
    pub(super) fn leave_out(&self, read: &Read, after: &Position) -> Option<Vec<bool>> {
        let in_load = self.loaded_up_to.as_ref().is_some_and(|loaded| after < loaded);
        if !self.any_left_out && !in_load && read.barriers.is_empty() {
            return None;
        }
        let batch = &read.batch;
        let mut without = Vec::with_capacity(batch.changes().len());
        for mark in batch.transactions() {
            let changes = &batch.changes()[without.len()..mark.changes_end];
            without.extend(changes.iter().map(|change| self.leaves_out(change.table, change.kind, Some(&mark.end))));
        }
        let open = &batch.changes()[without.len()..];
        without.extend(open.iter().map(|change| self.leaves_out(change.table, change.kind, read.open_end.as_ref())));
        Some(without)
    }

    fn leaves_out(&self, table: TableId, kind: ChangeKind, end: Option<&Position>) -> bool {
        let table = &self.followed[table.index()];
        let from_load = || match (end, &table.from) {
            (Some(end), Some(from)) => end <= from,
            _ => false,
        };
        table.parked || table.aside || kind == ChangeKind::Barrier || from_load()
    }
}
