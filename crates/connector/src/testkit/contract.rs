//! What every target must do, in one test that each of them is put through: the simulated one as well as real ones,
//! so that what is shown with the one holds for the others.
//!
//! The table has three columns of whole numbers in eight bytes, the highest first: `id` is the key, `value`, `large`.

use std::sync::Arc;

use async_trait::async_trait;
use wavemark_domain::batch::RowStart;
use wavemark_domain::task::Preparation;
use wavemark_domain::{
    Batch, Cell, ChangeKind, Epoch, Fault, Position, Problem, Relayout, TableId, TablePlan, WaveNumber,
};

use crate::TaskContext;
use crate::source::{Block, ChunkRange, KeySet, RowReader};
use crate::target::{
    Bookmark, Checks, ChunkMark, Conflict, Kept, OpenError, Opened, Refused, Segment, Session, Stage, TableMark,
    Target, Verdict, WaveEnd,
};

/// A target to look at.
pub struct Subject {
    /// It holds nothing of the task yet.
    pub target: Arc<dyn Target>,
    /// The task at epoch 1, granted for the first time.
    pub task: TaskContext,
    /// The one table of its plan.
    pub plan: TablePlan,
    /// The layout that the table gets; its rows are three numbers as before.
    pub next: Relayout,
    /// What the table has for a `value` that comes in that layout.
    pub in_next: fn(i64) -> i64,
}

/// A row: id, value, large.
pub type Numbers = [i64; 3];

/// Puts a target through everything; `rows` reads the table, sorted, by other means than the target's own.
///
/// # Panics
/// Where the target does not do what the contract says.
pub async fn check(subject: &Subject, rows: impl AsyncFn() -> Vec<Numbers>) {
    subject.a_load_goes_on_from_its_finished_chunks(&rows).await;
    subject.loaders_work_beside_a_wave().await;
    subject.a_wave_is_there_with_its_bookmark_or_not_at_all(&rows).await;
    subject.changes_that_do_not_fit_the_rows_are_refused(&rows).await;
    subject.conflicts_are_told_apart_and_settled(&rows).await;
    subject.nothing_of_a_predecessor_can_be_committed(&rows).await;
    subject.a_parked_table_is_kept_with_its_reason().await;
    subject.a_table_is_altered_with_its_wave_or_not_at_all(&rows).await;
    subject.a_table_ends_with_its_wave_or_not_at_all(&rows).await;
    subject.what_is_cleaned_up_is_not_opened_again().await;
}

impl Subject {
    async fn open(&self, epoch: i64) -> Opened {
        let mut opened = self.try_open(epoch).await.unwrap_or_else(|error| panic!("it must open: {error}"));
        opened.session.attach(std::slice::from_ref(&self.plan)).await.expect("the table of the plan is there");
        opened
    }

    async fn try_open(&self, epoch: i64) -> Result<Opened, OpenError> {
        let task = TaskContext { epoch: Epoch(epoch), first_grant: epoch == 1, ..self.task.clone() };
        self.target.open(&task).await
    }

    async fn apply(&self, session: &mut dyn Session, changes: &[Change]) -> Result<(), Problem> {
        session.apply(std::slice::from_ref(&self.plan), &Segment::whole(&batch(changes))).await
    }

    /// Applies and commits; the first error of either.
    async fn wave(&self, session: &mut dyn Session, wave: i64, changes: &[Change]) -> Result<(), Problem> {
        self.apply(session, changes).await?;
        commit(session, wave, &[]).await
    }

