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
    part: Part,
    live: bool,
}

/// Whether the waves take a table's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// They do, after its `from`.
    Taken,
    /// Its changes are not kept.
    Parked,
    /// It is gone at the source, and all of its changes are in the target: nothing of it comes any more.
    Gone,
    /// It is loaded aside: all of it is left out until the log is opened anew.
    Aside,
    /// The reader ended the table before `from`, where the log still has an older layout: it is read again from there.
    Rejoins,
}

impl Part {
    fn of(mark: Option<&TableMark>) -> Self {
        match mark.map(|mark| &mark.stage) {
            Some(Stage::Parked(_)) => Self::Parked,
            Some(Stage::Loading) => Self::Aside,
            Some(Stage::Loaded) | None => Self::Taken,
        }
    }
}

impl Tables {
    pub(super) fn new(plan: &[TablePlan], marks: &[TableMark]) -> Self {
        let followed: Vec<Followed> = plan
            .iter()
            .map(|table| {
                let mark = marks.iter().find(|mark| mark.source == *table.name());
                Followed { from: mark.map(|mark| mark.position.clone()), part: Part::of(mark), live: false }
            })
            .collect();
        Self {
            loaded_up_to: followed.iter().filter_map(|table| table.from.clone()).max(),
            any_left_out: followed.iter().any(|table| matches!(table.part, Part::Parked | Part::Aside)),
            followed,
        }
    }

    /// Leaves the table out from now on; false if it was left out already.
    pub(super) fn park(&mut self, table: TableId) -> bool {
        self.any_left_out = true;
        std::mem::replace(&mut self.followed[table.index()].part, Part::Parked) != Part::Parked
    }

    /// Nothing of the table comes any more.
    pub(super) fn leave(&mut self, table: TableId) {
        self.any_left_out = true;
        self.followed[table.index()].part = Part::Gone;
    }

    /// The tables that are gone.
    pub(super) fn gone(&self) -> Vec<TableId> {
        let numbered = (0..).zip(&self.followed);
        numbered.filter(|(_, table)| table.part == Part::Gone).map(|(index, _)| TableId(index)).collect()
    }

    /// Leaves the table out from now on, because it is loaded aside.
    pub(super) fn take_aside(&mut self, table: TableId) {
        self.any_left_out = true;
        self.followed[table.index()] = Followed { from: None, part: Part::Aside, live: false };
    }

    pub(super) fn is_aside(&self, table: TableId) -> bool {
        self.followed[table.index()].part == Part::Aside
    }

    /// The layout of the table changes in a transaction with this end. If the table has that from its load, it is left
    /// out up to its own position, where the log must be read anew; false if the change is news to it.
    pub(super) fn rejoin_after(&mut self, table: TableId, end: &Position) -> bool {
        let table = &mut self.followed[table.index()];
        let has_it = table.from.as_ref().is_some_and(|from| end <= from);
        if has_it {
            table.part = Part::Rejoins;
        }
        has_it
    }

    /// Where the log must be read anew, if it must: the lowest position of any table that rejoins.
    pub(super) fn rejoin_at(&self) -> Option<&Position> {
        self.followed.iter().filter(|table| table.part == Part::Rejoins).filter_map(|table| table.from.as_ref()).min()
    }

    /// The highest position that any table which is not parked has from its load.
    pub(super) fn loaded_up_to(&self) -> Option<&Position> {
        let kept = self.followed.iter().filter(|table| matches!(table.part, Part::Taken | Part::Rejoins));
        kept.filter_map(|table| table.from.as_ref()).max()
    }

    /// Whether barriers of the table are known already.
    pub(super) fn is_left_out(&self, table: TableId) -> bool {
        self.followed[table.index()].part != Part::Taken
    }

    pub(super) fn is_parked(&self, table: TableId) -> bool {
        self.followed[table.index()].part == Part::Parked
    }

    /// The tables that become live with a bookmark at `position`, given that nothing more is at hand.
    pub(super) fn become_live(&mut self, position: &Position) -> Vec<TableId> {
        let mut news = Vec::new();
        for (index, table) in (0..).zip(&mut self.followed) {
            let has_its_load = table.from.as_ref().is_some_and(|from| from <= position);
            if table.part == Part::Taken && !table.live && has_its_load {
                table.live = true;
                news.push(TableId(index));
            }
        }
        news
    }

    /// Whether every table that isn't parked is live, so that they all stand at the bookmark.
    pub(super) fn all_live(&self) -> bool {
        self.followed.iter().all(|table| table.live || matches!(table.part, Part::Parked | Part::Gone))
    }

    /// Whether every table that the waves take is live.
    pub(super) fn all_taken_are_live(&self) -> bool {
        let is_taken = |table: &Followed| matches!(table.part, Part::Taken | Part::Rejoins);
        self.followed.iter().all(|table| table.live || !is_taken(table))
    }

    /// Whether the table is live.
    pub(super) fn is_live(&self, table: TableId) -> bool {
        let table = &self.followed[table.index()];
        table.live && !matches!(table.part, Part::Parked | Part::Gone)
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
        matches!(table.part, Part::Parked | Part::Aside | Part::Gone) || kind == ChangeKind::Barrier || from_load()
    }
}
