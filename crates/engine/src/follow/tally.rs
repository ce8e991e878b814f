//! What the open wave changes: counted while it is applied, shown once it is committed.

use wavemark_connector::target::Segment;
use wavemark_domain::progress::{TableProgress, TaskProgress};
use wavemark_domain::{ChangeKind, TableId};

#[derive(Default)]
pub(super) struct Tally {
    changes: u64,
    bytes: u64,
    /// By the number of the table; zero but for those that are touched.
    tables: Vec<Counts>,
    touched: Vec<TableId>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    inserts: u64,
    updates: u64,
    deletes: u64,
    truncates: u64,
    /// When the source committed the newest of them; none if that is the end of the wave.
    committed_at: Option<i64>,
}

impl Tally {
    /// Counts what was applied: all of the segment but the rows that were left out, given in order.
    pub(super) fn add(&mut self, segment: &Segment<'_>, left_out: &[usize]) {
        let batch = segment.batch;
        self.bytes += (batch.arena_len() * segment.range.len() / batch.changes().len().max(1)) as u64;
        let committed_at = batch.transactions().last().filter(|_| !batch.is_open()).map(|mark| mark.committed_at);
        for (index, change) in segment.changes() {
            if left_out.binary_search(&index).is_ok() {
                continue;
            }
            self.changes += 1;
            let counts = self.touch(change.table);
            counts.committed_at = committed_at;
            match change.kind {
                ChangeKind::Insert => counts.inserts += 1,
                ChangeKind::Update => counts.updates += 1,
                ChangeKind::Delete => counts.deletes += 1,
                ChangeKind::Truncate => counts.truncates += 1,
                ChangeKind::Barrier => {}
            }
        }
    }

    /// The wave was taken back.
    pub(super) fn clear(&mut self) {
        (self.changes, self.bytes) = (0, 0);
        for table in self.touched.drain(..) {
            self.tables[table.index()] = Counts::default();
        }
    }

    /// Puts it into the progress: the wave was committed, and ends with a transaction that the source committed then.
    pub(super) fn show(&mut self, progress: &mut TaskProgress, committed_at: i64) {
        progress.bytes_written += self.bytes;
        progress.changes_written += self.changes;
        progress.wave_changes = self.changes;
        if let Some(drained) = progress.drained.as_mut().filter(|_| self.changes > 0) {
            drained.written_since = true;
        }
        for table in &self.touched {
            if let Some(progress) = progress.tables.get_mut(table.index()) {
                self.tables[table.index()].show(progress, committed_at);
            }
        }
        self.clear();
    }

    fn touch(&mut self, table: TableId) -> &mut Counts {
        let index = table.index();
        if self.tables.len() <= index {
            self.tables.resize(index + 1, Counts::default());
        }
        if self.tables[index].is_zero() {
            self.touched.push(table);
        }
        &mut self.tables[index]
    }
}

impl Counts {
    fn is_zero(&self) -> bool {
        self.inserts + self.updates + self.deletes + self.truncates == 0
    }

    fn show(&self, progress: &mut TableProgress, wave_committed_at: i64) {
        progress.inserts += self.inserts;
        progress.updates += self.updates;
        progress.deletes += self.deletes;
        progress.truncates += self.truncates;
        progress.applied_commit_at = Some(self.committed_at.unwrap_or(wave_committed_at));
    }
}