    async fn a_load_goes_on_from_its_finished_chunks(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let mut first = self.open(1).await;
        assert_eq!(first.kept, Kept::default(), "nothing is kept of a task that was never here");
        let mark = self.mark(2);
        first.session.begin_table(&self.plan, Preparation::Nothing, &mark).await.expect("a table is begun");
        let loaded =
            first.loaders[0].load(&self.plan, 0, &mut Given::rows(&[[1, 10, 100], [2, 20, 200]]), &|_| {}).await;
        assert_eq!(loaded.expect("a chunk is loaded").rows, 2);

        let mut second = self.open(1).await;
        let late = first.loaders[0].load(&self.plan, 1, &mut Given::rows(&[[9, 9, 9]]), &|_| {}).await;
        assert!(late.is_err(), "a session of an opening before, under the same epoch, must not load");
        assert_eq!(second.kept.bookmark, None);
        let kept = &second.kept.tables[0];
        assert_eq!((&kept.source, &kept.stage, &kept.began), (&mark.source, &Stage::Loading, &mark.began));
        let done: Vec<Option<u64>> = kept.chunks.iter().map(|chunk| chunk.done.map(|done| done.rows)).collect();
        assert_eq!(done, [Some(2), None], "a chunk is there with its mark");
        assert_eq!(rows().await, [[1, 10, 100], [2, 20, 200]]);

        let again = second.loaders[0].load(&self.plan, 0, &mut Given::rows(&[[8, 8, 8]]), &|_| {}).await;
        assert!(again.is_err(), "a chunk that is done is not loaded again");
        let mut third = self.open(1).await;
        third.loaders[0]
            .load(&self.plan, 1, &mut Given::rows(&[[3, 31, 301], [4, 40, 400]]), &|_| {})
            .await
            .expect("a chunk is loaded");
        third.loaders[0].finish_table(&self.plan).await.expect("the table gets its keys");
        let mut touched = KeySet::default();
        for key in [3_i64, 4, 5] {
            touched.insert([&key.to_be_bytes()[..]]);
        }
        let mut fresh = Given::rows(&[[3, 30, 300]]);
        let forward = third.loaders[0].bring_forward(&self.plan, &touched, &mut fresh, &at(2), "later").await;
        assert_eq!(forward.expect("a finished table is brought forward"), 1);
        let mut fourth = self.open(1).await;
        let kept = &fourth.kept.tables[0];
        assert_eq!((&kept.stage, &kept.position), (&Stage::Loading, &at(2)), "it does not take the log yet");
        fourth.loaders[0].complete_table(&self.plan).await.expect("a finished table is completed");
        commit(fourth.session.as_mut(), 1, &[]).await.expect("the first wave is empty");
        let kept = self.open(1).await.kept;
        assert_eq!(kept.bookmark, Some(bookmark(1)));
        assert_eq!(kept.tables[0].stage, Stage::Loaded);
        assert_eq!(rows().await, [[1, 10, 100], [2, 20, 200], [3, 30, 300]]);
    }

    async fn loaders_work_beside_a_wave(&self) {
        let mut opened = self.open(1).await;
        self.apply(opened.session.as_mut(), &[Change::Insert([6, 60, 600])]).await.expect("an insert is applied");
        let beside = opened.loaders[0].finish_table(&self.plan);
        tokio::time::timeout(std::time::Duration::from_secs(10), beside)
            .await
            .expect("a wave that is open must not hold up a loader")
            .expect("a finished table stays as it is");
        opened.session.roll_back().await.expect("a wave is taken back");
    }

    async fn a_wave_is_there_with_its_bookmark_or_not_at_all(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let mut opened = self.open(1).await;
        let session = opened.session.as_mut();
        self.apply(session, &[Change::Insert([7, 7, 7])]).await.expect("an insert is applied");
        session.roll_back().await.expect("a wave is taken back");
        let changes = [
            Change::Update { old: None, new: [Some(1), Some(11), None] },
            Change::Delete(2),
            Change::Update { old: Some(3), new: [Some(5), Some(31), Some(301)] },
            Change::Insert([4, 40, 400]),
        ];
        self.wave(session, 2, &changes).await.expect("a wave is committed");
        let after = [[1, 11, 100], [4, 40, 400], [5, 31, 301]];
        assert_eq!(rows().await, after, "a column that was left out keeps its value");

        let twice = self.wave(session, 2, &[Change::Insert([6, 60, 600])]).await;
        assert!(twice.is_err(), "a wave that is there is not committed again");
        assert_eq!(self.open(1).await.kept.bookmark, Some(bookmark(2)));
        assert_eq!(rows().await, after);
    }

