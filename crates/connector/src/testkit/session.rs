//! The simulated target's sessions: waves, tables, chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use wavemark_domain::task::Preparation;
use wavemark_domain::{Fault, Position, Problem, Relayout, TableId, TableName, TablePlan, WaveNumber};

use super::backend::{Begun, Connection, Lock};
use super::model::{Row, layout_of};
use super::rows::{apply, conflict, read_all, refuse_poison, resolve};
use super::side::SimulatedSide;
use super::target::{Mark, Progress, TargetState};
use super::{Mishap, Sabotage};
use crate::compare::Side;
use crate::source::{Counter, KeySet, RowReader};
use crate::target::{
    Bookmark, Checks, Conflict, Loaded, Loader, Refused, Segment, Session, Stage, TableMark, Verdict, WaveEnd,
};

/// How long rows that others hold are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A wave that is being applied: the tables that it touches as they will be.
struct Wave {
    begun: Begun,
    tables: BTreeMap<usize, Vec<Row>>,
    /// Layouts that tables get with it.
    layouts: BTreeMap<usize, u64>,
    /// Tables that end with it, and whether they are dropped.
    ended: BTreeMap<usize, bool>,
}

pub(super) struct SimulatedSession {
    connection: Connection,
    wave: Option<Wave>,
}

impl SimulatedSession {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, wave: None }
    }

    async fn begin(&mut self) -> Result<(), Problem> {
        if self.wave.is_none() {
            let begun = self.connection.begin(Lock::Alone, "beginning a wave").await?;
            self.wave = Some(Wave { begun, tables: BTreeMap::new(), layouts: BTreeMap::new(), ended: BTreeMap::new() });
        }
        Ok(())
    }

    /// Makes the tables of the changes ready to be changed: waits for their rows, and looks whether they fit.
    async fn take(&mut self, plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem> {
        let tables: BTreeSet<usize> = segment.changes().map(|(_, change)| change.table.index()).collect();
        for table in tables {
            self.wait_for_rows(&plan[table]).await?;
            let Some(wave) = self.wave.as_mut() else { continue };
            let state = self.connection.target.state();
            if wave.layouts.get(&table) != Some(&layout_of(&plan[table])) {
                state.must_fit(&plan[table])?;
            }
            wave.tables.entry(table).or_insert_with(|| state.tables[table].clone());
        }
        Ok(())
    }

    async fn wait_for_rows(&self, plan: &TablePlan) -> Result<(), Problem> {
        let table = plan.id.index();
        let target = &self.connection.target;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(until) = target.state().held_until(table) else { return Ok(()) };
            if until > deadline {
                sleep_until(deadline).await;
                return Err(
                    Problem::transient("lock-timeout", "simulated: others hold rows of the table").table(plan.name())
                );
            }
            sleep_until(until).await;
            if target.state().chance.hits(200) {
                return Err(Problem::transient("deadlock", "simulated: the wave was chosen to end a deadlock"));
            }
        }
    }

    fn change(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        index: usize,
        checks: Checks,
    ) -> Result<(), Problem> {
        let change = &segment.batch.changes()[index];
        let table = change.table.index();
        let rows = self.wave.as_mut().and_then(|wave| wave.tables.get_mut(&table));
        let rows = rows.ok_or_else(|| Problem::internal("a change without its wave"))?;
        apply(rows, &plan[table], (segment.batch, change), checks)
    }

    fn resolve(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        index: usize,
        how: (Conflict, Checks),
    ) -> Result<(), Problem> {
        let change = &segment.batch.changes()[index];
        let table = change.table.index();
        let rows = self.wave.as_mut().and_then(|wave| wave.tables.get_mut(&table));
        let rows = rows.ok_or_else(|| Problem::internal("a conflict without its wave"))?;
        resolve(rows, &plan[table], (segment.batch, change), how)
    }
}

#[async_trait]
impl Session for SimulatedSession {
    async fn attach(&mut self, _plan: &[TablePlan]) -> Result<(), Problem> {
        Ok(())
    }

    async fn begin_table(
        &mut self,
        table: &TablePlan,
        _preparation: Preparation,
        mark: &TableMark,
    ) -> Result<(), Problem> {
        let (index, layout, mark) = (table.id.index(), layout_of(table), mark.clone());
        let keyless = table.is_keyless();
        let begin = move |state: &mut TargetState| {
            if keyless {
                state.keyless.insert(index);
            }
            state.tables[index].clear();
            state.layouts[index] = layout;
            state.put_mark(index, mark);
            Ok(())
        };
        self.connection.write(Lock::Shared, "beginning a table", begin).await
    }

