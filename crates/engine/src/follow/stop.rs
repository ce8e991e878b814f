//! Where a task ends by itself, as its settings say.
//!
//! The log decides, transaction by transaction: everything before the first one that lies beyond is in the target when
//! the run ends, and nothing from there on. Commit times follow the log only roughly, and a bookmark has no holes: so a
//! time ends the task before the first transaction that was committed later, also where older ones stand behind it.
//!
//! A source that is idle never gives a transaction that lies beyond. A position is reached once the log was read up to
//! it; a time once the source's clock is past it, by [`GRACE`], and its log was read up to where it ended then.

use std::time::Duration;

use wavemark_domain::progress::Severity;
use wavemark_domain::state::TableState;
use wavemark_domain::stop::{StopAt, time_text};
use wavemark_domain::{Fault, Position, Problem};

use super::Follower;
use super::pieces::Piece;
use crate::attempt::Stop;
use crate::hand_over::{self, Moment};
use crate::run::{Ended, Run};

/// What was committed before a time is in the log by then, also what nobody waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Refuses a position to stop at that lies before what the target has from there.
pub(crate) fn refuse_passed(run: &Run, has: &Position, what: &str) -> Result<(), Problem> {
    let StopAt::Position(text) = &run.task.settings.stop_at else { return Ok(()) };
    if run.source.position_from(text, has)? >= *has {
        return Ok(());
    }
    let has = run.source.describe(has);
    let text = format!("The task is to stop at {text}, and {what} {has}, which is later.");
    Err(Problem::new(Fault::Settings, "stop-passed", text)
        .advice("Set stop_at to a later position, or to never; rows as of an earlier one need another target."))
}

impl Follower<'_> {
    /// Refuses to go on where the target is beyond the place to stop already.
    pub(super) fn refuse_passed_stop(&self) -> Result<(), Problem> {
        refuse_passed(self.run, &self.bookmark.position, "the target has everything up to")?;
        match self.tables.loaded_up_to() {
            Some(loaded) => refuse_passed(self.run, loaded, "a table was loaded as of"),
            None => Ok(()),
        }
    }

    /// Whether the piece's transaction is not to be applied because the task ends before it.
    pub(super) fn is_beyond_stop(&self, piece: &Piece<'_>) -> bool {
        let ends_after = |at: &Position| piece.end().is_some_and(|end| end > at);
        match &self.run.task.settings.stop_at {
            StopAt::Never => false,
            StopAt::Loaded => self.loading.is_empty() && self.tables.loaded_up_to().is_some_and(ends_after),
            StopAt::Position(text) => piece.end().is_some_and(|end| self.ends_beyond(text, end)),
            StopAt::CommitTime(at) => piece.has_changes() && piece.committed_at().is_some_and(|time| time > *at),
        }
    }

    /// A text that is no position was refused when the run began.
    fn ends_beyond(&self, text: &str, end: &Position) -> bool {
        self.run.source.position_from(text, end).is_ok_and(|stop| *end > stop)
    }

    /// Whether everything before the place to stop was read and applied.
    pub(super) fn is_at_stop(&self) -> bool {
        let idle = self.idle_position.as_ref();
        let reached = idle.map_or(&self.bookmark.position, |idle| idle.max(&self.bookmark.position));
        match &self.run.task.settings.stop_at {
            StopAt::Never => false,
            StopAt::Loaded => {
                self.loading.is_empty() && self.tables.loaded_up_to().is_none_or(|loaded| loaded <= reached)
            }
            StopAt::Position(text) => self.run.source.position_from(text, reached).is_ok_and(|stop| *reached >= stop),
            StopAt::CommitTime(_) => self.stop_end.as_ref().is_some_and(|end| reached >= end),
        }
    }

    /// Once the source's clock is past the time to stop, what is in its log now is all that is waited for.
    pub(super) async fn see_clock(&mut self, clock: Option<i64>) -> Result<(), Problem> {
        let StopAt::CommitTime(at) = self.run.task.settings.stop_at else { return Ok(()) };
        let grace = i64::try_from(GRACE.as_micros()).unwrap_or(i64::MAX);
        if self.stop_end.is_none() && clock.is_some_and(|clock| clock > at.saturating_add(grace)) {
            let state =
                self.run.source.log_state(&self.run.task, Some(&self.bookmark.position), Duration::ZERO).await?;
            self.stop_end = Some(state.end);
            self.nudge.notify_one();
        }
        Ok(())
    }

    /// Ends the run: the bookmark goes as far as it can, what is due after a load is made, counters are raised.
    pub(super) async fn end_at_stop(&mut self) -> Result<Ended, Stop> {
        self.aside = None;
        self.streaming = false;
        self.take_back().await?;
        let loaded = self.tables.loaded_up_to().filter(|_| self.run.task.settings.stop_at == StopAt::Loaded).cloned();
        let furthest = self.idle_position.take().max(loaded).filter(|at| *at > self.bookmark.position);
        if furthest.is_some() || !self.parks.is_empty() {
            self.commit_empty(furthest).await?;
        }
        for table in self.tables.become_live(&self.bookmark.position) {
            self.run.status.table_state(&self.plan[table.index()], TableState::Live);
        }
        self.make_due_keys().await?;
        self.raise_counters().await?;
        if hand_over::refresh(self.run, &self.plan, self.session, Moment::End).await.is_break() {
            return Ok(Ended::Stopped);
        }
        self.tell_stop();
        Ok(Ended::Finished)
    }

    fn tell_stop(&self) {
        let place = match &self.run.task.settings.stop_at {
            StopAt::CommitTime(at) => format!("at commit time {}", time_text(*at)),
            StopAt::Position(text) => format!("at position {text}"),
            StopAt::Loaded | StopAt::Never => "once loaded".to_owned(),
        };
        let bookmark = self.run.source.describe(&self.bookmark.position);
        let tables = self.run.status.progress().tables;
        let behind = tables.iter().filter(|table| table.state != TableState::Live).count();
        let behind = if behind == 0 { String::new() } else { format!("; {behind} of its tables are not live") };
        let text = format!(
            "The task ended {place}, as stop_at says: the target has everything up to {bookmark} and nothing after \
             that{behind}. It goes on from there once stop_at is changed"
        );
        self.run.status.event(Severity::Info, "stop-reached", text);
    }
}