    async fn changes_that_do_not_fit_the_rows_are_refused(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let mut opened = self.open(1).await;
        let session = opened.session.as_mut();
        let before = rows().await;
        let misfits = [
            Change::Insert([4, 0, 0]),
            Change::Delete(77),
            Change::Update { old: None, new: [Some(77), Some(0), Some(0)] },
            Change::Update { old: Some(1), new: [Some(4), Some(0), Some(0)] },
        ];
        for misfit in misfits {
            let problem = self.wave(session, 3, &[Change::Insert([8, 80, 800]), misfit]).await;
            let problem = problem.expect_err("a change that does not fit the rows is refused");
            assert_eq!(problem.fault, Fault::Data, "{misfit:?}: {problem}");
            session.roll_back().await.expect("a wave that failed is taken back");
            assert_eq!(rows().await, before, "nothing is there of a wave that failed");
        }

        let changes = batch(&[Change::Insert([8, 80, 800]), Change::Delete(77), Change::Insert([9, 90, 900])]);
        let mut refused = Vec::new();
        let mut verdict = |row: Refused<'_>| {
            refused.push((row.index, row.conflict));
            Verdict::LeaveOut
        };
        let plan = std::slice::from_ref(&self.plan);
        let carefully =
            session.apply_carefully(plan, &Segment::whole(&changes), Checks::AsDeclared, &mut verdict).await;
        carefully.expect("a row that is left out does not stop the others");
        assert_eq!(refused, [(1, Some(Conflict::RowMissing { whole: false }))]);
        commit(session, 3, &[]).await.expect("the wave is committed without it");
        assert_eq!(rows().await, [[1, 11, 100], [4, 40, 400], [5, 31, 301], [8, 80, 800], [9, 90, 900]]);
    }

    /// Leaves the rows as they were.
    async fn conflicts_are_told_apart_and_settled(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let mut opened = self.open(1).await;
        let session = opened.session.as_mut();
        let before = rows().await;
        let (exists, missing) = (Conflict::RowExists, |whole| Conflict::RowMissing { whole });
        let whole = |old, id, value| Change::Update { old, new: [Some(id), Some(value), Some(5)] };
        let part = |old, id, value| Change::Update { old, new: [Some(id), Some(value), None] };
        let expected = [
            (Change::Insert([4, 44, 444]), exists, Verdict::Resolve),
            (whole(None, 70, 7), missing(true), Verdict::Resolve),
            (part(None, 71, 7), missing(false), Verdict::LeaveOut),
            (Change::Delete(72), missing(false), Verdict::Resolve),
            // Its row takes the place of the one that has its key, with what the log left out.
            (part(Some(1), 5, 55), exists, Verdict::Resolve),
            // Its row is missing and its new key taken.
            (whole(Some(73), 8, 88), missing(true), Verdict::Resolve),
        ];
        let changes = batch(&expected.map(|(change, ..)| change));
        let mut found = Vec::new();
        let mut verdict = |row: Refused<'_>| {
            found.push((row.index, row.conflict));
            expected[row.index].2
        };
        let plan = std::slice::from_ref(&self.plan);
        let settled = session.apply_carefully(plan, &Segment::whole(&changes), Checks::AsDeclared, &mut verdict).await;
        settled.expect("each conflict is settled in its wave");
        assert_eq!(rows().await, before, "nothing is there before the commit");
        let conflicts: Vec<_> = expected.iter().enumerate().map(|(at, (_, one, _))| (at, Some(*one))).collect();
        assert_eq!(found, conflicts);
        commit(session, 4, &[]).await.expect("the wave is committed");
        assert_eq!(rows().await, [[4, 44, 444], [5, 55, 100], [8, 88, 5], [9, 90, 900], [70, 7, 5]]);

        let back = [
            Change::Delete(70),
            Change::Update { old: Some(5), new: [Some(1), Some(11), Some(100)] },
            Change::Insert([5, 31, 301]),
            Change::Update { old: None, new: [Some(4), Some(40), Some(400)] },
            Change::Update { old: None, new: [Some(8), Some(80), Some(800)] },
        ];
        self.wave(session, 5, &back).await.expect("what was settled is as any other row");
        assert_eq!(rows().await, before);
    }

    async fn nothing_of_a_predecessor_can_be_committed(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let mut zombie = self.open(1).await;
        let before = rows().await;
        self.apply(zombie.session.as_mut(), &[Change::Delete(9)]).await.expect("a wave is opened");
        let successor = self.open(2).await;
        assert_eq!(successor.kept.bookmark, Some(bookmark(5)));
        assert!(commit(zombie.session.as_mut(), 6, &[]).await.is_err(), "an open wave of a predecessor must not land");
        assert_eq!(rows().await, before);
        match self.try_open(1).await {
            Err(OpenError::Fenced { held, .. }) => assert_eq!(held, Epoch(2)),
            Err(OpenError::Problem(problem)) => panic!("a lower epoch is fenced, not refused with {problem}"),
            Ok(_) => panic!("a lower epoch must not open"),
        }
    }

    async fn a_parked_table_is_kept_with_its_reason(&self) {
        let mut opened = self.open(2).await;
        let reason = Problem::new(Fault::Data, "a-reason", "It was parked by a test.");
        let parked = [(self.plan.id, at(5), reason.clone())];
        commit(opened.session.as_mut(), 6, &parked).await.expect("a table is parked with a wave");
        let kept = self.open(2).await.kept;
        assert_eq!(kept.bookmark, Some(bookmark(6)));
        assert_eq!(kept.tables[0].position, at(5));
        match &kept.tables[0].stage {
            Stage::Parked(problem) => assert_eq!(problem.code, reason.code),
            other => panic!("the table is parked, not {other:?}"),
        }
    }

    async fn a_table_is_altered_with_its_wave_or_not_at_all(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let next = std::slice::from_ref(&self.next.plan);
        let insert = |row: Numbers| batch(&[Change::Insert(row)]);
        let before = rows().await;
        let mut first = self.open(2).await;
        let session = first.session.as_mut();
        session.alter(next, &self.plan, &self.next).await.expect("a table is altered in a wave");
        session.apply(next, &Segment::whole(&insert([6, 60, 600]))).await.expect("rows of its next layout follow");
        session.roll_back().await.expect("the wave is taken back");
        assert_eq!(rows().await, before);

        // Nothing is left of that: rows come as before, and in one wave with those of the next layout.
        let mut second = self.open(2).await;
        let session = second.session.as_mut();
        self.wave(session, 7, &[Change::Insert([6, 60, 600])]).await.expect("the table is what it was");
        self.apply(session, &[Change::Update { old: None, new: [Some(6), Some(61), None] }])
            .await
            .expect("a row before");
        session.alter(next, &self.plan, &self.next).await.expect("a table is altered among its rows");
        session.apply(next, &Segment::whole(&insert([7, 70, 700]))).await.expect("a row after");
        commit(session, 8, &[]).await.expect("the wave is committed");
        let mut after = [before, vec![[6, 61, 600], [7, (self.in_next)(70), 700]]].concat();
        after.sort_unstable();
        assert_eq!(rows().await, after);

        let mut third = self.try_open(2).await.unwrap_or_else(|error| panic!("it must open: {error}"));
        assert_eq!(third.kept.bookmark, Some(bookmark(8)));
        let session = third.session.as_mut();
        session.attach(next).await.expect("the table has its next layout");
        session.apply(next, &Segment::whole(&batch(&[Change::Delete(6)]))).await.expect("it takes more changes");
        commit(session, 9, &[]).await.expect("the wave is committed");
        after.retain(|row| row[0] != 6);
        assert_eq!(rows().await, after);
    }

    async fn a_table_ends_with_its_wave_or_not_at_all(&self, rows: &impl AsyncFn() -> Vec<Numbers>) {
        let table = &self.next.plan;
        let before = rows().await;
        let mut first = self.open(2).await;
        let kept = first.kept.tables.clone();
        let session = first.session.as_mut();
        assert_eq!(session.end_table(table, false).await, Ok(Some(Vec::new())), "a table without foreign keys ends");
        session.roll_back().await.expect("the wave is taken back");
        let mut second = self.open(2).await;
        assert_eq!(second.kept.tables, kept, "its mark stays with a wave that was taken back");
        let session = second.session.as_mut();
        session.end_table(table, false).await.expect("a table ends");
        commit(session, 10, &[]).await.expect("the wave is committed");
        assert_eq!(rows().await, before, "its rows stay where nothing else is asked for");

        let mut third = self.open(2).await;
        assert_eq!((third.kept.tables.len(), third.kept.bookmark), (0, Some(bookmark(10))), "nothing is kept of it");
        let mark = self.mark(1);
        let session = third.session.as_mut();
        session.begin_table(table, Preparation::Nothing, &mark).await.expect("one of its name begins anew");
        assert_eq!(rows().await, Vec::<Numbers>::new(), "without the rows of the one before");
        session.end_table(table, true).await.expect("a table that was made for the task is dropped");
        commit(session, 11, &[]).await.expect("the wave is committed");
        assert_eq!(self.open(2).await.kept.tables, [], "nothing is kept of it");
    }

    async fn what_is_cleaned_up_is_not_opened_again(&self) {
        let task = TaskContext { epoch: Epoch(3), first_grant: false, ..self.task.clone() };
        for _ in 0..2 {
            self.target.clean_up(&task).await.expect("it is cleaned up, also again");
        }
        for epoch in [2, 3, 4] {
            match self.try_open(epoch).await {
                Err(OpenError::Problem(problem)) => {
                    assert_eq!((problem.fault, &*problem.code), (Fault::Settings, "task-deleted"), "epoch {epoch}");
                }
                Err(other) => panic!("epoch {epoch} is told that it was deleted, not: {other}"),
                Ok(_) => panic!("a tombstone is not opened by epoch {epoch}"),
            }
        }
    }

    fn mark(&self, chunks: u32) -> TableMark {
        let chunk = |number: u32| ChunkMark { number, range: ChunkRange(format!("part {number}")), done: None };
        TableMark {
            source: self.plan.name().clone(),
            began: at(1),
            position: at(1),
            storage: "storage".to_owned(),
            stage: Stage::Loading,
            chunks: (0..chunks).map(chunk).collect(),
        }
    }
}