    async fn adopt_table(&mut self, table: &TablePlan, mark: &TableMark) -> Result<(), Problem> {
        let (index, mark) = (table.id.index(), mark.clone());
        let adopt = move |state: &mut TargetState| {
            state.put_mark(index, mark);
            Ok(())
        };
        self.connection.write(Lock::Shared, "adopting a table", adopt).await
    }

    async fn park_table(&mut self, table: &TablePlan, at: &Position, problem: &Problem) -> Result<(), Problem> {
        let mark = parked(table, at, problem);
        let index = table.id.index();
        let park = move |state: &mut TargetState| {
            state.put_mark(index, mark);
            if let Some(mark) = state.marks.get_mut(&index) {
                mark.parked_in_load = true;
            }
            Ok(())
        };
        self.connection.write(Lock::Shared, "parking a table", park).await
    }

    async fn leave_behind(&mut self, table: &TableName, at: &Position, problem: &Problem) -> Result<(), Problem> {
        let (name, at, reason) = (table.clone(), at.clone(), problem.clone());
        let leave = move |state: &mut TargetState| {
            if let Some(kept) = state.marks.values_mut().find(|kept| kept.mark.source == name) {
                kept.mark = TableMark { position: at, stage: Stage::Parked(Box::new(reason)), ..kept.mark.clone() };
            }
            Ok(())
        };
        self.connection.write(Lock::Shared, "leaving a table behind", leave).await
    }

    async fn finish_load(&mut self, plan: &[TablePlan]) -> Result<Vec<Problem>, Problem> {
        let tables = plan.iter().map(|table| table.id).collect();
        self.connection.target.state().foreign_keys.made_among.push(tables);
        Ok(Vec::new())
    }

    async fn release_keys(&mut self, _plan: &[TablePlan], parked: &[TableId]) -> Result<Option<Vec<String>>, Problem> {
        self.connection.target.pause("dropping foreign keys").await?;
        let keys = &mut self.connection.target.state().foreign_keys;
        keys.dropped_from.push(parked.to_vec());
        keys.answers.pop_front().unwrap_or(Ok(Some(Vec::new())))
    }

    async fn raise_counters(&mut self, _plan: &[TablePlan], _counters: &[Counter]) -> Result<(), Problem> {
        self.connection.target.pause("raising counters").await
    }

    async fn apply(&mut self, plan: &[TablePlan], segment: &Segment<'_>) -> Result<(), Problem> {
        self.begin().await?;
        self.connection.target.pause("applying").await?;
        self.take(plan, segment).await?;
        for (index, _) in segment.changes() {
            self.change(plan, segment, index, Checks::AsDeclared)?;
        }
        Ok(())
    }

    async fn alter(&mut self, plan: &[TablePlan], before: &TablePlan, next: &Relayout) -> Result<(), Problem> {
        self.begin().await?;
        self.connection.target.pause("altering a table").await?;
        let index = before.id.index();
        self.wait_for_rows(before).await?;
        if let Some(wave) = self.wave.as_mut() {
            if !wave.layouts.contains_key(&index) {
                self.connection.target.state().must_fit(before)?;
            }
            debug_assert_eq!(layout_of(&plan[index]), layout_of(&next.plan), "the plan has the next layout");
            wave.layouts.insert(index, layout_of(&next.plan));
        }
        Ok(())
    }

    async fn end_table(&mut self, table: &TablePlan, drop: bool) -> Result<Option<Vec<String>>, Problem> {
        self.begin().await?;
        self.connection.target.pause("ending a table").await?;
        if let Some(wave) = self.wave.as_mut() {
            wave.ended.insert(table.id.index(), drop);
        }
        Ok(Some(Vec::new()))
    }

    async fn apply_carefully(
        &mut self,
        plan: &[TablePlan],
        segment: &Segment<'_>,
        checks: Checks,
        verdict: &mut (dyn for<'p> FnMut(Refused<'p>) -> Verdict + Send),
    ) -> Result<(), Problem> {
        self.begin().await?;
        self.connection.target.pause("applying row by row").await?;
        for (index, _) in segment.changes() {
            let alone = Segment { range: index..index + 1, ..segment.clone() };
            let mut outcome = match self.take(plan, &alone).await {
                Ok(()) => self.change(plan, segment, index, checks),
                Err(problem) if problem.fault == Fault::Data => Err(problem),
                Err(problem) => return Err(problem),
            };
            while let Err(problem) = outcome {
                let change = &segment.batch.changes()[index];
                let conflict = conflict(&plan[change.table.index()], (segment.batch, change), &problem);
                match (verdict(Refused { index, problem: &problem, conflict }), conflict) {
                    (Verdict::LeaveOut, _) => break,
                    (Verdict::Resolve, Some(conflict)) => {
                        outcome = self.resolve(plan, segment, index, (conflict, checks));
                    }
                    (Verdict::Abort | Verdict::Resolve, _) => return Err(problem),
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self, end: &WaveEnd<'_>) -> Result<(), Problem> {
        self.begin().await?;
        let Some(Wave { begun, tables, layouts, ended }) = self.wave.take() else { return Ok(()) };
        if let Err(problem) = tables.values().try_for_each(|rows| refuse_poison(rows, Checks::AtOnce)) {
            return begun.roll_back().and(Err(problem));
        }
        let bookmark = Bookmark { wave: end.wave, position: end.position.clone() };
        let progress = Progress { bookmark, epoch: self.connection.epoch };
        let parks: Vec<_> = end.parked.to_vec();
        if self.connection.target.sabotage == Some(Sabotage::BookmarkBeforeRows) {
            begun.commit("the bookmark alone", move |state| state.put_progress(progress)).await?;
            let rows = move |state: &mut TargetState| {
                state.put_rows(tables, parks);
                Ok(())
            };
            return self.connection.write(Lock::Alone, "the rows alone", rows).await;
        }
        let all = move |state: &mut TargetState| {
            state.put_progress(progress)?;
            state.put_rows(tables, parks);
            for (table, layout) in layouts {
                state.layouts[table] = layout;
                state.chance.note(Mishap::LayoutTakenUp, Some(table));
            }
            for (table, drop) in ended {
                state.marks.remove(&table);
                state.ended.insert(table, drop);
                if drop {
                    state.tables[table].clear();
                }
            }
            Ok(())
        };
        begun.commit("a wave", all).await
    }

    async fn roll_back(&mut self) -> Result<(), Problem> {
        self.wave.take().map_or(Ok(()), |wave| wave.begun.roll_back())
    }

    async fn replace_rows(
        &mut self,
        table: &TablePlan,
        keys: &KeySet,
        rows: &mut dyn RowReader,
    ) -> Result<u64, Problem> {
        let begun = self.connection.begin(Lock::Alone, "replacing rows").await?;
        let fresh = match read_all(rows, table).await {
            Ok(fresh) => fresh,
            Err(problem) => return begun.roll_back().and(Err(problem)),
        };
        let added = fresh.len() as u64;
        let (index, keys) = (table.id.index(), keys.clone());
        let replace = move |state: &mut TargetState| {
            let mut scratch = Vec::new();
            state.tables[index].retain(|row| !keys.contains([&row.id.to_be_bytes()[..]], &mut scratch));
            state.tables[index].extend(fresh);
            Ok(())
        };
        begun.commit("replacing rows", replace).await?;
        Ok(added)
    }

    async fn side(&mut self, _sessions: u16, position: &Position) -> Result<Box<dyn Side>, Problem> {
        self.connection.target.pause("a side to compare").await?;
        let state = self.connection.target.state();
        if state.bookmark().is_none_or(|bookmark| bookmark.position != *position) {
            return Err(Problem::transient("bookmark-moved", "simulated: the bookmark is elsewhere"));
        }
        Ok(Box::new(SimulatedSide(state.tables.clone())))
    }
}

fn parked(table: &TablePlan, at: &Position, problem: &Problem) -> TableMark {
    TableMark {
        source: table.name().clone(),
        began: at.clone(),
        position: at.clone(),
        storage: String::new(),
        stage: Stage::Parked(Box::new(problem.clone())),
        chunks: Vec::new(),
    }
}

impl TargetState {
    /// A table that was made with another layout than the plan's takes no rows.
    fn must_fit(&self, plan: &TablePlan) -> Result<(), Problem> {
        if self.layouts[plan.id.index()] == layout_of(plan) {
            return Ok(());
        }
        let text = "simulated: the target table has another layout";
        Err(Problem::new(Fault::Data, "table-does-not-fit", text).table(plan.name()))
    }

    fn put_mark(&mut self, table: usize, mark: TableMark) {
        let reloaded = self.bookmark().is_some();
        self.marks.insert(table, Mark { mark, parked_in_load: false, reloaded });
    }

    fn put_progress(&mut self, progress: Progress) -> Result<(), Problem> {
        let expected = self.bookmark().map_or(WaveNumber(1), |last| last.wave.next());
        if progress.bookmark.wave != expected {
            return Err(Problem::transient("wave-there", "simulated: this wave is there already"));
        }
        self.progress.push(progress);
        self.waves += 1;
        Ok(())
    }

    fn put_rows(&mut self, tables: BTreeMap<usize, Vec<Row>>, parks: Vec<(TableId, Position, Problem)>) {
        for (table, rows) in tables {
            self.tables[table] = rows;
        }
        for (table, at, problem) in parks {
            // A table without a mark appeared after the load: nothing of it is here.
            if let Some(mark) = self.marks.get_mut(&table.index()) {
                mark.mark.stage = Stage::Parked(Box::new(problem));
                mark.mark.position = mark.mark.position.clone().max(at);
            }
        }
    }
}

pub(super) struct SimulatedLoader {
    connection: Connection,
}

impl SimulatedLoader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }
}