async fn commit(session: &mut dyn Session, wave: i64, parked: &[(TableId, Position, Problem)]) -> Result<(), Problem> {
    let Bookmark { wave, position } = bookmark(wave);
    let end = WaveEnd { wave, position: &position, position_text: "a place", committed_at: None, parked };
    session.commit(&end).await
}

fn bookmark(wave: i64) -> Bookmark {
    Bookmark { wave: WaveNumber(wave), position: at(u8::try_from(wave).unwrap_or(u8::MAX)) }
}

fn at(place: u8) -> Position {
    Position::new(vec![place])
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Insert(Numbers),
    /// By the old key where that changes; what is none is left out.
    Update {
        old: Option<i64>,
        new: [Option<i64>; 3],
    },
    Delete(i64),
}

fn batch(changes: &[Change]) -> Batch {
    let mut batch = Batch::default();
    for change in changes {
        match *change {
            Change::Insert(row) => {
                let new = push(&mut batch, row.map(Some), Cell::UNCHANGED);
                batch.push_change(TableId(0), ChangeKind::Insert, None, Some(new));
            }
            Change::Update { old, new } => {
                let old = old.map(|id| push(&mut batch, [Some(id), None, None], Cell::NULL));
                let new = push(&mut batch, new, Cell::UNCHANGED);
                batch.push_change(TableId(0), ChangeKind::Update, old, Some(new));
            }
            Change::Delete(id) => {
                let old = push(&mut batch, [Some(id), None, None], Cell::NULL);
                batch.push_change(TableId(0), ChangeKind::Delete, Some(old), None);
            }
        }
    }
    batch.end_transaction(at(0), 0);
    batch
}

fn push(batch: &mut Batch, row: [Option<i64>; 3], missing: Cell) -> RowStart {
    let start = batch.begin_row();
    for cell in row {
        match cell {
            Some(number) => batch.push_value(&number.to_be_bytes()),
            None => batch.push_marker(missing),
        }
    }
    start
}

/// Rows of one chunk.
struct Given(Option<Batch>);

impl Given {
    fn rows(rows: &[Numbers]) -> Self {
        let changes: Vec<Change> = rows.iter().copied().map(Change::Insert).collect();
        let mut rows = Batch::default();
        let whole = batch(&changes);
        rows.append_changes(&whole, 0..changes.len(), |_| 3);
        Self(Some(rows))
    }
}

#[async_trait]
impl RowReader for Given {
    async fn next(&mut self) -> Result<Option<Block>, Problem> {
        Ok(self.0.take().map(Block::Rows))
    }
}