#[async_trait]
impl Loader for SimulatedLoader {
    async fn load(
        &mut self,
        table: &TablePlan,
        chunk: u32,
        rows: &mut dyn RowReader,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Loaded, Problem> {
        let begun = self.connection.begin(Lock::Shared, "beginning a chunk").await?;
        let all = match read_all(rows, table).await {
            Ok(all) => all,
            Err(problem) => return begun.roll_back().and(Err(problem)),
        };
        let copied = Loaded { rows: all.len() as u64, bytes: all.len() as u64 * 24 };
        progress(copied.bytes);
        let (plan, index) = (table.clone(), table.id.index());
        let mark = move |state: &mut TargetState| {
            state.must_fit(&plan)?;
            let table = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark for a chunk"))?;
            let chunk = table.mark.chunks.iter_mut().find(|mark| mark.number == chunk);
            let chunk = chunk.ok_or_else(|| Problem::internal("no such chunk"))?;
            if chunk.done.replace(copied).is_some() {
                return Err(Problem::internal("a chunk was copied twice"));
            }
            Ok(())
        };
        let put = move |state: &mut TargetState| {
            state.tables[index].extend(all);
            Ok(())
        };
        if self.connection.target.sabotage == Some(Sabotage::ChunkMarkOutsideCommit) {
            begun.commit("a chunk's mark alone", mark).await?;
            self.connection.write(Lock::Shared, "a chunk's rows alone", put).await?;
        } else {
            begun.commit("a chunk", move |state| mark(state).and_then(|()| put(state))).await?;
        }
        Ok(copied)
    }

    async fn bring_forward(
        &mut self,
        table: &TablePlan,
        stale: &KeySet,
        rows: &mut dyn RowReader,
        to: &Position,
        storage: &str,
    ) -> Result<u64, Problem> {
        let begun = self.connection.begin(Lock::Shared, "bringing a table forward").await?;
        let fresh = match read_all(rows, table).await {
            Ok(fresh) => fresh,
            Err(problem) => return begun.roll_back().and(Err(problem)),
        };
        let added = fresh.len() as u64;
        let (plan, stale, to, storage) = (table.clone(), stale.clone(), to.clone(), storage.to_owned());
        let forward = move |state: &mut TargetState| {
            let index = plan.id.index();
            state.must_fit(&plan)?;
            let mark = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark to bring forward"))?;
            mark.mark.position = to;
            mark.mark.storage = storage;
            let mut scratch = Vec::new();
            state.tables[index].retain(|row| !stale.contains([&row.id.to_be_bytes()[..]], &mut scratch));
            state.tables[index].extend(fresh);
            Ok(())
        };
        begun.commit("bringing a table forward", forward).await?;
        Ok(added)
    }

    async fn finish_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        let plan = table.clone();
        let too_early = self.connection.target.sabotage == Some(Sabotage::LoadedBeforeHandOver);
        let finish = move |state: &mut TargetState| {
            let index = plan.id.index();
            state.must_fit(&plan)?;
            let mut ids: Vec<u64> = state.tables[index].iter().map(|row| row.id).collect();
            ids.sort_unstable();
            if !plan.is_keyless() && ids.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Problem::new(Fault::Data, "key-twice", "simulated: a key is there twice after the load"));
            }
            let mark = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark to finish"))?;
            if too_early {
                mark.mark.stage = Stage::Loaded;
            }
            Ok(())
        };
        self.connection.write(Lock::Shared, "finishing a table", finish).await
    }

    async fn complete_table(&mut self, table: &TablePlan) -> Result<(), Problem> {
        let index = table.id.index();
        let complete = move |state: &mut TargetState| {
            let mark = state.marks.get_mut(&index).ok_or_else(|| Problem::internal("no mark to complete"))?;
            if mark.mark.stage == Stage::Loading {
                mark.mark.stage = Stage::Loaded;
            }
            Ok(())
        };
        self.connection.write(Lock::Shared, "completing a table", complete).await
    }
}
